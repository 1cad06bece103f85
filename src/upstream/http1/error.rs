//! Why an exchange over HTTP/1 did not come to its end.

use std::error::Error;
use std::fmt;
use std::io;

/// What ended a connection to a backend in the middle of an exchange.
#[derive(Debug)]
pub(crate) enum Http1Error {
    /// What came is no HTTP/1 (RFC 9112), or none that can be passed on.
    Protocol(&'static str),
    /// The backend closed the connection before its response was complete.
    Closed,
    /// Reading failed.
    Io(io::Error),
    /// The request's body did not come, or not as it was announced.
    Upload(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for Http1Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(what) => write!(f, "not http/1 as expected: {what}"),
            Self::Closed => f.write_str("connection closed before the response was complete"),
            Self::Io(_) => f.write_str("the connection failed"),
            Self::Upload(_) => f.write_str("the request's body did not come whole"),
        }
    }
}

impl Error for Http1Error {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Upload(error) => Some(&**error),
            Self::Protocol(_) | Self::Closed => None,
        }
    }
}

impl From<io::Error> for Http1Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
