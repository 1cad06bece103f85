//! What can be said of a request's head before a route is asked for. Pure.

use http::request::Parts;
use http::{Method, StatusCode, header};

use super::reply::{self, Answer};
use super::{Refusal, headers};
use crate::error::End;
use crate::vhost::Host;

/// Checks a head as far as it can be without a route; the host that it asks for.
pub(super) fn check(head: &Parts, is_ambiguous: bool) -> Result<Host, Refusal> {
    let bad = |reason| Refusal {
        end: End::BadRequest,
        answer: Answer {
            reason,
            ..reply::answer(End::BadRequest)
        },
    };
    if is_ambiguous {
        return Err(bad("both content-length and transfer-encoding"));
    }
    if !headers::is_only_chunked(&head.headers) {
        // RFC 9112 §6.1: so a transfer coding is answered that is not understood.
        let mut refusal = bad("unknown transfer coding");
        refusal.answer.status = StatusCode::NOT_IMPLEMENTED;
        return Err(refusal);
    }
    if head.method == Method::CONNECT {
        return Err(bad("this is not a forward proxy"));
    }
    let host = headers::host_of(&head.uri, &head.headers)
        .map_err(|_| bad("more than one host header"))?
        .ok_or(End::NoHost)?;
    Host::parse(host).map_err(|_| bad("host is not a name"))
}

/// `Host: __ping__`, exactly so, whatever the method and path (Hipache's `lib/worker.js`).
pub(super) fn is_ping(head: &Parts) -> bool {
    head.headers
        .get(header::HOST)
        .is_some_and(|host| host.as_bytes() == b"__ping__")
        && head.uri.authority().is_none()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(method: &str, target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
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
            let checked = check(&head, is_ambiguous);
            let got = checked
                .as_ref()
                .map(Host::as_str)
                .map_err(|refusal| (refusal.end, refusal.answer.reason));
            assert_eq!(got, expected, "{head:?}");
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
            assert_eq!(is_ping(&head), expected, "{head:?}");
        }
    }
}
