//! Tests of `proxy::headers`.

use super::forwarding::address_value;
use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const NAMES: [&str; 5] = [
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-real-ip",
];

fn forwarding(is_trusted: bool) -> Forwarding {
    Forwarding::new(PEER, is_trusted, "http", 8080)
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    headers
}

/// All lines, sorted: the order of different fields means nothing, that of one field stays.
fn lines(headers: &HeaderMap, without: &[&str]) -> Vec<String> {
    let mut lines: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !without.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
    lines
}

/// Lines of a request, whether it is an upgrade, and what is left besides the forwarded fields.
type Case = (&'static [&'static str], bool, &'static [&'static str]);

const REQUESTS: &[Case] = &[
    (
        &["host: a.test", "x-debug: 1"],
        false,
        &["host: a.test", "x-debug: 1"],
    ),
    (
        &[
            "connection: keep-alive, X-One",
            "connection: , x-two ,",
            "x-one: 1",
            "x-two: 2",
            "x-two: 3",
            "x-three: 3",
            "keep-alive: timeout=5",
            "proxy-connection: keep-alive",
            "proxy-authorization: Basic eA==",
            "te: gzip",
            "upgrade: websocket",
            "http2-settings: AAMAAABkAARAAAAAAAIAAAAA",
        ],
        false,
        &["x-three: 3"],
    ),
    (
        &[
            "connection: host, Content-Length, expect, authorization, cookie, content-type, trailer",
            "authorization: b",
            "content-length: 3",
            "content-type: c",
            "cookie: d",
            "expect: 100-continue",
            "host: a.test",
            "trailer: x",
        ],
        false,
        &[
            "authorization: b",
            "content-length: 3",
            "content-type: c",
            "cookie: d",
            "expect: 100-continue",
            "host: a.test",
            "trailer: x",
        ],
    ),
    (
        &["connection: not a name, \"x\", @", "a: 1"],
        false,
        &["a: 1"],
    ),
    (
        &["content-length: 3", "transfer-encoding: chunked"],
        false,
        &[],
    ),
    (
        &[
            "connection: transfer-encoding",
            "content-length: 3",
            "transfer-encoding: chunked",
        ],
        false,
        &[],
    ),
    (
        &["te: deflate", "te: gzip;q=0.5, Trailers"],
        false,
        &["connection: te", "te: trailers"],
    ),
    (&["te: trailersx"], false, &[]),
    (
        &[
            "connection: Upgrade, keep-alive",
            "upgrade: WebSocket",
            "te: trailers",
        ],
        true,
        &["connection: upgrade", "upgrade: WebSocket"],
    ),
    (
        &["upgrade: h2c, websocket"],
        true,
        &["connection: upgrade", "upgrade: websocket"],
    ),
    (
        &["upgrade: h2c", "upgrade: a/1", "upgrade: b"],
        true,
        &["connection: upgrade", "upgrade: a/1, b"],
    ),
    (&["upgrade: h2c", "connection: upgrade"], true, &[]),
    (
        &["cookie: a=1", "cookie: b=2; c=3", "cookie: d=4"],
        false,
        &["cookie: a=1; b=2; c=3; d=4"],
    ),
    (
        &["accept: a", "accept: b"],
        false,
        &["accept: a", "accept: b"],
    ),
];

#[test]
fn requests_lose_what_belongs_to_one_connection_and_nothing_else() {
    for (index, (before, upgrade, after)) in REQUESTS.iter().enumerate() {
        let mut headers = headers(before);
        let present = Present::of(&headers);
        prepare_request(&mut headers, present, &forwarding(false), *upgrade);
        assert_eq!(lines(&headers, &NAMES), *after, "case {index}: {before:?}");
    }
}

#[test]
fn responses_lose_what_belongs_to_one_connection_and_nothing_else() {
    let cases: &[Case] = &[
        (
            &[
                "connection: close, x-hop",
                "x-hop: 1",
                "keep-alive: timeout=5",
                "proxy-authenticate: Basic",
                "proxy-authentication-info: x",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "trailer: x",
                "www-authenticate: Basic",
            ],
            false,
            &[
                "set-cookie: a=1",
                "set-cookie: b=2",
                "trailer: x",
                "www-authenticate: Basic",
            ],
        ),
        (
            &["connection: set-cookie", "set-cookie: a=1"],
            false,
            &["set-cookie: a=1"],
        ),
        (
            &["content-length: 3", "transfer-encoding: chunked"],
            false,
            &[],
        ),
        (&["content-length: 3"], false, &["content-length: 3"]),
        (&["upgrade: h2,h2c", "connection: upgrade"], false, &[]),
        (
            &[
                "connection: Upgrade",
                "upgrade: websocket",
                "sec-websocket-accept: x",
            ],
            true,
            &[
                "connection: upgrade",
                "sec-websocket-accept: x",
                "upgrade: websocket",
            ],
        ),
    ];
    for (index, (before, upgrade, after)) in cases.iter().enumerate() {
        let mut headers = headers(before);
        prepare_response(&mut headers, *upgrade);
        assert_eq!(lines(&headers, &[]), *after, "case {index}: {before:?}");
    }
}

