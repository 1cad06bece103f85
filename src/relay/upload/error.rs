//! Why a body did not come whole, and whose fault that is.

use std::fmt;
use std::io::ErrorKind;

use crate::error::End;

/// Why a body did not come whole.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The client cancelled its stream.
    Cancelled,
    /// It broke off, or is no body.
    Broken(hyper::Error),
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the client cancelled its request",
            Self::Broken(_) => "the request broke off",
        })
    }
}

impl std::error::Error for UploadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cancelled => None,
            Self::Broken(error) => Some(error),
        }
    }
}

/// Framing that is no framing is a bad request (RFC 9112 §7.1); all else means that the client left.
pub(super) fn end_of(error: &hyper::Error) -> End {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                ErrorKind::InvalidInput | ErrorKind::InvalidData => End::BadRequest,
                _ => End::ClientGone,
            };
        }
        cause = error.source();
    }
    End::ClientGone
}
