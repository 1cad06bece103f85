//! How exchanges on streams end: with interim responses, by a client that gives up, with a drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::frames::{CANCEL, END_STREAM, Frame, Frames, GOAWAY, NO_ERROR, RST_STREAM};
use crate::harness::{
    Backend, Collector, Flow, Hipache, Redis, SOON, Setup, StreamBackend, attribute, block_on,
    eventually, read_all, speak,
};

/// A proxy that takes HTTP/2 without TLS, before this backend.
fn scene(backend: &str, keys: &Value) -> (Redis, Collector, Hipache) {
    let (redis, collector) = (Redis::start(), Collector::start());
    redis.route("a.test", &[backend]);
    let own = json!({
        "http": { "h2c": true },
        "admin": { "bind": "127.0.0.1", "port": 0 },
        "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 }
    });
    let builder = Hipache::builder().redis(&redis).set(&own).set(keys);
    let hipache = builder.start();
    (redis, collector, hipache)
}

/// A backend that answers `/slow` only when it is let.
fn gated() -> (Backend, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let backend = Backend::scripted(move |conn, request| {
        if request.target == "/slow" {
            eventually("the gate", SOON * 2, || {
                gate.load(Ordering::SeqCst).then_some(())
            });
        }
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        Flow::Keep
    });
    (backend, open)
}

/// Waits for the end of this stream: whether it ended well.
fn ends_well(client: &mut Frames, stream: u32) -> bool {
    let last = client.expect("the end of a stream", |frame| {
        frame.stream == stream && (frame.has(END_STREAM) || frame.kind == RST_STREAM)
    });
    last.kind != RST_STREAM
}

/// Asks for `/slow`, and is told to leave while that is under way; the workers before the reload.
fn be_caught_by_a_reload(
    client: &mut Frames,
    backend: &Backend,
    hipache: &mut Hipache,
) -> Vec<u32> {
    client.send(&Frame::get(1, "a.test", "/slow"));
    backend.wait_for(1);
    let old = hipache.workers();
    hipache.reload(&json!({ "server": { "maxSockets": 99 } }));
    client.expect("the first GOAWAY", |frame| frame.kind == GOAWAY);
    old
}

/// What came before a response, and its body.
async fn exchange(
    hipache: &Hipache,
    request: Request<()>,
    body: &'static str,
) -> (Vec<Response<()>>, Vec<u8>) {
    let mut requests = speak(hipache.address()).await;
    let waits = request.headers().contains_key("expect");
    let (mut response, mut send) = requests.send_request(request, false).unwrap();
    let mut interim = Vec::new();
    if !waits {
        send.send_data(Bytes::from_static(body.as_bytes()), true)
            .unwrap();
    }
    while let Some(head) = std::future::poll_fn(|cx| response.poll_informational(cx)).await {
        let head = head.unwrap();
        if head.status() == 100 {
            send.send_data(Bytes::from_static(body.as_bytes()), true)
                .unwrap();
        }
        interim.push(head);
    }
    let mut response = response.await.unwrap();
    let (body, _) = read_all(response.body_mut()).await.unwrap();
    (interim, body)
}

