//! Each phase has a time limit of its own, `tcpTimeout` where it has none, and 0 is no limit.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::harness::{Backend, Client, Ended, Flow, Hipache, Line, Redis, Reply, SOON, response};

/// A backend that does what its target says.
fn backend() -> Backend {
    Backend::scripted(|conn, request| {
        match request.target.as_str() {
            "/silent" => (),
            "/stalls" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
            }
            "/floods" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
                while conn.send(vec![b'x'; 100_000]) {}
                return Flow::Close;
            }
            "/ticks" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
                while conn.send("x") {
                    std::thread::sleep(Duration::from_millis(50));
                }
                return Flow::Close;
            }
            "/deaf" => {
                std::thread::sleep(Duration::from_secs(4));
                return Flow::Close;
            }
            "/late" => {
                std::thread::sleep(PAUSE);
                conn.send(response(200, "", "late"));
                return Flow::Keep;
            }
            _ => {
                conn.read_body(request);
                conn.send(response(200, "", "here"));
                return Flow::Keep;
            }
        }
        conn.wait_for_end(SOON);
        Flow::Close
    })
}

/// Longer than every limit set here.
const PAUSE: Duration = Duration::from_millis(1000);

fn scene(backend: &Backend, keys: &Value) -> (Redis, Hipache) {
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, &json!({ "server": keys }));
    (redis, hipache)
}

