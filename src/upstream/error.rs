//! Why there is no connection.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use nix::libc;

/// Why no connection could be had. Nothing of the request was sent in any of these cases.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// All connections to the backend stayed busy (`maxSockets`), or too many wait for one already.
    LimitReached,
    /// The backend's name has no address, or the resolver failed.
    ResolveFailed(Rc<io::Error>),
    /// The resolver gave no answer within the connect limit.
    ResolveTimedOut,
    /// The backend's host refused the connection: nothing listens there.
    Refused(io::Error),
    /// The backend could not be reached for any other reason.
    Unreachable(io::Error),
    /// The connect limit, or the kernel's own, was over during TCP connect or TLS handshake.
    TimedOut,
    /// The TLS handshake failed, the check of the certificate included.
    Tls(io::Error),
    /// The backend does not speak the HTTP/2 that its URL says.
    NotHttp2(Option<h2::Error>),
    /// TLS cannot be spoken by this worker at all: no certificate authorities. No backend's fault.
    TlsUnavailable(Rc<str>),
    /// This machine has no descriptor, port or memory left. No backend's fault.
    Exhausted(io::Error),
}

impl ConnectError {
    /// Sorts what connecting to this address said by who is to blame.
    pub(super) fn from_connect(error: io::Error, peer: SocketAddr) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused(error),
            Some(libc::ETIMEDOUT) => Self::TimedOut,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                Self::Exhausted(error)
            }
            // No port left; of IPv6 it is also what a machine without IPv6 says.
            Some(libc::EADDRNOTAVAIL) if peer.is_ipv4() => Self::Exhausted(error),
            _ => Self::Unreachable(error),
        }
    }

    /// Sorts how HTTP/2 could not be begun: a connection that was closed, or another protocol.
    pub(super) fn from_http2(error: h2::Error) -> Self {
        if !error.is_io() {
            return Self::NotHttp2(Some(error));
        }
        let closed = || io::ErrorKind::UnexpectedEof.into();
        Self::Unreachable(error.into_io().unwrap_or_else(closed))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LimitReached => "all connections to the backend are busy",
            Self::ResolveFailed(_) => "the backend's name cannot be resolved",
            Self::ResolveTimedOut => "no answer from the resolver within the connect limit",
            Self::Refused(_) => "the backend refuses connections",
            Self::Unreachable(_) => "the backend cannot be reached",
            Self::TimedOut => "no connection to the backend within the connect limit",
            Self::Tls(_) => "the tls handshake with the backend failed",
            Self::NotHttp2(_) => "the backend does not speak http/2, as its url says",
            Self::TlsUnavailable(why) => {
                return write!(f, "tls to backends is not possible: {why}");
            }
            Self::Exhausted(_) => "no descriptor, port or memory left for a connection",
        })
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ResolveFailed(error) => Some(&**error),
            Self::Refused(error)
            | Self::Unreachable(error)
            | Self::Tls(error)
            | Self::Exhausted(error) => Some(error),
            Self::NotHttp2(Some(error)) => Some(error),
            Self::NotHttp2(None)
            | Self::LimitReached
            | Self::ResolveTimedOut
            | Self::TimedOut
            | Self::TlsUnavailable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_errors_are_sorted_by_who_is_to_blame() {
        const UNREACHABLE: &str = "the backend cannot be reached";
        const EXHAUSTED: &str = "no descriptor, port or memory left for a connection";
        let (v4, v6) = ("127.0.0.1:80", "[::1]:80");
        let cases = [
            (libc::ECONNREFUSED, v4, "the backend refuses connections"),
            (libc::EHOSTUNREACH, v4, UNREACHABLE),
            (libc::ENETUNREACH, v6, UNREACHABLE),
            (libc::ECONNRESET, v4, UNREACHABLE),
            (
                libc::ETIMEDOUT,
                v4,
                "no connection to the backend within the connect limit",
            ),
            (libc::EMFILE, v4, EXHAUSTED),
            (libc::EADDRNOTAVAIL, v4, EXHAUSTED),
            (libc::EADDRNOTAVAIL, v6, UNREACHABLE),
        ];
        for (errno, peer, expected) in cases {
            let error = io::Error::from_raw_os_error(errno);
            let error = ConnectError::from_connect(error, peer.parse().unwrap());
            assert_eq!(error.to_string(), expected, "errno {errno} of {peer}");
        }
    }
}
