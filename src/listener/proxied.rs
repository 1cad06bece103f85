//! Reading a PROXY header from a connection, and not a byte more: TLS or HTTP follow it.

use std::fmt;
use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::proxy_header::{Look, Malformed, Proxied, look};

/// Bytes looked at in one go: more than nearly every header has.
const WINDOW_BYTES: usize = 512;

/// Why there is no PROXY header.
#[derive(Debug)]
pub(crate) enum ProxyHeaderError {
    /// What came is none.
    Malformed(&'static str),
    /// The connection ended within it, or before.
    Ended,
    /// The connection broke.
    Broken(io::Error),
}

/// Reads the header that a connection begins with; `read` gets what has come of it, also when this
/// is dropped. `None`: the connection is the balancer's own.
pub(crate) async fn read_proxy_header(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
) -> Result<Option<Proxied>, ProxyHeaderError> {
    let mut window = vec![0; WINDOW_BYTES];
    loop {
        let before = read.len();
        let seen = stream.peek(&mut window).await?;
        if seen == 0 {
            return Err(ProxyHeaderError::Ended);
        }
        read.extend_from_slice(&window[..seen]);
        let looked = look(read);
        if let Ok(Look::Whole { length, .. }) = looked {
            read.truncate(length);
        }
        // It is there, and all of it belongs to the header: nothing is waited for here, and what
        // comes next is looked at only when it comes.
        stream.read_exact(&mut read[before..]).await?;
        match looked {
            Ok(Look::Partial) => {}
            Ok(Look::Whole { proxied, .. }) => return Ok(proxied),
            Err(Malformed(why)) => return Err(ProxyHeaderError::Malformed(why)),
        }
    }
}

impl From<io::Error> for ProxyHeaderError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::Ended => f.write_str("the connection ended within its PROXY header"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProxyHeaderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Malformed(_) | Self::Ended => None,
        }
    }
}
