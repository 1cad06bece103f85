//! Gigabytes either way with a worker's memory flat, and every byte in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Backend, Flow, Hipache, Redis, ok, response};

const GIB: u64 = 1 << 30;

/// What a worker may grow by while a body passes.
const GROWTH: u64 = 20 << 20;

/// Bytes that say where they stand.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ (at >> 16)) as u8)
        .collect()
}

/// Samples a worker's resident memory while the closure runs; returns its growth.
fn growth_during(worker: u32, work: impl FnOnce()) -> u64 {
    let before = Hipache::resident(worker);
    let (stop, most) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(before)),
    );
    let sampler = {
        let (stop, most) = (Arc::clone(&stop), Arc::clone(&most));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                most.fetch_max(Hipache::resident(worker), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    };
    work();
    stop.store(true, Ordering::SeqCst);
    sampler.join().unwrap();
    most.load(Ordering::SeqCst) - before
}

/// A backend that sends as much as the target says and counts what it gets.
fn mover() -> Backend {
    Backend::scripted(|conn, request| match request.method.as_str() {
        "GET" => {
            let mut left: u64 = request.target[1..].parse().unwrap();
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n"));
            let part = vec![b'x'; 1 << 20];
            while left > 0 {
                let count = left.min(part.len() as u64);
                if !conn.send(&part[..usize::try_from(count).unwrap()]) {
                    return Flow::Close;
                }
                left -= count;
            }
            Flow::Keep
        }
        _ => match conn.count_body(request) {
            Ok(length) => {
                conn.send(response(200, "", &length.to_string()));
                Flow::Keep
            }
            Err(_) => Flow::Close,
        },
    })
}

fn scene() -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = mover();
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::on(&redis);
    (redis, backend, hipache)
}

#[test]
fn a_gibibyte_down_leaves_the_worker_s_memory_flat() {
    let (_redis, _backend, mut hipache) = scene();
    let worker = hipache.workers()[0];
    hipache.exchange("a.test", "/8000000");
    let mut client = hipache.client();
    let start = Instant::now();
    let growth = growth_during(worker, || {
        client.get("a.test", &format!("/{GIB}"));
        let response = client.response();
        assert_eq!((response.status, response.length), (200, GIB));
        hipache.line_of(&format!("GET /{GIB} HTTP/1.1"), &response);
    });
    assert!(growth < GROWTH, "grew by {growth} bytes");
    eprintln!(
        "1 GiB down: {:?}, growth {} kB",
        start.elapsed(),
        growth / 1024
    );
}

#[test]
fn a_gibibyte_up_leaves_the_worker_s_memory_flat() {
    let (_redis, _backend, mut hipache) = scene();
    let worker = hipache.workers()[0];
    let part = vec![b'x'; 1 << 20];
    let mut client = hipache.client();
    let mut upload = |length: u64| {
        client.send(format!(
            "PUT /{length} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"
        ));
        (0..length >> 20).for_each(|_| client.send(&part));
        client.response()
    };
    upload(8 << 20);
    hipache.log().next();
    let start = Instant::now();
    let growth = growth_during(worker, || {
        let response = upload(GIB);
        assert_eq!((response.status, response.text()), (200, GIB.to_string()));
        hipache.line_of(&format!("PUT /{GIB} HTTP/1.1"), &response);
    });
    assert!(growth < GROWTH, "grew by {growth} bytes");
    eprintln!(
        "1 GiB up: {:?}, growth {} kB",
        start.elapsed(),
        growth / 1024
    );
}

#[test]
fn a_response_that_nobody_reads_is_not_buffered() {
    let (_redis, backend, mut hipache) = scene();
    let worker = hipache.workers()[0];
    hipache.exchange("a.test", "/8000000");
    let mut clients: Vec<_> = (0..10).map(|_| hipache.client()).collect();
    let growth = growth_during(worker, || {
        for client in &mut clients {
            client.get("a.test", "/100000000");
        }
        backend.wait_for(11);
        std::thread::sleep(Duration::from_millis(700));
    });
    assert!(
        growth < GROWTH,
        "grew by {growth} bytes with ten unread responses"
    );
    for client in clients {
        client.reset();
    }
    let lines = hipache.log().take_lines(10);
    assert!(
        lines
            .iter()
            .all(|line| line.status == 200 && line.bytes < 100_000_000),
        "{lines:#?}"
    );
}

