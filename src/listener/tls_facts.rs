//! What TLS agreed on with a client, for all that is told about its requests.

use std::rc::Rc;
use std::time::Duration;

/// What was agreed on with a client.
#[derive(Clone, Debug)]
pub(crate) struct TlsFacts {
    /// `1.2` or `1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite, by its IANA name.
    pub(crate) cipher: &'static str,
    /// Whose certificate was shown: a word of `names::SHOWN`.
    pub(crate) certificate: &'static str,
    /// The name that the client asked for (SNI, RFC 6066 §3), in lower case.
    pub(crate) name: Option<Rc<str>>,
    /// Whether requests on it must be for that name (`strictSni`).
    pub(crate) is_strict: bool,
    /// Whether an earlier session was resumed.
    pub(crate) is_resumed: bool,
    /// Whether HTTP/2 was agreed on (ALPN).
    pub(crate) is_http2: bool,
    /// How long the handshake took.
    pub(crate) took: Duration,
}
