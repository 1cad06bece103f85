//! One stream on a shared connection: a request on its way up, and its response coming back.
//!
//! The exchange that holds the stream moves it: what its client sends goes on as far as the backend's
//! window allows, and what the backend sends stays there until the client takes it. Dropped before
//! its end it tells the backend so at once (`CANCEL`, RFC 9113 §8.7).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;

use super::request::{switching, translate, websocket_key};
use super::{Lease, Sender};
use crate::deadline::Deadline;
use crate::streams::{Pump, PumpError, StreamBody, StreamIo};
use crate::upstream::{Origin, RequestBody};

/// A stream that is held for one exchange.
pub(crate) struct Stream<B: RequestBody> {
    upload: Option<Pump<B>>,
    response: Option<ResponseFuture>,
    /// What is still to come of the response.
    incoming: Option<StreamBody>,
    /// The key of a WebSocket's handshake, and the stream that it is to become.
    websocket: Option<(HeaderValue, SendStream<Bytes>)>,
    /// What an accepted WebSocket has become, and the status that it was accepted with.
    tunnel: Option<(StatusCode, StreamIo)>,
    /// The request asks for the head of a response alone.
    is_head: bool,
    sent: u64,
    deadline: Deadline,
    /// Bytes that the connection had read when this stream was last known to be well.
    heard: u64,
    lease: Lease<Origin, Sender>,
}

/// Why a stream was not opened. Nothing was sent.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The backend takes no WebSocket over HTTP/2 (RFC 8441 §3).
    NoWebSocket,
    /// The connection takes no further stream.
    Closed(h2::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWebSocket => "the backend takes no WebSocket over HTTP/2 (RFC 8441)",
            Self::Closed(_) => "the connection takes no further stream",
        })
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoWebSocket => None,
            Self::Closed(error) => Some(error),
        }
    }
}

impl<B: RequestBody> Stream<B> {
    pub(in crate::upstream) fn new(lease: Lease<Origin, Sender>) -> Self {
        Self {
            upload: None,
            response: None,
            incoming: None,
            websocket: None,
            tunnel: None,
            is_head: false,
            sent: 0,
            deadline: Deadline::default(),
            heard: lease.value.peer.heard.get(),
            lease,
        }
    }

    /// Sends the head of a request that was made for HTTP/1; [`Stream::poll_response`] moves the rest.
    ///
    /// # Errors
    ///
    /// When nothing was sent.
    pub(crate) fn open(&mut self, head: Request<()>, body: B) -> Result<(), OpenError> {
        let (head, ()) = head.into_parts();
        let key = websocket_key(&head.headers);
        self.is_head = head.method == Method::HEAD;
        let is_tls = self.lease.key().0.scheme.is_tls();
        let sender = &mut self.lease.value.requests;
        if key.is_some() && !sender.is_extended_connect_protocol_enabled() {
            return Err(OpenError::NoWebSocket);
        }
        let request = translate(head, is_tls, key.is_some());
        let is_whole = key.is_none() && body.is_end_stream();
        let (response, send) = sender
            .send_request(request, is_whole)
            .map_err(OpenError::Closed)?;
        self.response = Some(response);
        match key {
            Some(key) => self.websocket = Some((key, send)),
            None if !is_whole => self.upload = Some(Pump::new(body, send)),
            None => {}
        }
        Ok(())
    }

    /// Waits for the head of the response, and moves the request on; tells 1xx responses as they come,
    /// and sends what one of them asked for.
    ///
    /// # Errors
    ///
    /// What ended the stream.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        mut on_interim: impl FnMut(&Response<()>),
    ) -> Poll<Result<Response<()>, h2::Error>> {
        self.poll_upload(cx);
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(Reason::INTERNAL_ERROR.into()));
        };
        let mut has_interim = false;
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            if interim.status() == StatusCode::SWITCHING_PROTOCOLS {
                // RFC 9113 §8.6: there is none in HTTP/2, and a client that gets one switches.
                return Poll::Ready(Err(Reason::PROTOCOL_ERROR.into()));
            }
            on_interim(&interim);
            has_interim = true;
        }
        let polled = Pin::new(response).poll(cx);
        if has_interim && polled.is_pending() {
            self.poll_upload(cx);
        }
        let response = ready!(polled)?;
        self.response = None;
        self.heard = self.lease.value.peer.heard.get();
        let (head, incoming) = response.into_parts();
        let accepted = self.websocket.take().filter(|_| head.status.is_success());
        let response = Response::from_parts(head, ());
        if let Some((key, send)) = accepted {
            self.tunnel = Some((response.status(), StreamIo::new(send, incoming)));
            return Poll::Ready(Ok(switching(response, &key)));
        }
        if !self.is_head && !has_no_content(response.status()) {
            self.incoming = Some(StreamBody::new(incoming));
        }
        Poll::Ready(Ok(response))
    }

    /// Moves the request on, and waits for the next piece of the response's body.
    ///
    /// # Errors
    ///
    /// What ended the stream.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        self.poll_upload(cx);
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        match ready!(incoming.poll_frame(cx)) {
            Some(Err(error)) => Poll::Ready(unless_complete(error)),
            frame => Poll::Ready(frame),
        }
    }

    /// Whether nothing more comes of the response.
    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        let incoming = self.incoming.as_ref();
        incoming.is_none_or(StreamBody::is_end_stream)
    }

    /// Moves the request's body on, as far as that goes.
    fn poll_upload(&mut self, cx: &mut Context<'_>) {
        let Some(upload) = &mut self.upload else {
            return;
        };
        let sent = &mut self.sent;
        let Poll::Ready(end) = upload.poll(cx, |count| *sent += count as u64) else {
            return;
        };
        if let Err(PumpError::Body(_)) = end {
            upload.reset(Reason::CANCEL);
        }
        self.upload = None;
    }

    pub(in crate::upstream) fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }

    /// Bytes of the request's body that were handed to the connection.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The backend kept silent here for too long: where it did so on the whole connection, that takes
    /// no further stream.
    pub(in crate::upstream) fn distrust(&self) {
        if self.lease.value.peer.heard.get() == self.heard {
            self.lease.retire();
        }
    }

    /// The status with which a WebSocket was accepted that has taken its place.
    pub(in crate::upstream) fn accepted(&self) -> Option<StatusCode> {
        self.tunnel.as_ref().map(|(status, _)| *status)
    }

    /// After an accepted WebSocket: the bytes both ways, and the stream's place.
    pub(in crate::upstream) fn into_tunnel(self) -> Option<(StreamIo, Lease<Origin, Sender>)> {
        Some((self.tunnel?.1, self.lease))
    }
}

/// Whether nothing follows the head (RFC 9110 §6.4.1). A backend can send something all the same in
/// HTTP/2, and the client would not know what to do with it.
fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// RFC 9113 §8.1: a server that wants no more of a request resets its stream without an error, behind
/// a response that is complete.
fn unless_complete<T>(error: h2::Error) -> Option<Result<T, h2::Error>> {
    let is_complete = error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
    (!is_complete).then_some(Err(error))
}