#[test]
fn interim_responses_that_nobody_reads_are_not_buffered() {
    let redis = Redis::start();
    let backend = Backend::scripted(|conn, _| {
        let hint = format!(
            "HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n",
            "x".repeat(4000)
        );
        // About 60 MB, in pieces that are passed on one by one.
        let piece = hint.repeat(15);
        (0..1000).all(|_| {
            std::thread::sleep(Duration::from_millis(1));
            conn.send(&piece)
        });
        conn.send(response(200, "", "here"));
        Flow::Keep
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = crate::admin::builder(&redis).start();
    let worker = hipache.workers()[0];
    let mut client = hipache.client();
    let growth = growth_during(worker, || {
        client.get("a.test", "/x");
        std::thread::sleep(Duration::from_millis(2000));
    });
    assert!(
        growth < GROWTH,
        "grew by {growth} bytes with unread interim responses"
    );
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "here"));
    hipache.line_of("GET /x HTTP/1.1", &response);
    let lost = hipache
        .scrape()
        .sum("hipache_interim_responses_lost_total", &[]);
    assert!(lost > 0.0);
    assert_eq!(response.interim.len() + lost as usize, 15_000);
}

#[test]
fn an_upload_that_the_backend_does_not_read_is_not_buffered() {
    let redis = Redis::start();
    let backend = Backend::scripted(|conn, _| {
        std::thread::sleep(Duration::from_secs(1));
        conn.reset_at_close();
        Flow::Close
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let worker = hipache.workers()[0];
    hipache.exchange("unknown.test", "/x");
    let mut client = hipache.client();
    client.send("PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n");
    let growth = growth_during(worker, || {
        let part = vec![b'x'; 1 << 20];
        while client.try_send(&part).is_ok() {
            if backend.count() > 0 && backend.last().at.elapsed() > Duration::from_secs(3) {
                break;
            }
        }
    });
    assert!(growth < GROWTH, "grew by {growth} bytes");
    assert_eq!(hipache.log().next().target(), "/x");
}

#[test]
fn every_byte_arrives_in_its_place_however_it_is_framed() {
    let redis = Redis::start();
    let backend = Backend::scripted(|conn, request| {
        conn.read_body(request);
        let head = if request.target == "/chunked" {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", request.body.len())
        };
        conn.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
        if request.target == "/chunked" {
            for part in request.body.chunks(7919) {
                conn.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            conn.send("0\r\n\r\n");
        } else {
            let body = request.body.clone();
            conn.send(body);
        }
        Flow::Keep
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let body = pattern(3_000_000);
    let mut client = hipache.client();
    for target in ["/sized", "/chunked", "/sized"] {
        client.post("a.test", target, &body);
        let response = client.response();
        assert!(response.body == body, "{target}: bytes differ");
        hipache.line_of(&format!("POST {target} HTTP/1.1"), &response);
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head);
        for part in body.chunks(64_007) {
            client.send([format!("{:X}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        client.send("0\r\n\r\n");
        let response = client.response();
        assert!(
            response.body == body,
            "{target}, sent in chunks: bytes differ"
        );
        hipache.line_of(&format!("POST {target} HTTP/1.1"), &response);
    }
}

#[test]
fn a_body_begins_to_arrive_before_it_was_sent_whole() {
    let redis = Redis::start();
    let backend = Backend::scripted(|conn, _| {
        let first = conn.read(5);
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n");
        conn.send(first);
        conn.send("\r\n");
        let second = conn.read(5);
        conn.send("5\r\n");
        conn.send(second);
        conn.send("\r\n0\r\n\r\n");
        Flow::Keep
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let mut client = hipache.client();
    client.send("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n");
    client.send("first");
    let head = client.head().unwrap();
    assert_eq!(client.bytes(10), b"5\r\nfirst\r\n");
    client.send("after");
    assert_eq!(client.bytes(15), b"5\r\nafter\r\n0\r\n\r\n");
    let line = hipache.log().next();
    assert_eq!((line.status, line.bytes), (200, head.raw.len() as u64 + 25));
    let good = Backend::answering(|_| ok("here"));
    redis.route("a.test", &[&good.url()]);
    client.get("a.test", "/y");
    assert_eq!(
        client.response().text(),
        "here",
        "the connection is still in step"
    );
}