#[test]
fn interim_responses_reach_clients_from_backends_of_either_version() {
    let old = Backend::scripted(|conn, request| {
        conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\n\r\n");
        if request.field("expect").is_some() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        }
        conn.read_body(request);
        conn.send(crate::harness::response(200, "", "done"));
        Flow::Keep
    });
    let new = StreamBackend::start(Setup::default(), |mut call| async move {
        let hints = Response::builder().status(103).header("link", "</a.css>");
        call.respond
            .send_informational(hints.body(()).unwrap())
            .unwrap();
        if call.request.headers().contains_key("expect") {
            let proceed = Response::builder().status(100).body(()).unwrap();
            call.respond.send_informational(proceed).unwrap();
        }
        let _ = read_all(call.request.body_mut()).await;
        call.answer("done");
    });
    let (redis, _collector, mut hipache) = scene(&old.url(), &json!({}));
    redis.route("b.test", &[&new.url()]);
    for host in ["a.test", "b.test"] {
        for (expects, expected) in [(false, &[103][..]), (true, &[103, 100])] {
            let mut request = Request::post(format!("http://{host}/hints"));
            if expects {
                request = request.header("expect", "100-continue");
            }
            let began = Instant::now();
            let request = request.body(()).unwrap();
            let (interim, body) = block_on(exchange(&hipache, request, "body"));
            let mut statuses: Vec<_> = interim.iter().map(|head| head.status().as_u16()).collect();
            statuses.sort_by_key(|status| std::cmp::Reverse(*status));
            assert_eq!(
                (statuses.as_slice(), body.as_slice()),
                (expected, &b"done"[..]),
                "{host}"
            );
            let hint = interim.iter().find(|head| head.status() == 103).unwrap();
            assert_eq!(hint.headers()["link"], "</a.css>", "{host}");
            assert_eq!(hint.headers().len(), 1, "{host}");
            assert!(began.elapsed() < Duration::from_millis(900), "{host}");
            assert_eq!(hipache.log().next().status, 200);
        }
    }
    assert_eq!(
        hipache
            .scrape()
            .sum("hipache_interim_responses_lost_total", &[]),
        0.0
    );
}

#[test]
fn interim_responses_that_a_client_does_not_read_are_let_go_and_counted() {
    let backend = Backend::scripted(|conn, _| {
        let hint = format!(
            "HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n",
            "x".repeat(8000)
        );
        for _ in 0..2000 {
            if !conn.send(&hint) {
                return Flow::Close;
            }
        }
        conn.send(crate::harness::response(200, "", "done"));
        Flow::Keep
    });
    let (_redis, _collector, hipache) = scene(&backend.url(), &json!({}));
    // Nothing is read: neither the bytes nor, as far as the kernel holds them, the end.
    let mut deaf = std::net::TcpStream::connect(hipache.address()).unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = Frame::new(4, 0, 0, []).bytes();
    let get = Frame::get(1, "a.test", "/hints").bytes();
    std::io::Write::write_all(&mut deaf, &[&preface[..], &settings, &get].concat()).unwrap();
    eventually("interim responses that were let go", SOON, || {
        let scrape = hipache.scrape();
        let lost = scrape.sum("hipache_interim_responses_lost_total", &[]);
        (lost > 0.0).then_some(())
    });
}

#[test]
fn a_client_that_gives_up_is_gone_whether_it_says_so_or_not() {
    let backend = Backend::scripted(|conn, _| {
        conn.wait_for_end(SOON);
        Flow::Close
    });
    let (_redis, collector, mut hipache) = scene(&backend.url(), &json!({}));
    for (number, path) in [(1, "/reset"), (2, "/dead")] {
        let mut client = Frames::connect(hipache.address());
        client.send(&Frame::get(1, "a.test", path));
        backend.wait_for(number);
        if path == "/reset" {
            client.send(&Frame::reset(1, CANCEL));
        } else {
            drop(client);
        }
        let line = hipache.log().next();
        assert_eq!((line.target(), line.status), (path, 499));
        let root = &collector.trace_of(path)[0];
        let end = attribute(root, "error.type");
        assert_eq!(end.as_deref(), Some("client_gone"), "{path}");
    }
}

