//! What can be said of a request's head before a route is asked for. Pure.

use http::request::Parts;
use http::{Method, StatusCode, Version, header};

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

/// Whether the client wants to send further requests (RFC 9112 §9.3).
pub(super) fn is_kept_by_client(head: &Parts) -> bool {
    let lists = |token: &str| {
        head.headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|listed| listed.trim().eq_ignore_ascii_case(token))
    };
    match head.version {
        Version::HTTP_10 => lists("keep-alive"),
        _ => !lists("close"),
    }
}
