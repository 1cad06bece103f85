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

#[test]
fn a_backend_that_floods_with_interim_responses_fills_no_memory() {
    let backend = Backend::scripted(|conn, _| {
        let head = format!(
            "HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n",
            "v".repeat(8000)
        );
        let batch = head.repeat(4);
        for _ in 0..2000 {
            conn.send(&batch);
            std::thread::sleep(Duration::from_micros(500));
        }
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&backend, &json!({}));
    let worker = hipache.workers()[0];
    let before = Hipache::resident(worker);
    let mut client = hipache.client();
    client.get("a.test", "/flood");
    // It reads nothing meanwhile, so all of it would have to be kept somewhere.
    let (start, mut most) = (Instant::now(), before);
    while start.elapsed() < Duration::from_secs(4) {
        most = most.max(Hipache::resident(worker));
        std::thread::sleep(Duration::from_millis(50));
    }
    let grown = most.saturating_sub(before);
    assert!(grown < 8 << 20, "the worker grew by {grown} bytes");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "here"));
    hipache.line_of("GET /flood HTTP/1.1", &response);
}

#[test]
fn without_descriptors_for_backends_clients_wait_in_the_queue() {
    let backend = Backend::saying("here");
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let starter = Hipache::builder().redis(&redis).descriptors(64);
    let mut hipache = starter.start();
    let mut clients: Vec<_> = (0..200).map(|_| hipache.client()).collect();
    // Whoever is accepted is served, and makes room for the next one by leaving.
    for client in &mut clients {
        client.get("a.test", "/x");
    }
    let mut statuses = Vec::new();
    for mut client in clients {
        client.set_limit(Duration::from_secs(30));
        statuses.push(client.response().status);
    }
    assert_eq!(statuses, [200; 200]);
    hipache.wait_for_stderr("accepting connections", 1);
    (0..200).for_each(|_| assert_eq!(hipache.log().next().status, 200));
}
