//! One stream: its request in the form of HTTP/1, its response counted as it goes.
//!
//! The bytes of an exchange are those of its bodies and of its heads before compression: what the
//! frames of one stream take on the wire is not told.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::websocket::Handshake;
use crate::proxy::{Downlink, Proxy, ReplyBody};

/// Carries the request of one stream to its answer.
pub(super) async fn serve(
    proxy: Rc<Proxy>,
    connection: Rc<Downlink>,
    mut request: Request<Incoming>,
) -> Result<Response<StreamBody>, Infallible> {
    let link = connection.open_stream(Instant::now());
    link.on_read(head_size(request.headers()) + request.uri().path().len());
    let handshake = Handshake::of(&mut request);
    settle_authority(&mut request);
    let mut response = Rc::clone(&proxy).handle(request, Rc::clone(&link)).await?;
    if let Some(handshake) = handshake {
        handshake.answer(&proxy, &link, &mut response);
    }
    let head = head_size(response.headers());
    link.on_written(head);
    link.heads.count_head(head);
    Ok(response.map(|inner| StreamBody { inner, link }))
}

/// Puts the authority where HTTP/1 has it (RFC 9113 §8.3.1). A `Host` line that says otherwise stays
/// beside it: two hosts are refused.
fn settle_authority(request: &mut Request<Incoming>) {
    let Some(authority) = request.uri().authority().cloned() else {
        return;
    };
    let target = request.uri().path_and_query().cloned();
    if let Some(target) = target {
        *request.uri_mut() = Uri::from(target);
    }
    let Ok(host) = HeaderValue::from_str(authority.as_str()) else {
        return;
    };
    let headers = request.headers_mut();
    let is_said = headers
        .get(header::HOST)
        .is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
    if !is_said {
        headers.append(header::HOST, host);
    }
}

/// The size of a head before compression, as RFC 9113 §10.5.1 counts it, without its overhead.
fn head_size(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}

/// A response's body on its stream.
pub(super) struct StreamBody {
    inner: ReplyBody,
    link: Rc<Downlink>,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = <ReplyBody as Body>::Error;

    /// hyper asks for the next piece only when the client has room for it: until then the client
    /// owes us a move.
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        this.link.offer(None);
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(Ok(data)) = frame
            .as_ref()
            .map(|frame| frame.as_ref().map(Frame::data_ref))
        {
            this.link.on_written(data.map_or(0, Bytes::len));
            if !this.inner.is_end_stream() {
                this.link.offer(Some(Instant::now()));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
