//! What a backend is told about where a request came from.
//!
//! The values are those of a connection: made once for it, and shared by all its requests.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::Fields;

pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PROTOCOL: HeaderName = HeaderName::from_static("x-forwarded-protocol");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The fields that tell a backend about the client; ours to set.
pub(super) static FIELDS: [HeaderName; 5] = [
    X_FORWARDED_FOR,
    X_REAL_IP,
    X_FORWARDED_PROTO,
    X_FORWARDED_PROTOCOL,
    X_FORWARDED_PORT,
];

/// What a backend is told about the client of one connection.
#[derive(Debug)]
pub(crate) struct Forwarding {
    /// Whether the peer is a trusted proxy: what it says is passed on.
    pub(crate) is_trusted: bool,
    fields: Fields,
}

impl Forwarding {
    /// What is told of requests from this peer: `http` or `https`, and the port they came in by.
    pub(crate) fn new(peer: IpAddr, is_trusted: bool, scheme: &'static str, port: u16) -> Self {
        let address = address_value(peer);
        let scheme = HeaderValue::from_static(scheme);
        Self {
            is_trusted,
            fields: Fields::new(vec![
                (X_FORWARDED_FOR, address.clone()),
                (X_REAL_IP, address),
                (X_FORWARDED_PROTO, scheme.clone()),
                (X_FORWARDED_PROTOCOL, scheme),
                (X_FORWARDED_PORT, HeaderValue::from(port)),
            ]),
        }
    }

    /// Settles what a request says of the forwarded fields (hipache.md §2): left as they are where a
    /// trusted peer sent them, even empty, and the others added; of everyone else's none is left, nor
    /// what looks like them. Mostly there was none: then all are still to be sent, which is cheaper
    /// than to add each to the others.
    pub(super) fn settle(&self, headers: &mut HeaderMap) -> bool {
        let mut told = headers.keys().filter(|name| is_like_ours(name)).peekable();
        if told.peek().is_none() {
            return true;
        }
        if self.is_trusted {
            self.fields.add_to(headers);
            return false;
        }
        let told: Vec<HeaderName> = told.cloned().collect();
        for name in told {
            headers.remove(name);
        }
        true
    }

    /// The fields.
    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }
}

/// Whether these fields, once settled, say that the client speaks HTTPS; of several proxies the first is
/// the nearest to it.
pub(crate) fn is_told_https(headers: &HeaderMap) -> bool {
    let told = headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes);
    let first = told.and_then(|told| told.split(|&byte| byte == b',').next());
    first.is_some_and(|first| first.trim_ascii().eq_ignore_ascii_case(b"https"))
}

/// Whether this is a forwarded field, or one like `X_Forwarded_For`: CGI, WSGI and PHP see no
/// difference between `_` and `-`, so the lie would stand beside the truth.
fn is_like_ours(name: &HeaderName) -> bool {
    let bytes = name.as_str().as_bytes();
    let dashed = || {
        bytes
            .iter()
            .map(|&byte| if byte == b'_' { b'-' } else { byte })
    };
    bytes.starts_with(b"x")
        && FIELDS
            .iter()
            .any(|field| field.as_str().len() == bytes.len() && dashed().eq(field.as_str().bytes()))
}

/// An address as a header says it: plain IPv4, also for a mapped one.
pub(super) fn address_value(address: IpAddr) -> HeaderValue {
    let mut text = String::with_capacity(39);
    // A write to a string cannot fail, and an address has no byte that a header may not carry.
    let _ = write!(text, "{}", address.to_canonical());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}
