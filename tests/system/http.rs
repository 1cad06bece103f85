//! HTTP/1 between client, proxy and backend: connections, framing, interim and early responses.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Backend, Client, Ended, Flow, Hipache, Redis, Reply, SOON, ok, response};

/// A proxy with this backend for `a.test`.
fn scene(backend: &Backend, keys: &serde_json::Value) -> (Redis, Hipache) {
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, hipache)
}

#[test]
fn a_client_s_connection_serves_many_requests_errors_included() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    for round in 0..10 {
        let host = if round % 3 == 2 {
            "unknown.test"
        } else {
            "a.test"
        };
        client.get(host, "/x");
        let response = client.response();
        assert_eq!(response.status, if round % 3 == 2 { 400 } else { 200 });
        hipache.line_of("GET /x HTTP/1.1", &response);
    }
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("connection"), Some("close"));
    hipache.line_of("GET /x HTTP/1.1", &response);
    assert_eq!(client.end(SOON), Ended::Fin);
}

#[test]
fn answers_on_a_kept_connection_do_not_wait_for_delayed_acknowledgements() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    client.get("a.test", "/warm");
    client.response();
    let start = Instant::now();
    for _ in 0..50 {
        client.get("a.test", "/x");
        client.response();
    }
    assert!(
        start.elapsed() < Duration::from_millis(50 * 20),
        "took {:?}",
        start.elapsed()
    );
    hipache.log().wait_for(51);
}

