//! The proxy's own answers in the terms of gRPC: its clients look at `grpc-status` alone.
//!
//! Status 200 and no body, the status of the call in the head ("trailers-only", as the protocol of
//! gRPC over HTTP/2 calls it).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::Answer;
use crate::error::End;

/// The status of a call.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Codes of gRPC that the proxy itself has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Cancelled = 1,
    DeadlineExceeded = 4,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// Whether a request is a call of gRPC. That of a browser (`application/grpc-web`) is none: it reads
/// the statuses of HTTP.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// An answer of our own to a call.
pub(crate) fn refusal(end: End, answer: Answer) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code(end) as u16));
    // All of them are plain text: nothing has to be escaped.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(answer.reason));
    response
}

/// The code of an end. `Unavailable` invites clients to try again, so it is for calls that no backend
/// has looked at, and for those that it left unanswered; what is wrong with the call itself is not
/// mended by another try.
fn code(end: End) -> Code {
    match end {
        End::NoSuchHost | End::NoHost => Code::Unimplemented,
        End::ReadTimeout | End::ClientTimeout | End::HeadTimeout | End::TunnelIdle => {
            Code::DeadlineExceeded
        }
        End::ClientGone => Code::Cancelled,
        End::NoLiveBackend
        | End::InvalidBackend
        | End::RedisUnavailable
        | End::ConnectionLimitReached
        | End::DnsError
        | End::DnsTimeout
        | End::ConnectionRefused
        | End::DestinationUnavailable
        | End::ConnectionTimeout
        | End::TlsProtocolError
        | End::ConnectionTerminated
        | End::HttpProtocolError
        | End::Shutdown => Code::Unavailable,
        End::Ok | End::BadRequest | End::HeadTooLarge | End::InternalError => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::reply::answer;

    #[test]
    fn calls_are_told_by_their_content_type() {
        let cases = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; x=y", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
        ];
        for (kind, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_call(&headers), expected, "{kind}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn ends_have_codes() {
        let cases = [
            (
                End::ConnectionRefused,
                "14",
                "backend refused the connection",
            ),
            (End::ReadTimeout, "4", "backend did not answer in time"),
            (End::NoSuchHost, "12", "frontend not found"),
            (End::BadRequest, "13", "bad request"),
        ];
        for (end, status, message) in cases {
            let response = refusal(end, answer(end));
            assert_eq!(response.status(), 200, "{end:?}");
            assert_eq!(response.headers()["grpc-status"], status, "{end:?}");
            assert_eq!(response.headers()["grpc-message"], message, "{end:?}");
        }
    }
}
