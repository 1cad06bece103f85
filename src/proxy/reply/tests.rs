//! Tests of `proxy::reply`.

use super::*;

const ENDS: [(End, u16, &str); 23] = [
    (End::NoHost, 400, "no host header"),
    (End::NoSuchHost, 400, "frontend not found"),
    (End::BadRequest, 400, "bad request"),
    (End::NoLiveBackend, 502, "Cannot find a valid backend"),
    (End::InvalidBackend, 502, "backend is invalid"),
    (End::HeadTooLarge, 431, "request head is too large"),
    (End::HeadTimeout, 408, "request head took too long"),
    (End::ClientTimeout, 408, "request body took too long"),
    (End::RedisUnavailable, 503, "routes are not available"),
    (
        End::ConnectionLimitReached,
        503,
        "all connections to the backend are busy",
    ),
    (End::Shutdown, 503, "proxy is shutting down"),
    (End::DnsError, 502, "name of the backend cannot be resolved"),
    (
        End::DnsTimeout,
        504,
        "resolving the name of the backend took too long",
    ),
    (
        End::ConnectionRefused,
        502,
        "backend refused the connection",
    ),
    (
        End::DestinationUnavailable,
        502,
        "backend cannot be reached",
    ),
    (
        End::ConnectionTimeout,
        504,
        "connecting to the backend took too long",
    ),
    (
        End::TlsProtocolError,
        502,
        "TLS handshake with the backend failed",
    ),
    (
        End::ConnectionTerminated,
        502,
        "backend closed the connection",
    ),
    (End::ReadTimeout, 504, "backend did not answer in time"),
    (
        End::HttpProtocolError,
        502,
        "backend did not answer in HTTP",
    ),
    (End::ClientGone, 499, "client is gone"),
    (End::InternalError, 500, "internal error"),
    (End::Ok, 500, "internal error"),
];

#[test]
fn every_end_has_its_status_and_reason() {
    for (end, status, reason) in ENDS {
        let found = answer(end);
        assert_eq!(
            (found.status.as_u16(), found.reason),
            (status, reason),
            "{end:?}"
        );
    }
    let refused = answer(End::ConnectionTimeout);
    let last = refused.out_of_attempts(3);
    assert_eq!(
        (last.status.as_u16(), last.reason),
        (504, "Reached max retries limit")
    );
    assert_eq!(
        refused.out_of_attempts(0).reason,
        "Retry on error is disabled"
    );
}

fn head(response: &Response<Bytes>) -> Vec<(&str, &str)> {
    let headers = response.headers().iter();
    headers
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect()
}

#[test]
fn ping_is_answered_as_by_the_original() {
    let response = ping();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.body(), "ok");
    let expected = [
        ("content-length", "2"),
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
    ];
    assert_eq!(head(&response), expected);
}

#[test]
fn a_refusal_is_a_page_or_its_reason_and_is_not_kept() {
    let nowhere = Pages::new(Some("/nonexistent".into()));
    let cases = [
        (Pages::new(None), "text/html", None),
        (nowhere, "text/plain", Some("frontend not found")),
    ];
    for (pages, content_type, body) in cases {
        let response = refusal(answer(End::NoSuchHost), &pages);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let length = response.body().len().to_string();
        let expected = [
            ("content-length", length.as_str()),
            ("content-type", content_type),
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
            ("expires", "-1"),
        ];
        assert_eq!(head(&response), expected);
        assert!(!response.body().is_empty());
        assert!(body.is_none_or(|body| response.body() == body));
    }
}

#[test]
fn debug_tells_what_is_known_in_bytes_that_a_header_may_carry() {
    let mut headers = HeaderMap::new();
    headers.insert("x-debug-vhost", HeaderValue::from_static("forged"));
    let facts = DebugFacts {
        backend_url: Some("http://127.0.0.1:8080/"),
        backend_id: Some(0),
        vhost: Some("a\r\nb\0\\ \u{fc}\u{7f}\""),
        frontend_key: Some("a.test"),
        total: Some(Duration::from_micros(28_900)),
        backend: Some(Duration::ZERO),
        error: Some(""),
    };
    add_debug(&mut headers, &facts);
    let expected = [
        ("x-debug-version-hipache", env!("CARGO_PKG_VERSION")),
        ("x-debug-backend-url", "http://127.0.0.1:8080/"),
        ("x-debug-backend-id", "0"),
        ("x-debug-vhost", "a\\x0D\\x0Ab\\x00\\x5C \\xC3\\xBC\\x7F\""),
        ("x-debug-frontend-key", "a.test"),
        ("x-debug-time-total", "28"),
        ("x-debug-time-backend", "0"),
        ("x-debug-error", ""),
    ];
    for (name, value) in expected {
        assert_eq!(headers[name], value, "{name}");
    }
    assert_eq!(headers.len(), expected.len());

    let mut headers = HeaderMap::new();
    let long = "\u{1}".repeat(1_000_000);
    let facts = DebugFacts {
        vhost: Some(&long),
        ..DebugFacts::default()
    };
    add_debug(&mut headers, &facts);
    assert_eq!(headers["x-debug-vhost"].len(), 4 * TEXT_BYTES);
    assert_eq!(headers.len(), 2, "nothing is told that is not known");
}
