//! One stream: its request in the form of HTTP/1, its response counted as it goes.
//!
//! The bytes of an exchange are those of its bodies and of its heads before compression: what the
//! frames of one stream take on the wire is not told. However the task ends, what the stream has not
//! handed over by then is recorded as lost.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::Entry;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body::Body;

use super::delivery::Delivery;
use super::websocket;
use crate::http::carry_switch;
use crate::proxy::{Downlink, OpenStream, Proxy, ReplyBody, Switch, settle_length};
use crate::relay::ClientBody;
use crate::streams::{StreamBody, StreamIo};

/// Carries the request of one stream to its answer.
pub(super) fn serve(
    proxy: Rc<Proxy>,
    stream: OpenStream,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> impl Future<Output = ()> {
    let is_head = request.method() == Method::HEAD;
    let (request, pipe) = translate(request, stream.link());
    // What is done by now takes no room in the future: there is one for every stream.
    async move {
        let link = stream.link();
        let response = {
            // It came when the stream was opened, however many others were served since.
            let (_, came) = link.phase();
            let mut handling = pin!(Rc::clone(&proxy).handle(request, Rc::clone(link), came));
            poll_fn(|cx| poll_answer(cx, handling.as_mut(), link, &mut respond)).await
        };
        let Some(response) = response else {
            return;
        };
        match send_head(&proxy, link, response, &mut respond, is_head) {
            Rest::Nothing => {}
            Rest::Body(body, send) => {
                let limit = proxy.config().server.timeouts.idle_body;
                let mut delivery = Delivery::new(body, send, link, limit);
                poll_fn(|cx| delivery.poll(cx)).await;
            }
            Rest::Tunnel(switch, send) => {
                let Some(incoming) = pipe else {
                    return;
                };
                // Boxed: few streams become one.
                Box::pin(tunnel(&proxy, link, *switch, send, incoming)).await;
            }
        }
    }
}

/// What follows the head of a response.
enum Rest {
    Nothing,
    Body(ReplyBody, SendStream<Bytes>),
    Tunnel(Box<Switch>, SendStream<Bytes>),
}

/// The request in the form of HTTP/1; beside it what comes behind the head, where that is a WebSocket.
fn translate(
    request: Request<RecvStream>,
    link: &Downlink,
) -> (Request<ClientBody>, Option<RecvStream>) {
    let (mut head, incoming) = request.into_parts();
    settle_length(&mut head.headers);
    link.on_read(head_size(&head.headers) + head.uri.path().len());
    let (body, pipe) = match websocket::accept(&mut head) {
        true => (ClientBody::None, Some(incoming)),
        false => (body_of(incoming, &head.headers), None),
    };
    settle_authority(&mut head);
    (Request::from_parts(head, body), pipe)
}

/// Waits for the answer, and sends on what 1xx responses come before it; `None` when the client has
/// given up the stream, or its connection is over.
fn poll_answer(
    cx: &mut Context<'_>,
    handling: Pin<&mut impl Future<Output = Result<Response<ReplyBody>, Infallible>>>,
    link: &Downlink,
    respond: &mut SendResponse<Bytes>,
) -> Poll<Option<Response<ReplyBody>>> {
    let polled = handling.poll(cx);
    while let Some(hint) = link.take_hint() {
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
}

fn send_head(
    proxy: &Proxy,
    link: &Downlink,
    response: Response<ReplyBody>,
    respond: &mut SendResponse<Bytes>,
    is_head: bool,
) -> Rest {
    let (mut head, body) = response.into_parts();
    let switch = link.take_switch();
    if switch.is_some() {
        websocket::clean_answer(&mut head.headers);
    }
    // A look at some names costs less than the hash of one.
    if !head.headers.keys().any(|name| *name == header::DATE) {
        head.headers.insert(header::DATE, proxy.date());
    }
    let size = head_size(&head.headers);
    // What an answer of our own to a HEAD would say is its length alone (RFC 9110 §9.3.2).
    let is_whole = switch.is_none() && (is_head || body.is_end_stream());
    let Ok(send) = respond.send_response(Response::from_parts(head, ()), is_whole) else {
        return Rest::Nothing;
    };
    link.on_written(size);
    link.heads.count_head(size);
    match switch {
        Some(switch) => Rest::Tunnel(switch, send),
        None if is_whole => {
            link.deliver();
            Rest::Nothing
        }
        None => Rest::Body(body, send),
    }
}

async fn tunnel(
    proxy: &Proxy,
    link: &Downlink,
    switch: Switch,
    send: SendStream<Bytes>,
    incoming: RecvStream,
) {
    let mut client = StreamIo::new(send, incoming);
    carry_switch(proxy, link, switch, &mut client, Bytes::new()).await;
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
    let Some(authority) = head.uri.authority() else {
        return;
    };
    let host = HeaderValue::from_str(authority.as_str());
    if head.uri.path_and_query().is_some() {
        let target = std::mem::take(&mut head.uri).into_parts().path_and_query;
        head.uri = target.map(Uri::from).unwrap_or_default();
    }
    let Ok(host) = host else {
        return;
    };
    match head.headers.entry(header::HOST) {
        Entry::Vacant(place) => drop(place.insert(host)),
        Entry::Occupied(said) if said.get().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {}
        Entry::Occupied(mut said) => said.append(host),
    }
}

/// The size of a head before compression, as RFC 9113 §10.5.1 counts it, without its overhead.
fn head_size(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}
