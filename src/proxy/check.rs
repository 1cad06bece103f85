//! What can be said of a request's head before a route is asked for. Pure.

use http::request::Parts;
use http::{Method, StatusCode};

use super::headers::{self, Field, Present, RepeatedHost};
use super::reply::{self, Answer};
use super::{Downlink, Refusal};
use crate::error::End;
use crate::vhost::Host;

/// What the connection adds to a head.
#[derive(Default)]
pub(super) struct Circumstances<'a> {
    /// The head carries both framings.
    is_ambiguous: bool,
    /// It came without TLS where TLS is expected.
    misses_tls: bool,
    /// The only host that the connection is for.
    only_for: Option<&'a str>,
}

impl<'a> Circumstances<'a> {
    /// Those of a request on this connection.
    pub(super) fn of(link: &'a Downlink, is_ambiguous: bool) -> Self {
        let tls = link.about.tls.as_ref().filter(|tls| tls.is_strict);
        Self {
            is_ambiguous,
            misses_tls: link.about.misses_tls,
            only_for: tls.and_then(|tls| tls.name.as_deref()),
        }
    }
}

/// The host that a head names, as it is written.
pub(super) type ToldHost<'a> = Result<Option<&'a [u8]>, RepeatedHost>;

/// Checks a head as far as it can be without a route; the host that it asks for.
pub(super) fn check(
    head: &Parts,
    present: Present,
    told: ToldHost<'_>,
    around: &Circumstances<'_>,
) -> Result<Host, Refusal> {
    let bad = |reason| Refusal {
        end: End::BadRequest,
        answer: Answer {
            reason,
            ..reply::answer(End::BadRequest)
        },
    };
    if around.misses_tls {
        return Err(bad("http was spoken to a port of https"));
    }
    if around.is_ambiguous {
        return Err(bad("both content-length and transfer-encoding"));
    }
    if present.has(Field::TransferEncoding) && !headers::is_only_chunked(&head.headers) {
        // RFC 9112 §6.1: so a transfer coding is answered that is not understood.
        let mut refusal = bad("unknown transfer coding");
        refusal.answer.status = StatusCode::NOT_IMPLEMENTED;
        return Err(refusal);
    }
    if head.method == Method::CONNECT {
        return Err(bad("this is not a forward proxy"));
    }
    let host = told
        .map_err(|_| bad("more than one host header"))?
        .ok_or(End::NoHost)?;
    let host = Host::parse(host).map_err(|_| bad("host is not a name"))?;
    if around.only_for.is_some_and(|name| name != host.as_str()) {
        // RFC 9110 §15.5.20: the client may ask again on a connection of its own for that host.
        let mut refusal = bad("the connection is for another host");
        refusal.answer.status = StatusCode::MISDIRECTED_REQUEST;
        return Err(refusal);
    }
    Ok(host)
}

/// `Host: __ping__`, exactly so, whatever the method and path (Hipache's `lib/worker.js`).
pub(super) fn is_ping(head: &Parts, told: ToldHost<'_>) -> bool {
    told == Ok(Some(b"__ping__")) && head.uri.authority().is_none()
}

#[cfg(test)]
mod tests {
    use http::{Request, header};

    use super::*;

    fn head(method: &str, target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn told(head: &Parts) -> ToldHost<'_> {
        headers::host_of(&head.uri, &head.headers)
    }

    fn checked(head: &Parts, around: &Circumstances<'_>) -> Result<Host, Refusal> {
        check(head, Present::of(&head.headers), told(head), around)
    }

    #[test]
    fn heads_are_refused_for_these_reasons() {
        let both = "both content-length and transfer-encoding";
        type Expected = Result<&'static str, (End, &'static str)>;
        let bad = |reason| Err((End::BadRequest, reason));
        let cases: [(Parts, bool, Expected); 8] = [
            (head("GET", "/", &["A.test:80"]), false, Ok("a.test")),
            (
                head("GET", "http://b.test/", &["a.test"]),
                false,
                Ok("b.test"),
            ),
            (head("GET", "/", &["a.test"]), true, bad(both)),
            (
                head("CONNECT", "a.test:443", &["a.test"]),
                false,
                bad("this is not a forward proxy"),
            ),
            (
                head("GET", "/", &["a.test", "b.test"]),
                false,
                bad("more than one host header"),
            ),
            (
                head("GET", "/", &[]),
                false,
                Err((End::NoHost, "no host header")),
            ),
            (head("GET", "/", &["a b"]), false, bad("host is not a name")),
            (head("OPTIONS", "*", &["a.test"]), false, Ok("a.test")),
        ];
        for (head, is_ambiguous, expected) in cases {
            let around = Circumstances {
                is_ambiguous,
                ..Circumstances::default()
            };
            let checked = checked(&head, &around);
            let got = checked
                .as_ref()
                .map(Host::as_str)
                .map_err(|refusal| (refusal.end, refusal.answer.reason));
            assert_eq!(got, expected, "{head:?}");
        }
    }

    #[test]
    fn a_connection_may_be_for_one_host_or_for_none() {
        let cases = [
            (false, None, Ok("a.test")),
            (false, Some("a.test"), Ok("a.test")),
            (false, Some("b.test"), Err(StatusCode::MISDIRECTED_REQUEST)),
            (true, None, Err(StatusCode::BAD_REQUEST)),
        ];
        for (misses_tls, only_for, expected) in cases {
            let around = Circumstances {
                is_ambiguous: false,
                misses_tls,
                only_for,
            };
            let head = head("GET", "/", &["A.test:443"]);
            let checked = checked(&head, &around);
            let got = checked.as_ref().map(Host::as_str);
            let got = got.map_err(|refusal| refusal.answer.status);
            assert_eq!(got, expected, "{misses_tls} {only_for:?}");
        }
    }

    #[test]
    fn ping_is_exactly_so() {
        let cases = [
            (head("GET", "/", &["__ping__"]), true),
            (head("POST", "/any", &["__ping__"]), true),
            (head("GET", "/", &["__PING__"]), false),
            (head("GET", "/", &["__ping__:80"]), false),
            (head("GET", "http://a.test/", &["__ping__"]), false),
            (head("GET", "/", &[]), false),
        ];
        for (head, expected) in cases {
            assert_eq!(is_ping(&head, told(&head)), expected, "{head:?}");
        }
    }
}
