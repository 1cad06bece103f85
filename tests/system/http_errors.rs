//! Requests that are refused, pages of our own, clients that leave.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Backend, Ended, Flow, Hipache, Redis, Reply, SOON, ok, text};

/// A proxy with one backend that answers everything.
fn scene(keys: &serde_json::Value) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::answering(|request| ok(&request.target));
    redis.route("*", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, backend, hipache)
}

/// Sends bytes that must be refused with this status; the connection must end with it.
fn refuse(hipache: &mut Hipache, bytes: &[u8], status: u16) -> crate::harness::Line {
    let mut client = hipache.client();
    client.send(bytes);
    let response = client.response();
    assert_eq!(response.status, status, "{:?}", text(bytes));
    assert_ne!(client.end(SOON), Ended::Silent, "{:?}", text(bytes));
    let line = hipache.log().next();
    let logged = (line.status, line.bytes, line.address.as_str());
    assert_eq!(
        logged,
        (status, response.raw_length, "::ffff:127.0.0.1"),
        "{:?}",
        text(bytes)
    );
    line
}

#[test]
fn a_head_that_is_not_http_is_a_400_and_a_line_without_a_request() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let cases: &[&[u8]] = &[
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /x\r\nHost: a.test\r\n\r\n",
        b"GET  /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost : a.test\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nNo colon\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nX: a\x00b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\n : x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: abc\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ];
    for bytes in cases {
        let line = refuse(&mut hipache, bytes, 400);
        assert_eq!(
            (line.request.as_str(), line.vhost.as_str()),
            ("-", "-"),
            "{:?}",
            text(bytes)
        );
    }
    assert_eq!(backend.count(), 0);
    hipache.log().expect_none();
}

#[test]
fn ambiguous_framing_is_refused() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let both = "GET /x HTTP/1.1\r\nHost: a.test\r\n";
    let cases = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        // hyper takes the chunks off and would forget what else the body is coded in.
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    // RFC 9112 §2.2: empty lines before a request line are ignored, and hide nothing.
    for (ahead, case) in ["", "\r\n", "\n\r\n"]
        .iter()
        .flat_map(|a| cases.map(|c| (a, c)))
    {
        let mut client = hipache.client();
        client.send(format!("{ahead}{both}{case}"));
        let response = client.response();
        assert!(
            matches!(response.status, 400 | 501),
            "{case:?}: {}",
            response.status
        );
        assert_ne!(client.end(SOON), Ended::Silent, "{case:?}");
        let line = hipache.log().next();
        assert_eq!(
            (line.status, line.bytes),
            (response.status, response.raw_length),
            "{case:?}"
        );
    }
    // HTTP/1.0 knows no chunks (RFC 9112 §6.1).
    let mut client = hipache.client();
    client.send("POST /x HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.response().status, 400);
    assert_eq!(backend.count(), 0, "none of them reached the backend");
}