#[test]
fn forwarded_fields_are_believed_from_trusted_peers_only() {
    let ours = [
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-port: 8080",
        "x-forwarded-proto: http",
        "x-forwarded-protocol: http",
        "x-real-ip: 192.0.2.7",
    ];
    let told: &[&str] = &[
        "x-forwarded-for: 9.9.9.9",
        "x-forwarded-for: 8.8.8.8",
        "x-forwarded-port: 1",
        "x-forwarded-proto: https",
        "x-forwarded-protocol: ",
        "x-real-ip: 7.7.7.7",
    ];
    let kept = [
        "x-forwarded-for: 9.9.9.9",
        "x-forwarded-for: 8.8.8.8",
        "x-forwarded-port: 1",
        "x-forwarded-proto: https",
        "x-forwarded-protocol: ",
        "x-real-ip: 7.7.7.7",
    ];
    let partly: &[&str] = &["x-real-ip: 7.7.7.7", "connection: X-Real-IP"];
    let mut mixed = ours;
    mixed[4] = "x-real-ip: 7.7.7.7";
    let alike: &[&str] = &["x_forwarded_for: 6.6.6.6", "X_Real-IP: 6.6.6.6"];
    let cases: [(&[&str], bool, &[&str]); 6] = [
        (&[], false, &ours),
        (&[], true, &ours),
        (told, false, &ours),
        (told, true, &kept),
        (partly, true, &mixed),
        (alike, false, &ours),
    ];
    for (index, (before, is_trusted, after)) in cases.iter().enumerate() {
        let mut headers = headers(before);
        let (present, forwarding) = (Present::of(&headers), forwarding(*is_trusted));
        if prepare_request(&mut headers, present, &forwarding, false) {
            for name in NAMES {
                assert!(!headers.contains_key(name), "case {index}: {name} twice");
            }
            forwarding.fields().add_to(&mut headers);
        }
        assert_eq!(lines(&headers, &[]), *after, "case {index}");
    }
}

#[test]
fn addresses_in_headers_are_plain() {
    let cases = [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0::1", "2001:db8::1"),
        (
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ),
    ];
    for (peer, expected) in cases {
        assert_eq!(address_value(peer.parse().unwrap()), expected);
    }
}

#[test]
fn an_upgrade_needs_a_protocol_that_is_passed_on() {
    let cases: [(&[&str], Option<&str>); 10] = [
        (&[], None),
        (&["connection: upgrade"], None),
        (&["upgrade: websocket"], Some("websocket")),
        (
            &["upgrade: WebSocket", "connection: keep-alive"],
            Some("WebSocket"),
        ),
        (&["upgrade: other"], None),
        (
            &[
                "upgrade: other",
                "connection: keep-alive",
                "connection: UPGRADE",
            ],
            Some("other"),
        ),
        (
            &["upgrade: h2c", "connection: upgrade, http2-settings"],
            None,
        ),
        (&["upgrade: H2C , h2c", "connection: upgrade"], None),
        (&["upgrade: h2c", "upgrade: websocket"], Some("websocket")),
        (&["upgrade: ", "connection: upgrade"], None),
    ];
    for (before, expected) in cases {
        let headers = headers(before);
        let found = upgrade_of(&headers).map(|value| value.to_str().unwrap());
        assert_eq!(found, expected, "{before:?}");
    }
}

#[test]
fn the_effective_client_is_told_by_trusted_peers_only() {
    let cases: [(&[&str], bool, &str); 9] = [
        (&[], true, "192.0.2.7"),
        (&["x-real-ip: 9.9.9.9"], true, "9.9.9.9"),
        (&["x-real-ip: 9.9.9.9"], false, "192.0.2.7"),
        (&["x-real-ip: [2001:db8::1]"], true, "2001:db8::1"),
        (&["x-real-ip: 2001:db8::1"], true, "2001:db8::1"),
        (&["x-real-ip: ::ffff:9.9.9.9"], true, "9.9.9.9"),
        (&["x-real-ip: "], true, "192.0.2.7"),
        (&["x-real-ip: 9.9.9.9, 8.8.8.8"], true, "192.0.2.7"),
        (&["x-real-ip: nonsense"], true, "192.0.2.7"),
    ];
    for (before, is_trusted, expected) in cases {
        let found = effective_client(&headers(before), PEER, is_trusted);
        assert_eq!(found.to_string(), expected, "{before:?}");
    }
    let mapped = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(effective_client(&HeaderMap::new(), mapped, false), PEER);
}

#[test]
fn methods_and_expectations() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(is_idempotent(&method.parse().unwrap()), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "LINK"] {
        assert!(!is_idempotent(&method.parse().unwrap()), "{method}");
    }
    let cases: [(&[&str], Version, bool); 4] = [
        (&["expect: 100-Continue"], Version::HTTP_11, true),
        (&["expect: 100-continue"], Version::HTTP_10, false),
        (&["expect: 200-ok"], Version::HTTP_11, false),
        (&[], Version::HTTP_11, false),
    ];
    for (before, version, expected) in cases {
        assert_eq!(
            expects_continue(&headers(before), version),
            expected,
            "{before:?}"
        );
    }
}
