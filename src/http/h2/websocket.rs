//! WebSockets over HTTP/2 (RFC 8441), towards backends that speak HTTP/1.1.
//!
//! An extended CONNECT becomes the handshake of RFC 6455, and its 101 a 200; what follows goes
//! through the stream as through a connection.

use std::rc::Rc;

use base64ct::{Base64, Encoding};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use crate::http::carry_switch;
use crate::proxy::{Downlink, Proxy, ReplyBody};

/// The client's side of a handshake.
pub(super) struct Handshake {
    upgrade: OnUpgrade,
}

impl Handshake {
    /// Turns an extended CONNECT for a WebSocket into the handshake of HTTP/1.1.
    pub(super) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let protocol = request.extensions_mut().remove::<Protocol>()?;
        if request.method() != Method::CONNECT
            || !protocol.as_str().eq_ignore_ascii_case("websocket")
        {
            return None;
        }
        let upgrade = hyper::upgrade::on(&mut *request);
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Ok(key) = HeaderValue::from_str(&nonce()) {
            headers.insert(header::SEC_WEBSOCKET_KEY, key);
        }
        Some(Self { upgrade })
    }

    /// Turns the answer back, and opens the tunnel where the backend agreed.
    pub(super) fn answer(
        self,
        proxy: &Rc<Proxy>,
        link: &Rc<Downlink>,
        response: &mut Response<ReplyBody>,
    ) {
        let Some(switch) = link.take_switch() else {
            return;
        };
        *response.status_mut() = StatusCode::OK;
        let headers = response.headers_mut();
        headers.remove(header::UPGRADE);
        headers.remove(header::CONNECTION);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        let (proxy, link) = (Rc::clone(proxy), Rc::clone(link));
        spawn_local(async move {
            // Without it the client has left, and the exchange ends with what is dropped here.
            let Ok(upgraded) = self.upgrade.await else {
                return;
            };
            let mut client = TokioIo::new(upgraded);
            carry_switch(&proxy, &link, switch, &mut client, bytes::Bytes::new()).await;
        });
    }
}

/// A key as RFC 6455 §4.1 wants it: 16 random bytes, in base64.
fn nonce() -> String {
    let mut bytes = [0; 16];
    fastrand::fill(&mut bytes);
    Base64::encode_string(&bytes)
}
