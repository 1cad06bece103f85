//! The body of a client's request, whatever version of HTTP it comes in.

use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::End;
use crate::streams::StreamBody;

/// What is still to come of a request.
pub(crate) enum ClientBody {
    /// Nothing: a tunnel may follow.
    None,
    /// From a connection of its own.
    Alone(Incoming),
    /// From a stream, and of which length if it told.
    Stream(StreamBody, Option<u64>),
}

/// Why a body did not come whole.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// As told by HTTP/1.
    Alone(hyper::Error),
    /// As told by HTTP/2.
    Stream(h2::Error),
}

impl UploadError {
    /// Whose fault it was: a body that breaks the rules is a bad request, all else means that the client
    /// left.
    pub(super) fn end(&self) -> End {
        let is_bad = match self {
            Self::Alone(error) => is_bad_framing(error),
            // RFC 9113 §8.1.1: a length that is not the one announced, trailers that are none.
            Self::Stream(error) => error.is_reset() && error.is_library(),
        };
        match is_bad {
            true => End::BadRequest,
            false => End::ClientGone,
        }
    }
}

/// Framing that is no framing (RFC 9112 §7.1).
fn is_bad_framing(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData);
        }
        cause = error.source();
    }
    false
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request broke off")
    }
}

impl std::error::Error for UploadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Alone(error) => Some(error),
            Self::Stream(error) => Some(error),
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Alone(body) => Pin::new(body).poll_frame(cx).map_err(UploadError::Alone),
            Self::Stream(body, _) => body.poll_frame(cx).map_err(UploadError::Stream),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Alone(body) => body.is_end_stream(),
            Self::Stream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Alone(body) => body.size_hint(),
            Self::Stream(_, length) => length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
