//! Limits of waiting: idle connections, slow responses, stalled bodies.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Backend, Ended, Flow, Hipache, Redis, SOON};

/// A proxy with this backend for `a.test`.
fn scene(backend: &Backend, keys: &serde_json::Value) -> (Redis, Hipache) {
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, hipache)
}

#[test]
fn connections_that_are_idle_too_long_are_closed_without_a_line() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend, &json!({ "server": { "tcpTimeout": 0.5 } }));
    let mut fresh = hipache.client();
    let mut kept = hipache.client();
    kept.get("a.test", "/x");
    assert_eq!(kept.response().status, 200);
    let start = Instant::now();
    assert_eq!(kept.end(SOON), Ended::Fin);
    assert_eq!(fresh.end(SOON), Ended::Fin);
    let elapsed = start.elapsed();
    let expected = Duration::from_millis(200)..Duration::from_secs(4);
    assert!(expected.contains(&elapsed), "took {elapsed:?}");
    assert_eq!(hipache.log().next().target(), "/x");
    hipache.log().expect_none();
}

#[test]
fn a_slow_but_steady_response_outlasts_every_limit() {
    let backend = Backend::scripted(|conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n");
        (0..15).for_each(|_| {
            std::thread::sleep(Duration::from_millis(100));
            conn.send("x");
        });
        Flow::Keep
    });
    let (_redis, mut hipache) = scene(&backend, &json!({ "server": { "tcpTimeout": 0.5 } }));
    let (response, line) = hipache.exchange("a.test", "/slow");
    assert_eq!(response.length, 15);
    assert!(line.total >= 1.4, "{line:?}");
}

#[test]
fn a_stalled_body_is_ended_after_its_limit_and_logged() {
    let backend = Backend::scripted(|conn, request| {
        if request.method == "GET" {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
        } else {
            conn.read_body(request);
        }
        conn.wait_for_end(Duration::from_secs(20));
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&backend, &json!({ "server": { "idleBodyTimeout": 0.4 } }));
    let mut client = hipache.client();
    client.get("a.test", "/down");
    let broken = client.try_response("GET").expect_err("the body stalls");
    assert_ne!(broken.how, Ended::Silent);
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/down", 200));
    assert!((0.39..5.0).contains(&line.total), "{line:?}");

    let mut client = hipache.client();
    client.send("POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\npart");
    let start = Instant::now();
    let answer = client.try_response("POST");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "took {:?}",
        start.elapsed()
    );
    let status = answer.as_ref().map_or(0, |response| response.status);
    assert!(matches!(status, 0 | 408), "{answer:?}");
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/up", status));
}
