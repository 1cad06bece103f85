//! Why a backend's answer did not come, or not whole, whatever version of HTTP it comes in.

use std::fmt;

use super::http1::Http1Error;

/// Why a backend's answer did not come, or not whole.
#[derive(Debug)]
pub(crate) enum AnswerError {
    /// As told by HTTP/1.
    Alone(Http1Error),
    /// As told by HTTP/2.
    Shared(h2::Error),
}

impl AnswerError {
    /// Whether what came is not HTTP.
    pub(crate) fn is_protocol(&self) -> bool {
        match self {
            Self::Alone(error) => matches!(error, Http1Error::Protocol(_)),
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
