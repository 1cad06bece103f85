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
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderValue, Request, Response};
use http_body::Frame;

use super::request::{switching, translate, websocket_key};
use super::tunnel::StreamIo;
use super::{Lease, Sender};
use crate::upstream::{Origin, RequestBody, ResponseBody};

/// A stream that is held for one exchange.
pub(crate) struct Stream<B: RequestBody> {
    upload: Option<Pump<B>>,
    response: Option<ResponseFuture>,
    /// The key of a WebSocket's handshake, and the stream that it is to become.
    websocket: Option<(HeaderValue, SendStream<Bytes>)>,
    tunnel: Option<StreamIo>,
    sent: u64,
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
            websocket: None,
            tunnel: None,
            sent: 0,
            heard: lease.value.wire.bytes_read.get(),
            lease,
        }
    }

    /// Sends the head of a request that was made for HTTP/1; [`Stream::poll_upload`] moves the rest.
    ///
    /// # Errors
    ///
    /// When nothing was sent.
    pub(crate) fn open(&mut self, request: Request<B>) -> Result<(), OpenError> {
        let (head, body) = request.into_parts();
        let key = websocket_key(&head.headers);
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

    /// Waits for the head of the response; tells 1xx responses as they come, and sends what one of
    /// them asked for.
    ///
    /// # Errors
    ///
    /// What ended the stream.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        mut on_interim: impl FnMut(&Response<()>),
    ) -> Poll<Result<Response<ResponseBody>, h2::Error>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(Reason::INTERNAL_ERROR.into()));
        };
        let mut has_interim = false;
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            on_interim(&interim);
            has_interim = true;
        }
        let polled = Pin::new(response).poll(cx);
        if has_interim && polled.is_pending() {
            self.poll_upload(cx);
        }
        let response = ready!(polled)?;
        self.response = None;
        self.heard = self.lease.value.wire.bytes_read.get();
        let (head, incoming) = response.into_parts();
        let accepted = self.websocket.take().filter(|_| head.status.is_success());
        if let Some((key, send)) = accepted {
            self.tunnel = Some(StreamIo::new(send, incoming));
            return Poll::Ready(Ok(switching(
                Response::from_parts(head, ResponseBody::None),
                &key,
            )));
        }
        let body = ResponseBody::Shared(StreamBody::new(incoming));
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }

    /// Moves the request's body on, as far as that goes.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Some(upload) = &mut self.upload
            && upload.poll(cx, &mut self.sent).is_ready()
        {
            self.upload = None;
        }
    }

    /// Bytes of the request's body that were handed to the connection.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The backend kept silent here for too long: where it did so on the whole connection, that takes
    /// no further stream.
    pub(in crate::upstream) fn distrust(&self) {
        if self.lease.value.wire.bytes_read.get() == self.heard {
            self.lease.retire();
        }
    }

    /// Whether an accepted WebSocket has taken its place.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.is_some()
    }

    /// After an accepted WebSocket: the bytes both ways, and the stream's place.
    pub(in crate::upstream) fn into_tunnel(self) -> Option<(StreamIo, Lease<Origin, Sender>)> {
        Some((self.tunnel?, self.lease))
    }
}

/// Moves a body into a stream.
struct Pump<B> {
    body: B,
    send: SendStream<Bytes>,
    /// Taken from the body, and waiting for the window.
    waiting: Option<Bytes>,
}

impl<B: RequestBody> Pump<B> {
    fn new(body: B, send: SendStream<Bytes>) -> Self {
        Self {
            body,
            send,
            waiting: None,
        }
    }

    /// Ready when the body is sent, or when nobody wants it any more: why, the response tells.
    fn poll(&mut self, cx: &mut Context<'_>, sent: &mut u64) -> Poll<()> {
        while let Ok(true) = ready!(self.poll_step(cx, sent)) {}
        Poll::Ready(())
    }

    /// One piece; whether more may follow.
    fn poll_step(&mut self, cx: &mut Context<'_>, sent: &mut u64) -> Poll<Result<bool, h2::Error>> {
        if self.waiting.is_some() {
            ready!(self.poll_room(cx))?;
        }
        if let Some(data) = self.waiting.take() {
            *sent += data.len() as u64;
            let is_last = self.body.is_end_stream();
            self.send.send_data(data, is_last)?;
            return Poll::Ready(Ok(!is_last));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => return Poll::Ready(self.take(frame)),
            Some(Err(_)) => self.send.send_reset(Reason::CANCEL),
            None => self.send.send_data(Bytes::new(), true)?,
        }
        Poll::Ready(Ok(false))
    }

    /// Room is asked for only now that there is something to send: what is claimed ahead is lost to
    /// the other streams of the connection.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<bool, h2::Error> {
        match frame.into_data() {
            Ok(data) if data.is_empty() => Ok(true),
            Ok(data) => {
                self.send.reserve_capacity(1);
                self.waiting = Some(data);
                Ok(true)
            }
            Err(frame) => {
                self.send.reserve_capacity(0);
                let trailers = frame.into_trailers().unwrap_or_default();
                self.send.send_trailers(trailers)?;
                Ok(false)
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The body of a response, as far as it came.
#[derive(Debug)]
pub(crate) struct StreamBody {
    incoming: RecvStream,
    is_data_over: bool,
}

impl StreamBody {
    fn new(incoming: RecvStream) -> Self {
        Self {
            incoming,
            is_data_over: false,
        }
    }

    /// The next piece. Whoever takes it makes room for a further one.
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.is_data_over {
            match ready!(self.incoming.poll_data(cx)) {
                Some(Ok(data)) => {
                    // In vain where the stream is over already.
                    let _ = self.incoming.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(unless_complete(error)),
                None => self.is_data_over = true,
            }
        }
        match ready!(self.incoming.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(unless_complete(error)),
        }
    }

    /// Whether all of it was taken.
    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}

/// RFC 9113 §8.1: a server that wants no more of a request resets its stream without an error, behind
/// a response that is complete.
fn unless_complete<T>(error: h2::Error) -> Option<Result<T, h2::Error>> {
    let is_complete = error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
    (!is_complete).then_some(Err(error))
}
