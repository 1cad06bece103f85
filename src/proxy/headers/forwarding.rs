//! What a backend is told about where a request came from.
//!
//! The values are those of a connection: made once for it, and shared by all its requests.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

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
    /// In the order of the fields.
    values: [HeaderValue; FIELDS.len()],
}

impl Forwarding {
    /// What is told of requests from this peer: `http` or `https`, and the port they came in by.
    pub(crate) fn new(peer: IpAddr, is_trusted: bool, scheme: &'static str, port: u16) -> Self {
        let address = address_value(peer);
        let scheme = HeaderValue::from_static(scheme);
        Self {
            is_trusted,
            values: [
                address.clone(),
                address,
                scheme.clone(),
                scheme,
                HeaderValue::from(port),
            ],
        }
    }

    /// Sets the forwarded fields: left as they are where a trusted peer sent them, even empty; added
    /// where it did not; replaced, all values, for everyone else (hipache.md §2).
    pub(super) fn set(&self, headers: &mut HeaderMap) {
        if !self.is_trusted {
            remove_look_alikes(headers);
        }
        for (name, value) in FIELDS.iter().zip(&self.values) {
            match headers.entry(name) {
                Entry::Occupied(_) if self.is_trusted => {}
                Entry::Occupied(mut told) => drop(told.insert(value.clone())),
                Entry::Vacant(place) => drop(place.insert(value.clone())),
            }
        }
    }
}

/// Whether these fields, once set, say that the client speaks HTTPS; of several proxies the first is
/// the nearest to it.
pub(crate) fn is_told_https(headers: &HeaderMap) -> bool {
    let told = headers.get(X_FORWARDED_PROTO).map(HeaderValue::as_bytes);
    let first = told.and_then(|told| told.split(|&byte| byte == b',').next());
    first.is_some_and(|first| first.trim_ascii().eq_ignore_ascii_case(b"https"))
}

/// Removes `X_Forwarded_For` and its like: CGI, WSGI and PHP see no difference between `_` and `-`,
/// so the lie would stand beside the truth.
fn remove_look_alikes(headers: &mut HeaderMap) {
    let is_look_alike = |name: &&HeaderName| {
        let bytes = name.as_str().bytes();
        let dashed = || {
            bytes
                .clone()
                .map(|byte| if byte == b'_' { b'-' } else { byte })
        };
        name.as_str().contains('_')
            && FIELDS
                .iter()
                .any(|field| field.as_str().bytes().eq(dashed()))
    };
    let names: Vec<HeaderName> = headers.keys().filter(is_look_alike).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// An address as a header says it: plain IPv4, also for a mapped one.
pub(super) fn address_value(address: IpAddr) -> HeaderValue {
    let mut text = String::with_capacity(39);
    // A write to a string cannot fail, and an address has no byte that a header may not carry.
    let _ = write!(text, "{}", address.to_canonical());
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}
