//! Which headers pass, in both directions, and which are added.

use serde_json::json;

use crate::harness::{Backend, Client, Hipache, Redis, Reply, Request, ok, response};

/// A proxy with one backend that answers everything.
fn scene(keys: &serde_json::Value) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, backend, hipache)
}

/// Sends these header lines in a `GET` and returns what the backend got.
fn forward(hipache: &mut Hipache, backend: &Backend, lines: &str) -> Request {
    let mut client = hipache.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    let response = client.response();
    assert_eq!(response.status, 200, "{lines:?}");
    hipache.line_of("GET /x HTTP/1.1", &response);
    backend.last()
}

#[test]
fn hop_by_hop_headers_end_here_and_every_connection_line_counts() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let lines = "Connection: close, X-One\r\nX-One: 1\r\nconnection: x-two , keep-alive\r\n\
                 X-Two: 2\r\nCONNECTION: X-Three\r\nX-Three: 3\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: keep-alive\r\nTE: trailers, gzip\r\n\
                 Proxy-Authorization: Basic eA==\r\nX-Four: 4\r\n";
    let got = forward(&mut hipache, &backend, lines);
    for gone in [
        "x-one",
        "x-two",
        "x-three",
        "keep-alive",
        "proxy-connection",
    ] {
        assert_eq!(got.field(gone), None, "{gone} in {:?}", got.head);
    }
    let connection = got.head.all("connection").join(", ").to_lowercase();
    assert!(
        !connection.contains("x-") && !connection.contains("close"),
        "{connection}"
    );
    assert_eq!(got.field("x-four"), Some("4"));
}

#[test]
fn hop_by_hop_headers_of_the_response_end_here_too() {
    let redis = Redis::start();
    let backend = Backend::answering(|_| {
        let fields = "Connection: X-One\r\nConnection: keep-alive, x-two\r\nX-One: 1\r\nX-Two: 2\r\n\
                      Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Three: 3\r\n";
        Reply::Keep(response(200, fields, "here"))
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let (response, _) = hipache.exchange("a.test", "/x");
    for gone in ["x-one", "x-two", "keep-alive", "proxy-connection"] {
        assert_eq!(response.field(gone), None, "{gone} in {:?}", response.head);
    }
    assert_eq!(response.field("x-three"), Some("3"));
}

#[test]
fn other_headers_pass_unchanged_repeated_ones_line_by_line() {
    let redis = Redis::start();
    let fields = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nVia: 1.1 x\r\nX-Empty:\r\nServer: S\r\n\
                  X-Latin: \u{e9}\r\n";
    let backend = Backend::answering(move |_| Reply::Keep(response(418, fields, "tea")));
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let mut client = hipache.client();
    let lines = "Cookie: a=1\r\nCookie: b=2\r\nX-Repeat: 1\r\nX-Repeat: 2\r\nX-Empty:\r\n\
                 User-Agent: UA\r\nReferer: http://ref/\r\nX-Long: ";
    let long = "v".repeat(20_000);
    client.send(format!(
        "GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}{long}\r\n\r\n"
    ));
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (418, "tea"));
    assert_eq!(response.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.head.all("via"), ["1.1 x"]);
    assert_eq!(response.field("x-empty"), Some(""));
    assert_eq!(response.field("x-latin"), Some("\u{e9}"));
    assert_eq!(response.field("server"), Some("S"));
    assert!(
        response.field("date").is_some(),
        "Date is added when it is missing"
    );
    let line = hipache.line_of("GET /x HTTP/1.1", &response);
    assert_eq!(
        (line.agent.as_str(), line.referer.as_str()),
        ("UA", "http://ref/")
    );
    let got = backend.last();
    assert_eq!(got.head.all("x-repeat"), ["1", "2"]);
    let cookies = got.head.all("cookie").join("; ");
    assert_eq!(cookies, "a=1; b=2");
    assert_eq!(got.field("x-empty"), Some(""));
    assert_eq!(got.field("x-long").map(str::len), Some(20_000));
}

#[test]
fn the_target_passes_byte_for_byte() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let targets = [
        "/",
        "/?",
        "/a?b=c&d=%20",
        "/../up",
        "//double",
        "/%2F%00",
        "/'()*!$;=:@",
        "/a//b/./c",
        "/?q=\"<>`{}|^",
        "/\\back",
    ];
    for target in targets {
        let mut client = hipache.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let response = client.response();
        let line = hipache.log().next();
        assert_eq!(
            (line.status, line.bytes),
            (response.status, response.raw_length)
        );
        if response.status == 200 {
            assert_eq!(backend.last().target, target);
        } else {
            assert_eq!(response.status, 400, "{target}: refused, if anything");
        }
    }
    assert!(
        backend.count() >= 8,
        "the usual ones pass: {}",
        backend.count()
    );
}

