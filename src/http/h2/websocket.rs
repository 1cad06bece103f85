//! WebSockets over HTTP/2 (RFC 8441), towards backends that speak HTTP/1.1.
//!
//! An extended CONNECT becomes the handshake of RFC 6455, and its 101 a 200; what follows goes
//! through the stream as through a connection.

use base64ct::{Base64, Encoding};
use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};

/// Turns an extended CONNECT for a WebSocket into the handshake of HTTP/1.1; whether it is one.
pub(super) fn accept(head: &mut Parts) -> bool {
    let Some(protocol) = head.extensions.remove::<Protocol>() else {
        return false;
    };
    if !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return false;
    }
    head.method = Method::GET;
    let headers = &mut head.headers;
    // What follows is the tunnel's: a backend that answers otherwise would take the next request on
    // its connection for the rest of this one.
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(key) = HeaderValue::from_str(&nonce()) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    true
}

/// Takes away what only the answer in HTTP/1.1 has.
pub(super) fn clean_answer(headers: &mut HeaderMap) {
    headers.remove(header::UPGRADE);
    headers.remove(header::CONNECTION);
    headers.remove(header::SEC_WEBSOCKET_ACCEPT);
}

/// A key as RFC 6455 §4.1 wants it: 16 random bytes, in base64.
fn nonce() -> String {
    let mut bytes = [0; 16];
    fastrand::fill(&mut bytes);
    Base64::encode_string(&bytes)
}
