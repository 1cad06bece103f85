//! The nouns of routing, each parsed once and valid ever after.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

/// A host that a client asked for: lower case, no port, no trailing dot; IPv6 in brackets.
/// The empty host is valid and routes to `*` alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Rc<str>);

/// Why a host cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostError;

impl Host {
    /// Parses a `Host` value or the authority of a target (RFC 9110 §7.2).
    ///
    /// # Errors
    ///
    /// When it cannot be a name: it is then a 400 and never reaches a store.
    pub fn parse(_raw: &[u8]) -> Result<Self, HostError> {
        todo!("host")
    }

    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The list of a frontend: identifier first, then backends.
#[derive(Debug)]
pub struct Frontend {
    /// The key that matched, without `frontend:`: the host itself or a wildcard.
    pub key: Box<str>,
    /// The identifier, free text: for logs and `X-Debug` only.
    pub vhost: Box<str>,
    /// The backends in the order of the list; the index is the [`BackendId`].
    pub backends: Vec<Entry>,
}

/// One element of a frontend's list.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A backend.
    Backend(Rc<Backend>),
    /// Something that is no URL, kept so that later indexes stay true.
    Invalid(Box<str>),
}

/// The place of a backend in its frontend's list, counted from 0 after the identifier.
pub type BackendId = usize;

/// A backend: where it listens and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Where it is.
    pub host: BackendHost,
    /// Its port; 80 or 443 where the URL names none or 0.
    pub port: u16,
    /// The parsed form of the original, with a slash at the end: `http://10.0.0.7:8080/`.
    pub url: Box<str>,
}

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP/1.
    Http,
    /// HTTP/1 over TLS.
    Https,
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendHost {
    /// An address.
    Ip(IpAddr),
    /// A name for the system's resolver.
    Name(Box<str>),
}

/// Why a text is no backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendError {
    /// What is wrong and what was expected.
    pub message: &'static str,
}

impl Backend {
    /// Parses the URL of a backend: scheme, host and port count, path and credentials do not.
    ///
    /// # Errors
    ///
    /// When it is no `http` or `https` URL with a host.
    pub fn parse(_url: &str) -> Result<Self, BackendError> {
        todo!("backend")
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