#[test]
fn an_absolute_target_gives_the_host_and_is_logged_as_it_came() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    for (target, path) in [
        ("http://a.test/x?y", "/x?y"),
        ("http://A.test:80/x", "/x"),
        ("http://a.test", "/"),
    ] {
        let mut client = hipache.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: other.test\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 200, "{target}");
        let line = hipache.line_of(&format!("GET {target} HTTP/1.1"), &response);
        assert_eq!(line.vhost, "id-a.test");
        let got = backend.last();
        assert_eq!(got.target, path, "{target}");
        let host = got.field("host").map(str::to_lowercase);
        assert!(
            host.is_some_and(|host| host.starts_with("a.test")),
            "{:?}",
            got.head
        );
    }
}

#[test]
fn options_for_the_whole_server_pass() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let mut client = hipache.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let response = client.response();
    hipache.line_of("OPTIONS * HTTP/1.1", &response);
    assert_eq!(
        (response.status, backend.last().target.as_str()),
        (200, "*")
    );
}

/// The forwarded headers as the backend got them.
fn forwarded(got: &Request) -> [Option<&str>; 5] {
    ["for", "proto", "protocol", "port"]
        .map(|name| format!("x-forwarded-{name}"))
        .iter()
        .map(|name| got.field(name))
        .chain([got.field("x-real-ip")])
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

#[test]
fn forwarded_headers_are_added_with_the_real_port_and_a_plain_address() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let port = hipache.address().port().to_string();
    let got = forward(&mut hipache, &backend, "");
    let ours = Some("127.0.0.1");
    assert_eq!(
        forwarded(&got),
        [ours, Some("http"), Some("http"), Some(&port), ours]
    );
}

#[test]
fn forwarded_headers_of_a_trusted_peer_are_left_alone_even_when_empty() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let lines = "X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Protocol:\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 1.2.3.4\r\n";
    let got = forward(&mut hipache, &backend, lines);
    let wanted = ["1.2.3.4, 5.6.7.8", "https", "", "443", "1.2.3.4"].map(Some);
    assert_eq!(forwarded(&got), wanted);
}

#[test]
fn the_log_shows_the_client_that_a_trusted_proxy_names() {
    let (_redis, _backend, mut hipache) = scene(&json!({}));
    for (header, logged) in [
        ("X-Real-IP: 9.9.9.9\r\n", "::ffff:9.9.9.9"),
        ("X-Real-IP: ::ffff:9.9.9.9\r\n", "::ffff:9.9.9.9"),
        ("X-Real-IP: 2001:db8::1\r\n", "2001:db8::1"),
        ("X-Real-IP: \" - - [forged\r\n", "::ffff:127.0.0.1"),
        ("", "::ffff:127.0.0.1"),
    ] {
        let mut client = hipache.client();
        client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{header}\r\n"));
        let response = client.response();
        assert_eq!(
            hipache.line_of("GET /x HTTP/1.1", &response).address,
            logged,
            "{header}"
        );
    }
}