#[test]
fn http_1_0_clients_are_answered_in_their_own_way() {
    let backend = Backend::answering(|_| {
        Reply::Keep(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhere\r\n0\r\n\r\n".to_vec(),
        )
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    client.send("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "here");
    assert_eq!(
        response.field("transfer-encoding"),
        None,
        "no chunks for HTTP/1.0"
    );
    hipache.line_of("GET /x HTTP/1.0", &response);
    assert_eq!(
        backend.last().head.start,
        "GET /x HTTP/1.1",
        "the backend gets our version"
    );

    let sized = Backend::saying("sized");
    let (_redis, mut hipache) = scene(&sized, &json!({}));
    let mut client = hipache.client();
    for _ in 0..3 {
        client.send("GET /x HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response();
        assert_eq!(response.text(), "sized");
        let connection = response.field("connection").map(str::to_lowercase);
        assert_eq!(connection.as_deref(), Some("keep-alive"));
        hipache.line_of("GET /x HTTP/1.0", &response);
    }
    client.send("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let response = client.response();
    hipache.line_of("GET /x HTTP/1.0", &response);
    assert_eq!(client.end(SOON), Ended::Fin);
}

#[test]
fn chunked_bodies_and_their_trailers_pass_both_ways() {
    let backend = Backend::answering(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let trailer = request.trailers.first().cloned().unwrap_or_default();
        let length = body.len();
        Reply::Keep(
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 {length:x}\r\n{body}\r\n0\r\nX-Sum: {}\r\n\r\n",
                trailer.1
            )
            .into(),
        )
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    client.send(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
    );
    client.send("5;ext=1\r\nhello\r\n");
    client.send("6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n");
    let response = client.response();
    assert_eq!(response.text(), "hello world");
    let trailers: Vec<_> = response
        .trailers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect();
    assert_eq!(trailers, [("x-sum".to_owned(), "42".to_owned())]);
    assert_eq!(response.field("connection"), None, "all of it was read");
    hipache.line_of("POST /x HTTP/1.1", &response);
    client.get("a.test", "/x");
    assert_eq!(
        client.response().status,
        200,
        "the connection is still in step"
    );
}

#[test]
fn the_answer_to_head_has_the_length_and_no_body() {
    let backend = Backend::answering(|request| match request.method.as_str() {
        "HEAD" => Reply::Keep(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec()),
        _ => ok("here"),
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    for host in ["a.test", "unknown.test"] {
        client.send(format!("HEAD /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response_to_head();
        assert!(response.field("content-length").is_some(), "{host}");
        hipache.line_of("HEAD /x HTTP/1.1", &response);
        client.get("a.test", "/y");
        let response = client.response();
        assert_eq!(response.text(), "here", "still in step");
        hipache.line_of("GET /y HTTP/1.1", &response);
    }
}

#[test]
fn responses_without_a_body_leave_the_connection_in_step() {
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/204" => Reply::Keep(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        "/304" => Reply::Keep(
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n".to_vec(),
        ),
        _ => ok(""),
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    for (target, status) in [("/204", 204), ("/304", 304), ("/200", 200), ("/204", 204)] {
        client.get("a.test", target);
        let response = client.response();
        assert_eq!((response.status, response.length), (status, 0));
        hipache.line_of(&format!("GET {target} HTTP/1.1"), &response);
    }
}

#[test]
fn continue_is_said_only_after_the_backend_agreed() {
    let backend = Backend::scripted(|conn, request| {
        if request.target == "/no" {
            conn.send(response(413, "Connection: close\r\n", "too much"));
            return Flow::Close;
        }
        std::thread::sleep(Duration::from_millis(50));
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        conn.read_body(request);
        let body = String::from_utf8_lossy(&request.body).into_owned();
        conn.send(response(200, "", &body));
        Flow::Keep
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let ask = |target: &str| {
        format!(
            "PUT {target} HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    let mut client = hipache.client();
    let start = Instant::now();
    client.send(ask("/yes"));
    let interim = client.head().unwrap();
    assert!(interim.start.starts_with("HTTP/1.1 100"), "{interim:?}");
    assert!(
        start.elapsed() >= Duration::from_millis(45),
        "said before the backend did"
    );
    client.send("body");
    let response = client.response();
    assert_eq!(response.text(), "body");
    let line = hipache.log().next();
    assert_eq!(line.status, 200);
    assert_eq!(
        line.bytes,
        response.raw_length + interim.raw.len() as u64,
        "every byte counts"
    );

    let mut client = hipache.client();
    client.send(ask("/no"));
    let response = client.response();
    assert_eq!(
        (response.status, response.interim.len()),
        (413, 0),
        "no body was asked for"
    );
    hipache.line_of("PUT /no HTTP/1.1", &response);
}

#[test]
fn a_client_that_does_not_wait_for_continue_is_served() {
    let backend = Backend::answering(|request| ok(&String::from_utf8_lossy(&request.body)));
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    client.send(
        "PUT /x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody",
    );
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "body"));
    assert_eq!(hipache.log().next().status, 200);
}

#[test]
fn interim_responses_are_passed_on() {
    let backend = Backend::answering(|_| {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".to_vec();
        bytes.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n");
        bytes.extend(response(200, "", "here"));
        Reply::Keep(bytes)
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    for _ in 0..2 {
        client.get("a.test", "/x");
        let response = client.response();
        let links: Vec<_> = response
            .interim
            .iter()
            .map(|head| head.field("link"))
            .collect();
        assert_eq!(
            links,
            [Some("</a.css>; rel=preload"), Some("</b.css>; rel=preload")]
        );
        assert_eq!(response.text(), "here");
        hipache.line_of("GET /x HTTP/1.1", &response);
    }
    // RFC 9110 §15.2: never to a client that speaks HTTP/1.0.
    let mut old = hipache.client();
    old.send("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let response = old.response();
    assert_eq!(
        (response.interim.len(), response.text().as_str()),
        (0, "here")
    );
}

#[test]
fn a_response_head_is_passed_on_before_its_body_begins() {
    let backend = Backend::scripted(|conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        // The event comes only after the client has told that it saw the head.
        let told = conn.wait_for_end(Duration::from_secs(20));
        assert_ne!(told, Ended::Silent);
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    client.get("a.test", "/events");
    let head = client.head().unwrap();
    assert!(head.start.starts_with("HTTP/1.1 200"), "{head:?}");
    client.reset();
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/events", 200));
}

#[test]
fn an_early_response_reaches_a_client_that_is_still_sending() {
    let backend = Backend::scripted(|conn, _| {
        conn.read(1000);
        conn.send(response(413, "Connection: close\r\n", "too much"));
        // As careful servers do: swallow what still comes.
        conn.wait_for_end(Duration::from_secs(5));
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    for round in 0..5 {
        let mut client = hipache.client();
        let target = format!("/early/{round}");
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2000000\r\n\r\n"
        ));
        let part = vec![b'x'; 50_000];
        // The client goes on sending for a while, as most do, before it reads.
        let sent = (0..20)
            .take_while(|_| client.try_send(&part).is_ok())
            .count();
        assert_eq!(sent, 20, "cut off while sending");
        let response = client.response();
        assert_eq!(
            (response.status, response.text().as_str()),
            (413, "too much")
        );
        assert_eq!(response.field("connection"), Some("close"));
        hipache.line_of(&format!("POST {target} HTTP/1.1"), &response);
    }
}

#[test]
fn an_error_page_of_our_own_reaches_a_client_that_is_still_sending() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    client.send("POST /x HTTP/1.1\r\nHost: unknown.test\r\nContent-Length: 2000000\r\n\r\n");
    let part = vec![b'x'; 50_000];
    let sent = (0..40)
        .take_while(|_| client.try_send(&part).is_ok())
        .count();
    assert_eq!(sent, 40, "cut off while sending");
    let response = client.response();
    assert_eq!(response.status, 400);
    hipache.line_of("POST /x HTTP/1.1", &response);
}

#[test]
fn a_client_that_half_closes_is_served() {
    let backend = Backend::answering(|request| {
        std::thread::sleep(Duration::from_millis(100));
        ok(&format!("here {}", request.body.len()))
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let workers = hipache.workers();
    let mut client = hipache.client();
    client.get("a.test", "/x");
    client.half_close();
    let response = client.response();
    assert_eq!(response.text(), "here 0");
    hipache.line_of("GET /x HTTP/1.1", &response);
    assert_eq!(client.end(SOON), Ended::Fin);
    let mut client = hipache.client();
    client.post("a.test", "/y", b"12345");
    client.half_close();
    let response = client.response();
    assert_eq!(response.text(), "here 5");
    hipache.line_of("POST /y HTTP/1.1", &response);
    assert_eq!(hipache.workers(), workers);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::answering(|request| ok(&request.target));
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    let requests: String = (0..20)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
        .collect();
    client.send(&requests);
    for number in 0..20 {
        let response = client.response();
        assert_eq!(response.text(), format!("/{number}"));
        hipache.line_of(&format!("GET /{number} HTTP/1.1"), &response);
    }
}

#[test]
fn a_body_that_ends_with_the_connection_is_delimited_for_the_client() {
    let backend =
        Backend::answering(|_| Reply::Close(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec()));
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    for _ in 0..3 {
        client.get("a.test", "/x");
        let response = client.response();
        assert_eq!(response.text(), "until the end");
        assert_eq!(response.field("transfer-encoding"), Some("chunked"));
        hipache.line_of("GET /x HTTP/1.1", &response);
    }
}

#[test]
fn ping_is_answered_without_redis_and_without_a_line() {
    let redis = Redis::stopped(&[]);
    let mut hipache = Hipache::on(&redis);
    let mut client: Client = hipache.client();
    for request in ["GET /", "POST /any/path", "DELETE /x?y"] {
        client.send(format!("{request} HTTP/1.1\r\nHost: __ping__\r\n\r\n"));
        let response = client.response();
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "ok"),
            "{request}"
        );
        let fields = [
            ("content-length", "2"),
            ("content-type", "text/plain"),
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
            ("expires", "-1"),
        ];
        for (name, value) in fields {
            assert_eq!(response.field(name), Some(value), "{request}");
        }
    }
    client.get("__PING__", "/other");
    let response = client.response();
    assert_ne!(
        response.status, 200,
        "exactly so, or it is an ordinary host"
    );
    hipache.line_of("GET /other HTTP/1.1", &response);
    hipache.log().expect_none();
}
