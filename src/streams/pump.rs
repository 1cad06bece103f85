//! Moving a body into a stream, as far as the other end has room.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};

/// Bytes that room is asked for at a time: one frame of the usual size. What one stream claims beyond
/// that is lost to the others of its connection.
const CLAIM_BYTES: usize = 16 * 1024;

/// Moves a body into a stream.
pub(crate) struct Pump<B> {
    body: B,
    send: SendStream<Bytes>,
    /// Taken from the body, and waiting for room.
    waiting: Bytes,
    /// `waiting` is the last of the data, and nothing follows it.
    is_last: bool,
}

/// Why a body was not moved whole.
#[derive(Debug)]
pub(crate) enum PumpError<E> {
    /// It broke off.
    Body(E),
    /// The stream takes no more of it.
    Stream,
}

/// Whether there is more to move.
type Step<E> = Result<bool, PumpError<E>>;

impl<B: Body<Data = Bytes> + Unpin> Pump<B> {
    /// Moves this body into that stream, whose head was sent.
    pub(crate) fn new(body: B, send: SendStream<Bytes>) -> Self {
        Self {
            body,
            send,
            waiting: Bytes::new(),
            is_last: false,
        }
    }

    /// Ready when all was handed over, or when that came to an end before; tells how many bytes of
    /// data went.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut on_sent: impl FnMut(usize),
    ) -> Poll<Result<(), PumpError<B::Error>>> {
        while ready!(self.poll_step(cx, &mut on_sent))? {}
        Poll::Ready(Ok(()))
    }

    /// Whether something waits for the other end to make room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ready when the stream was reset, or its connection is over.
    pub(crate) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(|_| ())
    }

    /// Breaks the stream off.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.send.send_reset(reason);
    }

    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        on_sent: &mut impl FnMut(usize),
    ) -> Poll<Step<B::Error>> {
        if self.is_waiting() {
            let room = ready!(self.poll_room(cx))?;
            let piece = self.waiting.split_to(room.min(self.waiting.len()));
            on_sent(piece.len());
            let is_last = self.is_last && self.waiting.is_empty();
            return Poll::Ready(self.send(piece, is_last));
        }
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => self.take(frame),
            Some(Err(error)) => Err(PumpError::Body(error)),
            None => self.send(Bytes::new(), true),
        })
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Step<B::Error> {
        match frame.into_data() {
            Ok(data) => {
                self.is_last = self.body.is_end_stream();
                if data.is_empty() && self.is_last {
                    return self.send(data, true);
                }
                self.waiting = data;
                Ok(true)
            }
            Err(frame) => {
                self.send.reserve_capacity(0);
                let trailers = frame.into_trailers().unwrap_or_default();
                let sent = self.send.send_trailers(trailers);
                sent.map(|()| false).map_err(|_| PumpError::Stream)
            }
        }
    }

    fn send(&mut self, piece: Bytes, is_last: bool) -> Step<B::Error> {
        let sent = self.send.send_data(piece, is_last);
        sent.map(|()| !is_last).map_err(|_| PumpError::Stream)
    }

    /// Room is asked for only now that there is something to send.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, PumpError<B::Error>>> {
        self.send
            .reserve_capacity(self.waiting.len().min(CLAIM_BYTES));
        loop {
            match self.send.capacity() {
                0 => {}
                room => return Poll::Ready(Ok(room)),
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(PumpError::Stream)),
            }
        }
    }
}
