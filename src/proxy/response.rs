//! The response on its way to the client.
//!
//! [`Relay`] owns all that a streamed response needs: the backend's connection, the rest of the
//! upload, and the exchange. It ends once: complete, broken by the
//! backend, or dropped because the client left.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::ClientWatch;
use super::exchange::Exchange;
use crate::deadline::after;
use crate::error::End;
use crate::relay::{RequestBody, Upload};
use crate::upstream::{AnswerError, Upstream};

/// The body that hyper sends to the client.
pub(crate) enum ReplyBody {
    /// None, or one that hyper must not send (`HEAD`).
    Empty,
    /// An answer of our own.
    Full(Bytes),
    /// A backend's.
    Relay(Box<Relay>),
}

/// A backend's body with everything that keeps it coming.
pub(crate) struct Relay {
    source: Option<Source>,
    idle_limit: Option<Duration>,
    moved_at: Instant,
    moved_bytes: u64,
    /// What a client of HTTP/2 is told where it breaks.
    reason: h2::Reason,
    /// How it broke, and the flushes of the client's connection until then.
    broken: Option<(End, u64)>,
    watch: ClientWatch,
}

/// What is given back when the body has ended.
struct Source {
    upstream: Upstream<RequestBody>,
    upload: Option<Rc<Upload>>,
    exchange: Box<Exchange>,
}

/// The backend broke its response off: the client's connection is closed without an end mark, or its
/// stream reset.
#[derive(Debug)]
pub(crate) struct BrokenOff {
    end: End,
    reason: h2::Reason,
}

impl BrokenOff {
    /// What a client of HTTP/2 is told.
    pub(crate) fn reason(&self) -> h2::Reason {
        self.reason
    }
}

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "response broken off: {}", self.end.as_str())
    }
}

impl std::error::Error for BrokenOff {}

impl Relay {
    /// The body of a response whose head has arrived.
    pub(crate) fn new(
        upstream: Upstream<RequestBody>,
        upload: Option<Rc<Upload>>,
        exchange: Box<Exchange>,
        headed: Instant,
        idle_limit: Option<Duration>,
    ) -> Box<Self> {
        Box::new(Self {
            source: Some(Source {
                upstream,
                upload,
                exchange,
            }),
            idle_limit,
            moved_at: headed,
            moved_bytes: 0,
            reason: h2::Reason::INTERNAL_ERROR,
            broken: None,
            watch: ClientWatch::default(),
        })
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some((end, flushes)) = self.broken {
            return self.poll_break(end, flushes);
        }
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        match source.upstream.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                // hyper asks for nothing more after trailers, nor where the length is reached.
                if frame.is_trailers() || source.upstream.is_end_stream() {
                    self.end(End::Ok);
                } else {
                    self.moved_at = Instant::now();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end(End::Ok);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.reason = error.reason();
                self.break_off(cx, self.end_of(&error))
            }
            Poll::Pending if self.is_client_gone(cx) => {
                Poll::Ready(Some(Err(self.fail(End::ClientGone))))
            }
            Poll::Pending => self.poll_idle(cx),
        }
    }

    fn is_client_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.source.as_ref().is_some_and(|source| {
            let is_read = source.upload.as_ref().is_some_and(|u| !u.is_ended());
            !is_read && self.watch.is_gone(source.exchange.link(), cx)
        })
    }

    /// Silence is measured over both directions: a backend that still reads is not silent.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let (written, read) = source.upstream.moved();
        let moved = written + read;
        if moved != self.moved_bytes {
            self.moved_bytes = moved;
            self.moved_at = Instant::now();
        }
        let at = after(self.moved_at, self.idle_limit);
        ready!(source.upstream.deadline().poll(cx, at));
        source.upstream.distrust();
        self.break_off(cx, End::ReadTimeout)
    }

    /// An error makes hyper drop what it has not yet written, perhaps even the head. So it is told
    /// only after the next flush: the client gets all that the backend sent.
    fn break_off(
        &mut self,
        cx: &Context<'_>,
        end: End,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Some(source) = &self.source else {
            return Poll::Ready(None);
        };
        if source.exchange.link().is_stream() {
            // A reset of the stream overtakes nothing that other streams sent.
            return Poll::Ready(Some(Err(self.fail(end))));
        }
        self.broken = Some((end, source.exchange.link().flushes()));
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_break(
        &mut self,
        end: End,
        flushes: u64,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &self.source {
            Some(source) if source.exchange.link().flushes() == flushes => Poll::Pending,
            _ => Poll::Ready(Some(Err(self.fail(end)))),
        }
    }

    fn end_of(&self, error: &AnswerError) -> End {
        let upload = self
            .source
            .as_ref()
            .and_then(|source| source.upload.as_ref());
        if let Some(end) = upload.and_then(|upload| upload.failure()) {
            end
        } else if error.is_protocol() {
            End::HttpProtocolError
        } else {
            End::ConnectionTerminated
        }
    }

    fn fail(&mut self, end: End) -> BrokenOff {
        self.end(end);
        BrokenOff {
            end,
            reason: self.reason,
        }
    }

    fn end(&mut self, end: End) {
        let Some(source) = self.source.take() else {
            return;
        };
        if end == End::Ok {
            source.upstream.release(self.moved_at);
        }
        let link = Rc::clone(source.exchange.link());
        if source.upload.is_some_and(|upload| !upload.is_ended()) {
            // Too late to say so, but not to linger.
            link.close_after_response();
        }
        link.complete(source.exchange, end);
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Relay(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Relay(relay) => relay.source.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relay(relay) => match &relay.source {
                Some(source) => source.upstream.size_hint(),
                None => SizeHint::with_exact(0),
            },
        }
    }
}