/// Sends this, waits for the answer or the end, and gives status and line; 0 is no answer.
fn ask(hipache: &mut Hipache, bytes: &str) -> (u16, Line) {
    let mut client = hipache.client();
    client.send(bytes);
    let status = match client.try_response("GET") {
        Ok(response) => response.status,
        Err(broken) => {
            assert_ne!(broken.how, Ended::Silent, "{bytes:?}");
            broken.status.unwrap_or(0)
        }
    };
    (status, hipache.log().next())
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// Half of an upload.
const HALF: &str = "POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\npart";

#[test]
fn the_common_limit_holds_for_every_phase_and_tells_which_was_too_long() {
    let backend = backend();
    let keys = json!({ "tcpTimeout": 0.4, "maxSockets": 1, "retryOnError": 0 });
    let (_redis, mut hipache) = scene(&backend, &keys);
    let within = 0.39..4.0;
    for (bytes, status) in [
        ("GET /slow-head HTTP/1.1\r\nHost: a.t", 408),
        (&get("/silent"), 504),
        (&get("/stalls"), 200),
        (HALF, 408),
    ] {
        let (answer, line) = ask(&mut hipache, bytes);
        assert_eq!((answer, line.status), (status, status), "{bytes:?}");
        assert!(within.contains(&line.total), "{bytes:?}: {line:?}");
    }
    // The one connection that there may be is waited for as long as a connect may take.
    let mut steady = hipache.client();
    steady.get("a.test", "/ticks");
    steady.head().unwrap();
    let (status, line) = ask(&mut hipache, &get("/waits"));
    assert_eq!(status, 503);
    assert!(within.contains(&line.total), "{line:?}");
}

#[test]
fn who_stops_reading_stalls_a_body_as_well() {
    let backend = backend();
    let (_redis, mut hipache) = scene(&backend, &json!({ "idleBodyTimeout": 0.4 }));
    let mut deaf_client = hipache.client();
    deaf_client.get("a.test", "/floods");
    deaf_client.head().unwrap();
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/floods", 200));
    assert!((0.39..5.0).contains(&line.total), "{line:?}");
    assert!(line.bytes < 100_000_000, "{line:?}");

    let mut sender = hipache.client();
    sender.send("POST /deaf HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000000\r\n\r\n");
    // What comes after the answer is read for a while and thrown away (RFC 9112 §9.6).
    sender.send(vec![b'x'; 20_000_000]);
    let answer = sender.try_response("POST");
    assert_eq!(answer.unwrap().status, 504);
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/deaf", 504));
    assert!((0.39..3.5).contains(&line.total), "{line:?}");
}

/// The kernel calls a large buffer writable only when much of it is free: seconds, for this client.
#[test]
fn a_client_that_reads_slowly_is_not_taken_for_one_that_stopped() {
    let backend = Backend::answering(|_| Reply::Keep(response(200, "", &"x".repeat(12_000_000))));
    let (_redis, mut hipache) = scene(&backend, &json!({ "idleBodyTimeout": 0.5 }));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&hipache.address().into()).unwrap();
    let mut tcp = std::net::TcpStream::from(socket);
    tcp.set_read_timeout(Some(SOON)).unwrap();
    tcp.write_all(b"GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    let start = Instant::now();
    let mut chunk = [0; 2048];
    while start.elapsed() < Duration::from_secs(3) {
        assert!(
            tcp.read(&mut chunk).unwrap() > 0,
            "cut after {:?}",
            start.elapsed()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    hipache.log().expect_none();
    drop(tcp);
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/slow", 200));
    assert!(line.bytes < 12_000_000 && line.total > 2.9, "{line:?}");
}

/// Pauses in every phase; all of it must succeed.
fn pause_everywhere(hipache: &mut Hipache) {
    let pause = || std::thread::sleep(PAUSE);
    let mut client: Client = hipache.client();
    pause();
    client.send("POST /up HTTP/1.1\r\nHost: a.");
    pause();
    client.send("test\r\nContent-Length: 8\r\n\r\nhalf");
    pause();
    client.send("half");
    assert_eq!(client.response().text(), "here");
    pause();
    client.get("a.test", "/late");
    assert_eq!(client.response().text(), "late");
    for target in ["/up", "/late"] {
        let line = hipache.log().next();
        assert_eq!((line.target(), line.status), (target, 200));
    }
}

#[test]
fn zero_is_no_limit_for_each_phase_and_as_their_default() {
    let backend = backend();
    let (_redis, mut hipache) = scene(&backend, &json!({ "tcpTimeout": 0 }));
    pause_everywhere(&mut hipache);
    let keys = json!({
        "tcpTimeout": 0.3, "requestHeadTimeout": 0, "keepAliveTimeout": 0, "firstByteTimeout": 0,
        "idleBodyTimeout": 0, "connectTimeout": 0,
    });
    let (_redis, mut hipache) = scene(&backend, &keys);
    pause_everywhere(&mut hipache);
}

#[test]
fn each_limit_is_for_its_own_phase_only() {
    let backend = backend();
    let stalled = |key: &str| {
        let mut keys = json!({ "tcpTimeout": 0 });
        keys[key] = json!(0.3);
        let (redis, hipache) = scene(&backend, &keys);
        (redis, hipache)
    };
    // (key, what it ends, the status then)
    let slow_head = "GET /slow-head HTTP/1.1\r\nHost: a.t";
    let (silent, stalls) = (get("/silent"), get("/stalls"));
    for (key, ends, status) in [
        ("requestHeadTimeout", slow_head, 408),
        ("firstByteTimeout", &silent, 504),
        ("idleBodyTimeout", &stalls, 200),
    ] {
        let (_redis, mut hipache) = stalled(key);
        let (answer, line) = ask(&mut hipache, ends);
        assert_eq!((answer, line.status), (status, status), "{key}");
        assert!((0.29..4.0).contains(&line.total), "{key}: {line:?}");
        let mut others: Vec<Client> = [slow_head, &silent, &stalls]
            .iter()
            .filter(|other| **other != ends)
            .map(|other| {
                let mut client = hipache.client();
                client.send(other);
                client
            })
            .collect();
        others.push(hipache.client());
        std::thread::sleep(Duration::from_millis(700));
        hipache.log().expect_none();
        assert!(!hipache.stderr().join("\n").contains("panicked"), "{key}");
    }
    let (_redis, hipache) = stalled("keepAliveTimeout");
    let (mut idle, mut slow) = (hipache.client(), hipache.client());
    slow.send(slow_head);
    assert_eq!(idle.end(SOON), Ended::Fin);
    std::thread::sleep(Duration::from_millis(500));
    slow.send("est\r\n\r\n");
    assert_eq!(slow.response().text(), "here");
}
