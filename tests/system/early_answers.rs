//! Answers that come before the request was read whole: they arrive, and the end of the connection
//! is announced with them (RFC 9112 §9.3, §9.6).

use std::time::Duration;

use serde_json::json;

use crate::harness::{Backend, Client, Ended, Flow, Hipache, Redis, SOON, response};

/// A proxy with this backend for `a.test`.
fn scene(backend: &Backend, keys: &serde_json::Value) -> (Redis, Hipache) {
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, hipache)
}

/// Sends pieces with pauses, as slow clients do, and says how many were taken.
fn trickle(client: &mut Client, pieces: usize, piece: &[u8]) -> usize {
    let is_sent = |client: &mut Client| {
        std::thread::sleep(Duration::from_millis(30));
        client.try_send(piece).is_ok()
    };
    (0..pieces).take_while(|_| is_sent(client)).count()
}

#[test]
fn a_client_that_will_not_keep_its_connection_may_finish_sending() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let heads = [
        "POST /x HTTP/1.0\r\n",
        "POST /x HTTP/1.1\r\nConnection: close\r\n",
    ];
    for head in heads {
        let mut client = hipache.client();
        client.send(format!(
            "{head}Host: unknown.test\r\nContent-Length: 200000\r\n\r\n"
        ));
        let sent = trickle(&mut client, 20, &[b'x'; 10_000]);
        assert_eq!(sent, 20, "cut off while sending: {head:?}");
        let response = client.response();
        assert_eq!(response.status, 400, "{head:?}");
        let line = hipache.log().next();
        assert_eq!((line.target(), line.status), ("/x", 400));
        assert_eq!(line.bytes, response.raw_length);
    }
}

#[test]
fn an_answer_that_leaves_the_body_unread_announces_the_close() {
    let backend = Backend::scripted(|conn, _| {
        conn.send(response(302, "Location: /elsewhere\r\n", ""));
        conn.wait_for_end(Duration::from_secs(5));
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let cases = [("a.test", "/moved", 302), ("unknown.test", "/nowhere", 400)];
    for (host, target, status) in cases {
        let mut client = hipache.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.field("connection"), Some("close"), "{target}");
        client.send("never");
        assert_eq!(client.end(SOON), Ended::Fin, "{target}");
        hipache.line_of(&format!("POST {target} HTTP/1.1"), &response);
    }
    hipache.log().expect_none();
}

#[test]
fn a_408_reaches_a_client_that_is_still_sending_its_head() {
    let backend = Backend::saying("here");
    let keys = json!({ "server": { "requestHeadTimeout": 0.3 } });
    let (_redis, mut hipache) = scene(&backend, &keys);
    let mut client = hipache.client();
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nX: ");
    let sent = trickle(&mut client, 30, b"x");
    assert_eq!(sent, 30, "cut off while sending");
    let response = client.response();
    assert_eq!(response.status, 408);
    let line = hipache.log().next();
    assert_eq!((line.request.as_str(), line.status), ("-", 408));
    assert_eq!(line.bytes, response.raw_length);
}

#[test]
fn a_backend_that_switches_before_the_request_is_whole_is_a_502() {
    let backend = Backend::scripted(|conn, _| {
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        conn.wait_for_end(Duration::from_secs(20));
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let mut client = hipache.client();
    client.send(
        "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Content-Length: 5\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.status, 502);
    hipache.line_of("GET /x HTTP/1.1", &response);
}
