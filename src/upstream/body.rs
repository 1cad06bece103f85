//! The body of a backend's response, whatever version of HTTP it comes in.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::streams::StreamBody;

/// What is still to come of a response.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Nothing: a tunnel follows.
    None,
    /// From a connection of its own.
    Alone(Incoming),
    /// From a stream on a shared connection.
    Shared(StreamBody),
}

/// Why a backend's answer did not come, or not whole.
#[derive(Debug)]
pub(crate) enum AnswerError {
    /// As told by HTTP/1.
    Alone(hyper::Error),
    /// As told by HTTP/2.
    Shared(h2::Error),
}

impl AnswerError {
    /// Whether what came is not HTTP.
    pub(crate) fn is_protocol(&self) -> bool {
        match self {
            Self::Alone(error) => error.is_parse(),
            Self::Shared(error) => error.is_library(),
        }
    }

    /// Whether the backend says that it has not looked at the request (RFC 9113 §8.7): it refused the
    /// stream, or its GOAWAY names an earlier one as the last.
    pub(crate) fn is_declined(&self) -> bool {
        let Self::Shared(error) = self else {
            return false;
        };
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (is_refused || error.is_go_away())
    }

    /// Whether the backend itself ended this one exchange.
    pub(crate) fn is_reset_by_backend(&self) -> bool {
        matches!(self, Self::Shared(error) if error.is_reset() && error.is_remote())
    }

    /// What a client of HTTP/2 is to be told. A code that speaks of the backend's connection alone
    /// would mislead it: a refused stream may be sent again (RFC 9113 §8.7).
    pub(crate) fn reason(&self) -> h2::Reason {
        let told = match self {
            Self::Shared(error) if self.is_reset_by_backend() => error.reason(),
            _ => None,
        };
        match told {
            Some(h2::Reason::CANCEL) => h2::Reason::CANCEL,
            Some(h2::Reason::ENHANCE_YOUR_CALM) => h2::Reason::ENHANCE_YOUR_CALM,
            _ => h2::Reason::INTERNAL_ERROR,
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(error) => error.fmt(f),
            Self::Shared(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AnswerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Alone(error) => error.source(),
            Self::Shared(error) => error.source(),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Alone(body) => Pin::new(body).poll_frame(cx).map_err(AnswerError::Alone),
            Self::Shared(body) => match ready!(body.poll_frame(cx)) {
                Some(Err(error)) => Poll::Ready(unless_complete(error)),
                frame => Poll::Ready(frame.map(|frame| frame.map_err(AnswerError::Shared))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Alone(body) => body.is_end_stream(),
            Self::Shared(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Alone(body) => body.size_hint(),
            // Its length, if it has one, stands in the head.
            Self::Shared(_) => SizeHint::default(),
        }
    }
}

/// RFC 9113 §8.1: a server that wants no more of a request resets its stream without an error, behind
/// a response that is complete.
fn unless_complete<T>(error: h2::Error) -> Option<Result<T, AnswerError>> {
    let is_complete = error.is_reset() && error.reason() == Some(h2::Reason::NO_ERROR);
    (!is_complete).then_some(Err(AnswerError::Shared(error)))
}
