//! What the client asked for, as far as heads tell: scheme, host and port. Pure.
//!
//! The conventions want the original ones: those that a trusted proxy before us was asked for,
//! where it says so in `Forwarded` or in the `X-Forwarded-` fields.

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Bytes of a name, at most (RFC 1035 §2.3.4).
const NAME_BYTES: usize = 253;

/// What the client asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether it spoke HTTPS to a trusted proxy before us.
    pub(crate) is_https: bool,
    /// The host that a trusted proxy before us was asked for; `None`: the one of the request.
    pub(crate) host: Option<Box<str>>,
    /// The port, where it is told.
    pub(crate) port: Option<u16>,
}

/// What a request asks for; `authority` is that of a target in absolute form, which counts in place
/// of `Host` (RFC 9112 §3.2.2).
pub(super) fn read(headers: &HeaderMap, authority: Option<&str>, is_trusted: bool) -> Origin {
    // The first element is that of the proxy nearest to the client (RFC 7239 §4).
    let element = is_trusted.then(|| first(headers, &FORWARDED)).flatten();
    if let Some(told) = is_trusted.then(|| forwarded(element, headers)).flatten() {
        return told;
    }
    let authority = authority.or_else(|| first(headers, &HOST));
    // Most have no port, and need not be split.
    let with_port = authority.filter(|authority| authority.as_bytes().contains(&b':'));
    Origin {
        is_https: is_trusted && is_https(element, headers),
        host: None,
        port: with_port.and_then(split).and_then(|(_, port)| port),
    }
}

/// What a proxy says that it was asked for; `None` where it names no host.
fn forwarded(element: Option<&str>, headers: &HeaderMap) -> Option<Origin> {
    let told = element.and_then(|element| parameter(element, "host"));
    let told = told.or_else(|| first(headers, &X_FORWARDED_HOST));
    let (host, port) = split(told?)?;
    let is_https = is_https(element, headers);
    let told = || first(headers, &X_FORWARDED_PORT)?.parse().ok();
    Some(Origin {
        is_https,
        host: Some(host.to_ascii_lowercase().into()),
        port: port.or_else(told).or(Some(if is_https { 443 } else { 80 })),
    })
}

fn is_https(element: Option<&str>, headers: &HeaderMap) -> bool {
    let proto = element.and_then(|element| parameter(element, "proto"));
    let proto = proto.or_else(|| first(headers, &X_FORWARDED_PROTO));
    proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"))
}

/// The first member of the list that a header is.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?;
    text.split(',').next().map(str::trim)
}

/// A parameter of an element of `Forwarded` (RFC 7239 §4), without its quotes. No host, port or
/// scheme has a character that must be escaped in them.
fn parameter<'a>(element: &'a str, wanted: &str) -> Option<&'a str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs
        .into_iter()
        .find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?;
    let value = value.trim();
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(inner.unwrap_or(value))
}

/// Host and port of an authority; `None` where it is none. The brackets of IPv6 are no part of an
/// address.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    // Credentials in front of the host are no part of it.
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    let is_host = !host.is_empty() && host.len() <= NAME_BYTES && host.bytes().all(is_part);
    let port = port.strip_prefix(':').unwrap_or(port);
    let is_right = port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit());
    (is_host && is_right).then(|| (host, port.parse().ok()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Scheme, host and port that are read from these lines of a peer that is trusted.
    fn told(lines: &[(HeaderName, &'static str)], authority: Option<&str>) -> String {
        let pair = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = lines.iter().map(pair).collect();
        let origin = read(&headers, authority, true);
        let scheme = if origin.is_https { "https" } else { "http" };
        let host = origin.host.as_deref().unwrap_or("-");
        format!("{scheme} {host} {:?}", origin.port.unwrap_or_default())
    }

    #[test]
    fn a_proxy_before_us_tells_what_it_was_asked_for() {
        let host = (HOST, "b.test:8080");
        let https = (X_FORWARDED_PROTO, "https");
        let cases: [(&[(HeaderName, &str)], &str); 14] = [
            (std::slice::from_ref(&host), "http - 8080"),
            (&[(HOST, "b.test")], "http - 0"),
            (&[(HOST, "[::1]:81")], "http - 81"),
            (&[host.clone(), https.clone()], "https - 8080"),
            (
                &[(X_FORWARDED_HOST, "A.test, b.test"), host.clone()],
                "http a.test 80",
            ),
            (
                &[(X_FORWARDED_HOST, "a.test"), https.clone()],
                "https a.test 443",
            ),
            (
                &[(X_FORWARDED_HOST, "a.test"), (X_FORWARDED_PORT, "8443")],
                "http a.test 8443",
            ),
            (
                &[(X_FORWARDED_HOST, "a.test:81"), (X_FORWARDED_PORT, "82")],
                "http a.test 81",
            ),
            (
                &[
                    (
                        FORWARDED,
                        "for=1.1.1.1;Host=\"c.test:8\"; proto=https, host=d",
                    ),
                    (X_FORWARDED_HOST, "a.test"),
                ],
                "https c.test 8",
            ),
            (
                &[
                    (FORWARDED, "for=1.1.1.1"),
                    (X_FORWARDED_HOST, "[2001::1]:9"),
                ],
                "http 2001::1 9",
            ),
            (&[(X_FORWARDED_HOST, "a b"), host.clone()], "http - 8080"),
            (&[(X_FORWARDED_HOST, ""), host.clone()], "http - 8080"),
            (&[(X_FORWARDED_HOST, "a.test:x"), https], "https - 0"),
            (&[], "http - 0"),
        ];
        for (lines, expected) in cases {
            assert_eq!(told(lines, None), expected, "{lines:?}");
        }
        assert_eq!(told(&[host], Some("u@c.test:5")), "http - 5");
    }

    #[test]
    fn nobody_else_is_believed() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_HOST, HeaderValue::from_static("a.test"));
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
        assert_eq!(read(&headers, None, false), Origin::default());
    }
}
