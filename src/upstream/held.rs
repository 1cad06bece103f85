//! What an exchange holds of a backend: a connection of its own, or a stream on a shared one.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::RequestBody;
use super::answer::AnswerError;
use super::link::{Alone, Place};
use super::shared::{OpenError, Stream};
use crate::deadline::Deadline;
use crate::fields::Fields;
use crate::streams::StreamIo;
use crate::transport::Transport;

/// A backend, in use. Dropping it ends what is under way.
pub(crate) enum Upstream<B: RequestBody> {
    /// A connection of HTTP/1, moved by the exchange.
    Alone(Alone<B>),
    /// A stream on a connection of HTTP/2, which has a task of its own: what comes on it wakes those
    /// who wait for it. Boxed: most backends speak HTTP/1, and every exchange hands this on.
    Shared(Box<Stream<B>>),
}

impl<B: RequestBody> Upstream<B> {
    /// Whether others use the connection, too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Takes a request, with these fields as well; [`Upstream::poll_response`] moves it. One at a time.
    ///
    /// # Errors
    ///
    /// When nothing was sent, and nothing will be.
    pub(crate) fn send(
        &mut self,
        head: &Request<()>,
        also: Option<&Fields>,
        body: B,
    ) -> Result<(), OpenError> {
        match self {
            Self::Alone(alone) => {
                alone.send(head, also, body);
                Ok(())
            }
            Self::Shared(stream) => {
                let mut head = head.clone();
                if let Some(also) = also {
                    also.add_to(head.headers_mut());
                }
                stream.open(head, body)
            }
        }
    }

    /// Moves the request on, and waits for the head of its response; tells 1xx responses as they come.
    ///
    /// # Errors
    ///
    /// What ended the connection or the stream.
    pub(crate) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        on_interim: impl FnMut(&Response<()>),
    ) -> Poll<Result<Response<()>, AnswerError>> {
        match self {
            Self::Alone(alone) => alone
                .poll_response(cx, on_interim)
                .map_err(AnswerError::Alone),
            Self::Shared(stream) => stream
                .poll_response(cx, on_interim)
                .map_err(AnswerError::Shared),
        }
    }

    /// Moves the request on, and waits for the next piece of the response's body; `None` at its end.
    ///
    /// # Errors
    ///
    /// What ended the connection or the stream.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self {
            Self::Alone(alone) => alone.poll_frame(cx).map_err(AnswerError::Alone),
            Self::Shared(stream) => stream.poll_frame(cx).map_err(AnswerError::Shared),
        }
    }

    /// Whether nothing more comes of the response.
    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Alone(alone) => alone.is_end_stream(),
            Self::Shared(stream) => stream.is_end_stream(),
        }
    }

    /// What is still to come of the response's body.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Alone(alone) => alone.size_hint(),
            // Its length, if it has one, stands in the head.
            Self::Shared(_) => SizeHint::default(),
        }
    }

    /// The status that the backend gave this response: a stream accepts a WebSocket with a 200 (RFC 8441
    /// §5.1), where the exchange goes on with the 101 of HTTP/1.
    pub(crate) fn status_of<T>(&self, response: &Response<T>) -> StatusCode {
        let accepted = match self {
            Self::Alone(_) => None,
            Self::Shared(stream) => stream.accepted(),
        };
        accepted.unwrap_or(response.status())
    }

    /// The timer for what the exchange waits for.
    pub(crate) fn deadline(&mut self) -> &mut Deadline {
        match self {
            Self::Alone(alone) => alone.deadline(),
            Self::Shared(stream) => stream.deadline(),
        }
    }

    /// Bytes sent and received so far; of a stream those that nobody else counts.
    pub(crate) fn moved(&self) -> (u64, u64) {
        match self {
            Self::Alone(alone) => {
                let traffic = alone.traffic();
                (traffic.sent, traffic.received)
            }
            Self::Shared(stream) => (stream.sent(), 0),
        }
    }

    /// The backend kept silent for too long: a connection on which it said nothing at all is used by
    /// nobody else.
    pub(crate) fn distrust(&self) {
        if let Self::Shared(stream) = self {
            stream.distrust();
        }
    }

    /// Gives it back for others: the exchange is complete, and nothing has moved since then.
    pub(crate) fn release(self, since: Instant) {
        if let Self::Alone(alone) = self {
            alone.release(since);
        }
    }

    /// After a 101: the bare connection or stream, and what was already read of it. `None` unless it
    /// has changed without an error.
    pub(crate) fn into_tunnel(self) -> Option<(TunnelIo, Bytes, Place)> {
        match self {
            Self::Alone(alone) => {
                let (io, ahead, place) = alone.into_tunnel()?;
                Some((TunnelIo::Alone(io), ahead, place))
            }
            Self::Shared(stream) => {
                let (io, lease) = stream.into_tunnel()?;
                Some((TunnelIo::Shared(io), Bytes::new(), Place::of(lease)))
            }
        }
    }
}

impl<B: RequestBody> fmt::Debug for Upstream<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("moved", &self.moved())
            .finish_non_exhaustive()
    }
}

/// The backend's side of a tunnel.
#[derive(Debug)]
pub(crate) enum TunnelIo {
    /// A connection.
    Alone(Transport),
    /// A stream.
    Shared(StreamIo),
}

/// Calls a method of the one that is there.
macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),+) => {
        match $self.get_mut() {
            TunnelIo::Alone(io) => Pin::new(io).$method($($argument),+),
            TunnelIo::Shared(io) => Pin::new(io).$method($($argument),+),
        }
    };
}

impl AsyncRead for TunnelIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        delegate!(self, poll_read, cx, buffer)
    }
}

impl AsyncWrite for TunnelIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        delegate!(self, poll_write, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        delegate!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        delegate!(self, poll_shutdown, cx)
    }
}
