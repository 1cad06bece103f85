//! From plain HTTP to HTTPS, where the options of a frontend say so: whether, where to, and how. Pure.

use http::{HeaderValue, Method, StatusCode, Uri};

use crate::config::Config;
use crate::vhost::Host;

/// Where a certificate authority looks for what proves a domain, by plain HTTP (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// The port of HTTPS (RFC 9110 §4.2.2), which no URL needs to name.
const HTTPS_PORT: u16 = 443;

/// The port that HTTPS is redirected to; `None`: the usual one, also where TLS ends before us.
pub(super) fn https_port(config: &Config) -> Option<u16> {
    let listeners = config.https.iter().map(|bind| bind.address.port());
    known_port(config.https_public_port, listeners)
}

/// Of the port that clients were said to know and those of the listeners, the one to lead to.
fn known_port(public: Option<u16>, listeners: impl Iterator<Item = u16> + Clone) -> Option<u16> {
    let has_usual = listeners.clone().any(|port| port == HTTPS_PORT);
    // 0 is chosen by the system, and known to nobody but it.
    let first = || listeners.clone().find(|port| *port != 0 && !has_usual);
    public.or_else(first).filter(|port| *port != HTTPS_PORT)
}

/// Where a request by plain HTTP is sent; `None` where it is served as it is.
pub(super) fn location(host: &Host, port: Option<u16>, uri: &Uri) -> Option<HeaderValue> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if host.as_str().is_empty() || is_challenge(uri.path()) {
        return None;
    }
    // RFC 9112 §3.2.4: what `OPTIONS *` is about has no path.
    let target = if target == "*" { "" } else { target };
    let location = match port {
        Some(port) => format!("https://{host}:{port}{target}"),
        None => format!("https://{host}{target}"),
    };
    HeaderValue::try_from(location).ok()
}

/// Exactly a challenge: what follows is one token of base64url, so that no other path hides behind it.
fn is_challenge(path: &str) -> bool {
    let token = path.strip_prefix(CHALLENGES).unwrap_or_default();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !token.is_empty() && token.bytes().all(is_part)
}

/// RFC 9110 §15.4.2: after a 301 a client may turn POST into GET, which a 308 (§15.4.9) forbids; and
/// not every client knows a 308. For GET and HEAD both say the same.
pub(super) fn status(method: &Method) -> StatusCode {
    match *method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_redirected_but_challenges() {
        let token = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA";
        let cases = [
            ("a.test", None, "/", Some("https://a.test/")),
            (
                "a.test",
                Some(8443),
                "/x?y=1&z",
                Some("https://a.test:8443/x?y=1&z"),
            ),
            (
                "[::1]",
                Some(8443),
                "//b.test/",
                Some("https://[::1]:8443//b.test/"),
            ),
            ("a.test", None, "*", Some("https://a.test")),
            ("", None, "/", None),
            ("a.test", None, token, None),
            ("a.test", None, &format!("{token}?x"), None),
            (
                "a.test",
                None,
                "/.well-known/acme-challenge/",
                Some("https://a.test/.well-known/acme-challenge/"),
            ),
            (
                "a.test",
                None,
                "/.well-known/acme-challenge/../x",
                Some("https://a.test/.well-known/acme-challenge/../x"),
            ),
            (
                "a.test",
                None,
                "/.well-known/acme-challenge/%2e%2e",
                Some("https://a.test/.well-known/acme-challenge/%2e%2e"),
            ),
        ];
        for (host, port, target, expected) in cases {
            let host = Host::parse(host.as_bytes()).unwrap();
            let found = location(&host, port, &target.parse().unwrap());
            let found = found.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(found, expected, "{target}");
        }
    }

    #[test]
    fn the_port_is_the_one_that_clients_know() {
        let cases: [(Option<u16>, &[u16], Option<u16>); 8] = [
            (None, &[], None),
            (None, &[443], None),
            (None, &[8443, 443], None),
            (None, &[0, 8443, 9443], Some(8443)),
            (None, &[0], None),
            (Some(443), &[8443], None),
            (Some(9443), &[443], Some(9443)),
            (Some(9443), &[], Some(9443)),
        ];
        for (public, listeners, expected) in cases {
            let found = known_port(public, listeners.iter().copied());
            assert_eq!(found, expected, "{public:?} {listeners:?}");
        }
    }

    #[test]
    fn a_method_stays_what_it_is() {
        let cases = [("GET", 301), ("HEAD", 301), ("POST", 308), ("BREW", 308)];
        for (method, expected) in cases {
            let method: Method = method.parse().unwrap();
            assert_eq!(status(&method), expected, "{method}");
        }
    }
}
