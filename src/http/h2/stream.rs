//! One stream: its request in the form of HTTP/1, its response counted as it goes.
//!
//! The bytes of an exchange are those of its bodies and of its heads before compression: what the
//! frames of one stream take on the wire is not told. However the task ends, what the stream has not
//! handed over by then is recorded as lost.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body::Body;

use super::delivery::Delivery;
use super::websocket;
use crate::http::carry_switch;
use crate::proxy::{Downlink, OpenStream, Proxy, ReplyBody};
use crate::relay::ClientBody;
use crate::streams::{StreamBody, StreamIo};

/// Carries the request of one stream to its answer.
pub(super) async fn serve(
    proxy: Rc<Proxy>,
    stream: OpenStream,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let link = stream.link();
    let (mut head, incoming) = request.into_parts();
    link.on_read(head_size(&head.headers) + head.uri.path().len());
    let is_head = head.method == Method::HEAD;
    let (body, pipe) = match websocket::accept(&mut head) {
        true => (ClientBody::None, Some(incoming)),
        false => (body_of(incoming, &head.headers), None),
    };
    settle_authority(&mut head);
    let request = Request::from_parts(head, body);
    let Some(response) = answer(&proxy, link, request, &mut respond).await else {
        return;
    };
    let (mut head, body) = response.into_parts();
    let switch = link.take_switch();
    if switch.is_some() {
        websocket::clean_answer(&mut head.headers);
    }
    if !head.headers.contains_key(header::DATE) {
        head.headers.insert(header::DATE, proxy.date());
    }
    let size = head_size(&head.headers);
    // What an answer of our own to a HEAD would say is its length alone (RFC 9110 §9.3.2).
    let is_whole = switch.is_none() && (is_head || body.is_end_stream());
    let Ok(send) = respond.send_response(Response::from_parts(head, ()), is_whole) else {
        return;
    };
    link.on_written(size);
    link.heads.count_head(size);
    match (switch, pipe) {
        (Some(switch), Some(incoming)) => {
            let mut client = StreamIo::new(send, incoming);
            carry_switch(&proxy, link, switch, &mut client, Bytes::new()).await;
        }
        _ if is_whole => link.deliver(),
        _ => {
            let limit = proxy.config().server.timeouts.idle_body;
            let mut delivery = Delivery::new(body, send, link, limit);
            poll_fn(|cx| delivery.poll(cx)).await;
        }
    }
}

/// Waits for the answer, and sends on what 1xx responses come before it; `None` when the client has
/// given up the stream, or its connection is over.
async fn answer(
    proxy: &Rc<Proxy>,
    link: &Rc<Downlink>,
    request: Request<ClientBody>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Response<ReplyBody>> {
    let mut handling = pin!(Rc::clone(proxy).handle(request, Rc::clone(link)));
    poll_fn(|cx| {
        let polled = handling.as_mut().poll(cx);
        for hint in link.take_hints() {
            let size = head_size(hint.headers());
            // Refused only where the stream is over, which is seen below.
            if respond.send_informational(hint).is_ok() {
                link.on_written(size);
                link.heads.add_interim(size);
            }
        }
        match polled {
            Poll::Ready(Ok(response)) => Poll::Ready(Some(response)),
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        }
    })
    .await
}

fn body_of(incoming: RecvStream, headers: &HeaderMap) -> ClientBody {
    if incoming.is_end_stream() {
        return ClientBody::None;
    }
    // That it is a number, and the only one, was seen to.
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    ClientBody::Stream(StreamBody::new(incoming), length)
}

/// Puts the authority where HTTP/1 has it (RFC 9113 §8.3.1). A `Host` line that says otherwise stays
/// beside it: two hosts are refused.
fn settle_authority(head: &mut Parts) {
    let Some(authority) = head.uri.authority().cloned() else {
        return;
    };
    if let Some(target) = head.uri.path_and_query().cloned() {
        head.uri = Uri::from(target);
    }
    let Ok(host) = HeaderValue::from_str(authority.as_str()) else {
        return;
    };
    let is_said = head
        .headers
        .get(header::HOST)
        .is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
    if !is_said {
        head.headers.append(header::HOST, host);
    }
}

/// The size of a head before compression, as RFC 9113 §10.5.1 counts it, without its overhead.
fn head_size(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}