#[test]
fn the_preface_of_http_2_is_a_bad_request_and_no_client_that_left() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let mut client = hipache.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_ne!(client.end(SOON), Ended::Silent);
    let line = hipache.log().next();
    let logged = (line.request.as_str(), line.status, line.bytes);
    assert_eq!(logged, ("-", 400, 0));
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_refused_head_ends_the_connection_with_its_answer() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let cases = [
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    ];
    for case in cases {
        let mut client = hipache.client();
        client.send(format!("{case}GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let response = client.response();
        let connection = response.field("connection");
        assert_eq!(
            (response.status, connection),
            (400, Some("close")),
            "{case:?}"
        );
        assert_ne!(client.end(SOON), Ended::Silent, "{case:?}");
        let line = hipache.log().next();
        assert_eq!((line.status, line.bytes), (400, response.raw_length));
    }
    assert_eq!(backend.count(), 0, "nor did what followed");
    hipache.log().expect_none();
}

#[test]
fn a_response_in_a_coding_that_was_not_asked_for_is_a_502() {
    let redis = Redis::start();
    let backend = Backend::answering(|_| {
        Reply::Close(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n"
                .to_vec(),
        )
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let (response, line) = hipache.exchange("a.test", "/x");
    assert_eq!((response.status, line.status), (502, 502));
}

#[test]
fn a_response_without_a_body_may_tell_its_length_badly() {
    let redis = Redis::start();
    let backend = Backend::answering(|request| {
        let lengths = match request.target.as_str() {
            "/twice" => "Content-Length: 5\r\nContent-Length: 5\r\n",
            "/list" => "Content-Length: 5, 5\r\n",
            "/two" => "Content-Length: 5\r\nContent-Length: 6\r\n",
            _ => "Content-Length: -1\r\n",
        };
        Reply::Keep(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n").into_bytes())
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    for (target, length) in [
        ("/twice", Some("5")),
        ("/list", Some("5")),
        ("/two", None),
        ("/bad", None),
    ] {
        let mut client = hipache.client();
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let response = client.response_to_head();
        assert_eq!(
            (response.status, response.field("content-length")),
            (200, length),
            "{target}"
        );
        hipache.line_of(&format!("HEAD {target} HTTP/1.1"), &response);
    }
}

#[test]
fn a_broken_chunk_ends_the_exchange_on_both_sides() {
    let redis = Redis::start();
    let backend = Backend::answering(|_| ok("whole"));
    redis.route("*", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let workers = hipache.workers();
    let mut client = hipache.client();
    client.send(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\nZZ\r\n",
    );
    let status = client
        .try_response("POST")
        .map_or(0, |response| response.status);
    assert!(matches!(status, 0 | 400), "{status}");
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/x", status));
    assert_eq!(hipache.workers(), workers);
}

#[test]
fn a_head_that_is_too_large_is_a_431() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let long = "v".repeat(2_000_000);
    let line = refuse(
        &mut hipache,
        format!("GET /x HTTP/1.1\r\nHost: a.test\r\nX-Long: {long}\r\n\r\n").as_bytes(),
        431,
    );
    assert_eq!((line.request.as_str(), line.vhost.as_str()), ("-", "-"));
    let many: String = (0..5000)
        .map(|number| format!("X-{number}: v\r\n"))
        .collect();
    refuse(
        &mut hipache,
        format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{many}\r\n").as_bytes(),
        431,
    );
    // What the original let pass still passes: about 80 kB, and about a hundred lines.
    let long = "v".repeat(75_000);
    let many: String = (0..90).map(|number| format!("X-{number}: v\r\n")).collect();
    for lines in [format!("X-Long: {long}\r\n"), many] {
        let mut client = hipache.client();
        client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
        assert_eq!(client.response().status, 200, "{} bytes", lines.len());
    }
    assert_eq!(backend.count(), 2);
}

#[test]
fn a_head_that_is_too_slow_is_a_408() {
    let keys = json!({ "server": { "requestHeadTimeout": 0.5 } });
    let (_redis, _backend, mut hipache) = scene(&keys);
    let mut client = hipache.client();
    let start = Instant::now();
    for byte in "GET /x HTTP/1.1\r\nHost: a.te".chars() {
        if start.elapsed() > Duration::from_secs(3) || client.try_send(byte.to_string()).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let response = client.response();
    assert_eq!(response.status, 408);
    assert!(
        (0.3..4.0).contains(&start.elapsed().as_secs_f64()),
        "{:?}",
        start.elapsed()
    );
    assert_ne!(client.end(SOON), Ended::Silent);
    let line = hipache.log().next();
    assert_eq!((line.request.as_str(), line.status), ("-", 408));
    assert_eq!(line.bytes, response.raw_length);
}

#[test]
fn connections_that_send_nothing_or_half_a_head_leave_the_right_lines() {
    let (_redis, _backend, mut hipache) = scene(&json!({}));
    drop(hipache.client());
    hipache.client().reset();
    let mut client = hipache.client();
    client.send("GET /x HTT");
    client.half_close();
    let status = client
        .try_response("GET")
        .map_or(0, |response| response.status);
    let line = hipache.log().next();
    // As in nginx, the line may name the fault although nobody was there to be told.
    let statuses = if status == 0 {
        [0, 400, 499]
    } else {
        [status; 3]
    };
    assert_eq!(line.request, "-", "part of a head is a line");
    assert!(statuses.contains(&line.status), "{line:?}");
    hipache.stop();
    hipache.log().expect_none();
}

#[test]
fn a_tunnel_through_connect_is_refused() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let mut client = hipache.client();
    client.send("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n");
    let response = client.response();
    assert!(
        matches!(response.status, 400 | 405 | 501),
        "{}",
        response.status
    );
    let line = hipache.log().next();
    assert_eq!(
        (line.status, line.bytes),
        (response.status, response.raw_length)
    );
    assert_eq!(backend.count(), 0);
}

#[test]
fn error_pages_come_from_the_static_directory_and_may_be_edited_while_running() {
    let redis = Redis::start();
    redis.route("empty.test", &[]);
    let starter = Hipache::builder().redis(&redis);
    let pages = starter.directory().join("pages");
    starter
        .directory()
        .write("pages/error_400.html", "<p>no such site</p>");
    starter
        .directory()
        .write("pages/error_default.html", "<p>sorry</p>");
    let keys = json!({ "server": { "staticDir": pages } });
    let mut hipache = starter.set(&keys).start();
    let (response, _) = hipache.exchange("unknown.test", "/x");
    assert_eq!(
        (response.status, response.text().as_str()),
        (400, "<p>no such site</p>")
    );
    let fields = [
        ("content-type", "text/html"),
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
    ];
    for (name, value) in fields {
        let field = response.field(name).unwrap_or_default();
        assert!(
            field == value || field.starts_with(&format!("{value};")),
            "{name}: {field}"
        );
    }
    let (response, _) = hipache.exchange("empty.test", "/x");
    assert_eq!(
        (response.status, response.text().as_str()),
        (502, "<p>sorry</p>")
    );
    hipache
        .directory()
        .write("pages/error_502.html", "<p>nobody is home</p>");
    let edited = crate::harness::eventually("the edited page", SOON, || {
        let response = hipache.get("empty.test", "/poll");
        (response.text() == "<p>nobody is home</p>").then_some(response)
    });
    assert_eq!(edited.status, 502);
}

#[test]
fn without_a_static_directory_pages_are_built_in() {
    let redis = Redis::start();
    redis.route("empty.test", &[]);
    let mut hipache = Hipache::on(&redis);
    for (host, status) in [("unknown.test", 400), ("empty.test", 502)] {
        let (response, _) = hipache.exchange(host, "/x");
        assert_eq!(response.status, status);
        assert!(
            response
                .field("content-type")
                .is_some_and(|kind| kind.starts_with("text/html"))
        );
        assert!(response.text().contains("<"), "{}", response.text());
        assert!(
            response.field("proxy-status").is_some(),
            "{:?}",
            response.head
        );
    }
    // An empty directory: the reason as plain text.
    let starter = Hipache::builder().redis(&redis);
    let pages = starter.directory().join("pages");
    std::fs::create_dir(&pages).unwrap();
    let mut hipache = starter
        .set(&json!({ "server": { "staticDir": pages } }))
        .start();
    let (response, _) = hipache.exchange("unknown.test", "/x");
    assert_eq!(
        (response.status, response.text().as_str()),
        (400, "frontend not found")
    );
    assert!(
        response
            .field("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
}

#[test]
fn proxy_status_names_the_end_of_answers_that_we_make_ourselves() {
    let redis = Redis::start();
    let refused = crate::harness::Refused::new();
    let closing = Backend::answering(|_| Reply::Close(Vec::new()));
    let own = Backend::answering(|_| Reply::Keep(crate::harness::response(502, "", "own")));
    redis.route("refused.test", &[&refused.url()]);
    redis.route("closing.test", &[&closing.url()]);
    redis.route("own.test", &[&own.url()]);
    redis.route("empty.test", &[]);
    let keys = json!({ "server": { "retryOnError": 0 } });
    let mut hipache = Hipache::with(&redis, &keys);
    let cases = [
        ("refused.test", "connection_refused"),
        ("closing.test", "connection_terminated"),
        ("empty.test", "no_live_backend"),
        ("unknown.test", "no_such_host"),
    ];
    for (host, end) in cases {
        let (response, _) = hipache.exchange(host, "/x");
        let status = response.field("proxy-status").unwrap_or_default();
        assert!(status.contains(end), "{host}: {status:?}");
    }
    let (response, _) = hipache.exchange("own.test", "/x");
    assert_eq!(
        response.field("proxy-status"),
        None,
        "a backend's answer is its own"
    );
}

#[test]
fn a_client_that_leaves_frees_the_backend_and_is_logged() {
    let redis = Redis::start();
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::scripted(move |conn, request| {
        if request.target == "/streaming" {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            while conn.send(vec![b'x'; 100_000]) {}
        }
        let ended = conn.wait_for_end(Duration::from_secs(20));
        tell.lock().unwrap().send(ended).ok();
        Flow::Close
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    for (target, statuses) in [("/waiting", [0, 499]), ("/streaming", [200, 200])] {
        let mut client = hipache.client();
        client.get("a.test", target);
        backend.wait_for(if target == "/waiting" { 1 } else { 2 });
        if target == "/streaming" {
            client.head().unwrap();
        }
        client.reset();
        let ended = told
            .recv_timeout(SOON)
            .expect("the backend's connection ends");
        assert_ne!(ended, Ended::Silent, "{target}");
        let line = hipache.log().next();
        assert_eq!(line.target(), target);
        assert!(statuses.contains(&line.status), "{line:?}");
        assert!(line.bytes < 100_000_000);
    }
    assert!(redis.dead("a.test").is_empty());
}
