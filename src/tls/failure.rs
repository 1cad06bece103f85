//! Why there is no TLS with a client, for people and in one word for metrics.

use std::fmt;
use std::io::{self, ErrorKind};

use rustls::{Error, InvalidMessage};
use tokio::net::TcpStream;

/// Why there is no TLS with a client.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// It took too long.
    TimedOut,
    /// No certificate for the name that was asked for, and `strictSni`.
    UnknownName,
    /// The client speaks HTTP without TLS; it can be told so on its connection.
    PlainHttp(TcpStream),
    /// The client left, or what it sent was no TLS, or it did not accept what it was shown.
    Failed(io::Error),
}

impl HandshakeError {
    /// The reason in one word of `names::HANDSHAKE_FAILURES`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::UnknownName => "unknown_name",
            Self::PlainHttp(_) => "not_tls",
            Self::Failed(error) => word_of(error),
        }
    }
}

fn word_of(error: &io::Error) -> &'static str {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return match error.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut => "client_gone",
            _ => "protocol_error",
        };
    };
    match cause {
        Error::AlertReceived(_) => "alert_received",
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "not_tls",
        Error::PeerIncompatible(_) => "no_common_terms",
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => "client_certificate",
        _ => "protocol_error",
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the handshake took too long"),
            Self::UnknownName => f.write_str("no certificate for the name that was asked for"),
            Self::PlainHttp(_) => f.write_str("HTTP without TLS"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}