#[test]
fn an_idle_connection_leaves_a_drain_at_once() {
    let (backend, _gate) = gated();
    let (_redis, _collector, mut hipache) = scene(&backend.url(), &json!({}));
    let mut idle = Frames::connect(hipache.address());
    assert!(idle.is_served(1, "a.test", "/before"));
    let began = Instant::now();
    hipache.signal(Signal::SIGTERM);
    let first = idle.expect("the first GOAWAY", |frame| frame.kind == GOAWAY);
    assert_eq!(
        (first.code(), first.last_stream()),
        (NO_ERROR, u32::MAX >> 1)
    );
    idle.pong();
    let last = idle.expect("the last GOAWAY", |frame| frame.kind == GOAWAY);
    assert_eq!((last.code(), last.last_stream()), (NO_ERROR, 1));
    while idle.next().is_some() {}
    assert_eq!(hipache.wait(SOON).code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn what_is_in_flight_is_finished_and_what_comes_later_can_be_sent_elsewhere() {
    let (backend, gate) = gated();
    let (_redis, _collector, mut hipache) = scene(&backend.url(), &json!({}));
    let mut client = Frames::connect(hipache.address());
    let old = be_caught_by_a_reload(&mut client, &backend, &mut hipache);
    // Until the client has answered, what it sends may have crossed the news.
    client.send(&Frame::get(3, "a.test", "/crossing"));
    client.pong();
    let mut is_last_told = false;
    let mut is_crossing_served = false;
    while !is_last_told || !is_crossing_served {
        let frame = client.next().unwrap();
        if frame.kind == GOAWAY {
            assert_eq!((frame.code(), frame.last_stream()), (NO_ERROR, 3));
            is_last_told = true;
        }
        is_crossing_served |= frame.stream == 3 && frame.has(END_STREAM);
    }
    // Behind the last one: neither served nor refused, as RFC 9113 §6.8 has it.
    client.send(&Frame::get(5, "a.test", "/late"));
    assert!(hipache.workers().iter().any(|worker| old.contains(worker)));
    // A new connection is another worker's.
    let mut other = Frames::connect(hipache.address());
    assert!(other.is_served(1, "a.test", "/elsewhere"));
    gate.store(true, Ordering::SeqCst);
    assert!(ends_well(&mut client, 1));
    while let Some(frame) = client.next() {
        assert_ne!(frame.stream, 5);
    }
    hipache.wait_for_workers(1, &old);
    let mut targets: Vec<_> = hipache
        .log()
        .take_lines(3)
        .iter()
        .map(|line| (line.target().to_owned(), line.status))
        .collect();
    targets.sort();
    let expected = ["/crossing", "/elsewhere", "/slow"].map(|path| (path.to_owned(), 200));
    assert_eq!(targets, expected);
}

#[test]
fn a_client_that_never_stops_is_refused_after_a_while() {
    let (backend, gate) = gated();
    let (_redis, _collector, mut hipache) = scene(&backend.url(), &json!({}));
    let mut client = Frames::connect(hipache.address());
    let old = be_caught_by_a_reload(&mut client, &backend, &mut hipache);
    // It answers no ping and goes on.
    let mut stream = 1;
    let refused = eventually("a refusal", SOON, || {
        stream += 2;
        std::thread::sleep(Duration::from_millis(200));
        (!client.is_served(stream, "a.test", "/more")).then_some(stream)
    });
    assert!(refused > 3);
    let scrape = hipache.scrape();
    assert_eq!(scrape.sum("hipache_http2_streams_refused_total", &[]), 1.0);
    gate.store(true, Ordering::SeqCst);
    assert!(ends_well(&mut client, 1));
    hipache.wait_for_workers(1, &old);
}

#[test]
fn the_limit_of_a_drain_cuts_what_is_left() {
    let (backend, _gate) = gated();
    let keys = json!({ "server": { "gracefulWait": 1 } });
    let (_redis, collector, mut hipache) = scene(&backend.url(), &keys);
    let mut client = Frames::connect(hipache.address());
    client.send(&Frame::get(1, "a.test", "/slow"));
    backend.wait_for(1);
    hipache.signal(Signal::SIGTERM);
    client.expect("the first GOAWAY", |frame| frame.kind == GOAWAY);
    hipache.wait(SOON);
    while client.next().is_some() {}
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/slow", 0));
    let root = &collector.trace_of("/slow")[0];
    assert_eq!(attribute(root, "error.type").as_deref(), Some("shutdown"));
}