#[test]
fn an_untrusted_peer_s_forwarded_headers_are_replaced_and_its_debug_wish_is_ignored() {
    let keys = json!({ "http": { "trustedProxies": [] } });
    let (_redis, backend, mut hipache) = scene(&keys);
    let port = hipache.address().port().to_string();
    let lines = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Protocol: https\r\n\
                 X-Forwarded-Port: 443\r\nX-Real-IP: 1.2.3.4\r\nX-Debug: 1\r\n";
    let mut client = hipache.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
    let response = client.response();
    let line = hipache.line_of("GET /x HTTP/1.1", &response);
    assert_eq!(line.address, "::ffff:127.0.0.1");
    let debug = response
        .head
        .fields
        .iter()
        .any(|(name, _)| name.to_lowercase().starts_with("x-debug"));
    assert!(!debug, "{:?}", response.head);
    let got = backend.last();
    let ours = Some("127.0.0.1");
    assert_eq!(
        forwarded(&got),
        [ours, Some("http"), Some("http"), Some(&port), ours]
    );
    assert_eq!(got.head.all("x-forwarded-for").len(), 1);
}

#[test]
fn x_debug_tells_a_trusted_peer_how_the_answer_came_about() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let mut client = hipache.client();
    client.send("GET /x HTTP/1.1\r\nHost: A.test:80\r\nX-Debug:\r\n\r\n");
    let response = client.response();
    hipache.line_of("GET /x HTTP/1.1", &response);
    let url = format!("{}/", backend.url());
    assert!(
        response
            .field("x-debug-version-hipache")
            .is_some_and(|version| !version.is_empty())
    );
    assert_eq!(response.field("x-debug-backend-url"), Some(url.as_str()));
    assert_eq!(response.field("x-debug-backend-id"), Some("0"));
    assert_eq!(response.field("x-debug-vhost"), Some("id-a.test"));
    assert_eq!(response.field("x-debug-frontend-key"), Some("a.test"));
    for name in ["x-debug-time-total", "x-debug-time-backend"] {
        let time = response
            .field(name)
            .and_then(|time| time.parse::<u64>().ok());
        assert!(
            time.is_some_and(|time| time < 10_000),
            "{name} in {:?}",
            response.head
        );
    }
    assert_eq!(response.field("x-debug-error"), None);
    client.send("GET /x HTTP/1.1\r\nHost: b.test\r\nX-Debug: 1\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 400);
    assert_eq!(response.field("x-debug-error"), Some("frontend not found"));
}

#[test]
fn a_body_keeps_its_framing_on_the_way_to_the_backend() {
    let redis = Redis::start();
    let backend = Backend::answering(|request| ok(&String::from_utf8_lossy(&request.body)));
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let sized = |method: &str| {
        format!("{method} /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc")
    };
    let chunked = |method: &str| {
        format!(
            "{method} /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )
    };
    let none = |method: &str| format!("{method} /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "GET", "PROPFIND", "X-OWN",
    ] {
        let mut client = hipache.client();
        let ask = |hipache: &mut Hipache, client: &mut Client, request: String| {
            client.send(request);
            let response = client.response();
            hipache.line_of(&format!("{method} /x HTTP/1.1"), &response);
            (response.text(), backend.last())
        };
        let (body, got) = ask(&mut hipache, &mut client, sized(method));
        assert_eq!(
            (body.as_str(), got.field("content-length")),
            ("abc", Some("3")),
            "{method}"
        );
        assert_eq!(got.field("transfer-encoding"), None, "{method}");
        let (body, got) = ask(&mut hipache, &mut client, chunked(method));
        assert_eq!(body, "abc", "{method}");
        assert!(got.field("content-length").is_none() || got.field("transfer-encoding").is_none());
        let (body, got) = ask(&mut hipache, &mut client, none(method));
        assert_eq!(
            (body.as_str(), got.field("transfer-encoding")),
            ("", None),
            "{method}"
        );
    }
}
