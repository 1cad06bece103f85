//! Backends that speak HTTP/2: connections that many share, and what is tried again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use h2::Reason;
use http::Response;
use serde_json::json;
use tokio::sync::Barrier;

use crate::harness::{
    Authority, Backend, Call, Collector, Hipache, Redis, SOON, Setup, StreamBackend, attribute,
    eventually, ok, read_all,
};

/// A proxy in front of this backend, whose spans are collected.
fn scene(redis: &Redis, collector: &Collector, backends: &[&str]) -> Hipache {
    redis.route("a.test", backends);
    let telemetry = json!({ "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 } });
    Hipache::builder().redis(redis).set(&telemetry).start()
}

/// Sends requests at the same time, each on a connection of its own; the statuses.
fn at_once(hipache: &Hipache, count: usize) -> Vec<u16> {
    let mut clients: Vec<_> = (0..count).map(|_| hipache.client()).collect();
    for client in &mut clients {
        client.get("a.test", "/");
    }
    let statuses = clients.iter_mut().map(|client| client.response().status);
    statuses.collect()
}

#[test]
fn many_requests_share_one_connection() {
    const COUNT: usize = 20;
    let (redis, collector) = (Redis::start(), Collector::start());
    let all_here = Arc::new(Barrier::new(COUNT));
    let backend = StreamBackend::start(Setup::default(), move |mut call| {
        let all_here = Arc::clone(&all_here);
        async move {
            if call.number < COUNT {
                all_here.wait().await;
            }
            call.answer("shared");
        }
    });
    let mut hipache = scene(&redis, &collector, &[&backend.url()]);
    assert_eq!(at_once(&hipache, COUNT), [200; COUNT]);
    assert_eq!(backend.connections(), 1);
    for _ in 0..COUNT {
        assert_eq!(hipache.log().next().status, 200);
    }
    let (response, line) = hipache.exchange("a.test", "/last");
    assert_eq!((response.text().as_str(), line.status), ("shared", 200));
    let spans = collector.trace_of("/last");
    let attempt = &spans[spans.len() - 1];
    let told = |key| attribute(attempt, key).unwrap_or_default();
    assert_eq!(told("network.protocol.version"), "2");
    assert_eq!(told("http.response.status_code"), "200");
    assert!(told("url.full").starts_with("h2c://"), "{attempt:?}");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_request_takes_the_form_of_http_2() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = StreamBackend::start(Setup::default(), |mut call| async move {
        let (body, _) = read_all(call.request.body_mut()).await.unwrap();
        call.answer(body);
    });
    let mut hipache = scene(&redis, &collector, &[&backend.url()]);
    let mut client = hipache.client();
    client.send(
        "POST /a/b?c=d HTTP/1.1\r\nHost: a.test:81\r\nConnection: keep-alive, te, x-hop\r\n\
         TE: trailers, deflate\r\nX-Hop: gone\r\nCookie: a=1\r\nCookie: b=2\r\n\
         Upgrade: something\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
    hipache.line_of("POST /a/b?c=d HTTP/1.1", &response);
    let head = backend.heads().remove(0);
    assert_eq!(head.uri(), "http://a.test:81/a/b?c=d");
    let field = |name: &str| {
        head.headers()
            .get(name)
            .map(|value| value.to_str().unwrap())
    };
    assert_eq!(field("te"), Some("trailers"));
    assert_eq!(field("cookie"), Some("a=1; b=2"));
    assert_eq!(field("x-forwarded-for"), Some("127.0.0.1"));
    for name in [
        "host",
        "connection",
        "transfer-encoding",
        "upgrade",
        "x-hop",
    ] {
        assert_eq!(field(name), None, "{name}");
    }
}

#[test]
fn interim_responses_pass_and_open_the_way_for_a_body() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = StreamBackend::start(Setup::default(), |mut call| async move {
        let hints = Response::builder().status(103).header("link", "</a.css>");
        let hints = hints.body(()).unwrap();
        call.respond.send_informational(hints).unwrap();
        let go_on = Response::builder().status(100).body(()).unwrap();
        call.respond.send_informational(go_on).unwrap();
        let (body, _) = read_all(call.request.body_mut()).await.unwrap();
        call.answer(body);
    });
    let mut hipache = scene(&redis, &collector, &[&backend.url()]);
    let mut client = hipache.client();
    client.send(
        "POST /early HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    let hints = client.head().unwrap();
    assert_eq!(hints.field("link"), Some("</a.css>"), "{hints:?}");
    let began = std::time::Instant::now();
    client.head().unwrap();
    client.send("body");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "body"));
    // Not held back until the proxy's patience ends.
    assert!(began.elapsed() < Duration::from_millis(900));
    assert_eq!(hipache.log().next().status, 200);
}

/// Keeps requests until it is told to answer them.
fn holding(setup: Setup) -> (StreamBackend, Arc<tokio::sync::Semaphore>) {
    let turns = Arc::new(tokio::sync::Semaphore::new(0));
    let shared = Arc::clone(&turns);
    let backend = StreamBackend::start(setup, move |mut call| {
        let turns = Arc::clone(&shared);
        async move {
            turns.acquire().await.unwrap().forget();
            call.answer("held");
        }
    });
    (backend, turns)
}

#[test]
fn streams_and_connections_are_bounded_and_the_next_waits() {
    let redis = Redis::start();
    let setup = Setup {
        streams: Some(2),
        ..Setup::default()
    };
    let (backend, turns) = holding(setup);
    redis.route("a.test", &[&backend.url()]);
    let keys = json!({ "server": { "maxSockets": 2, "connectTimeout": 1, "retryOnError": 0 } });
    let mut hipache = Hipache::with(&redis, &keys);
    let mut clients: Vec<_> = (0..4).map(|_| hipache.client()).collect();
    for client in &mut clients {
        client.get("a.test", "/");
    }
    eventually("four requests at the backend", SOON, || {
        (backend.heads().len() == 4).then_some(())
    });
    assert_eq!(backend.connections(), 2);
    let (refused, line) = hipache.exchange("a.test", "/late");
    assert_eq!((refused.status, line.status), (503, 503));
    assert!(line.total >= 1.0, "{line:?}");
    let mut waiting = hipache.client();
    waiting.get("a.test", "/patient");
    turns.add_permits(5);
    for client in clients.iter_mut().chain([&mut waiting]) {
        assert_eq!(client.response().text(), "held");
    }
    assert_eq!((backend.connections(), backend.heads().len()), (2, 5));
}

/// Reads the preface and the frames up to the first request, and takes none: GOAWAY with 0 as the last
/// stream.
fn go_away(mut tcp: TcpStream) {
    let frame = |kind: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0], payload].concat()
    };
    let mut scratch = vec![0; 24];
    tcp.read_exact(&mut scratch).unwrap();
    tcp.write_all(&frame(4, &[])).unwrap();
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        scratch.resize(length as usize, 0);
        tcp.read_exact(&mut scratch).unwrap();
        if head[3] == 1 {
            break;
        }
    }
    tcp.write_all(&frame(7, &[0; 8])).unwrap();
    // Until the proxy closes.
    let _ = tcp.read_to_end(&mut scratch);
}

#[test]
fn what_the_backend_has_not_looked_at_is_sent_again_for_any_method() {
    let goes_away = Setup {
        first: Some(Box::new(go_away)),
        ..Setup::default()
    };
    for (name, setup, refusals) in [("goaway", goes_away, 0), ("refused", Setup::default(), 1)] {
        let (redis, collector) = (Redis::start(), Collector::start());
        let backend = StreamBackend::start(setup, move |mut call: Call| async move {
            if call.number < refusals {
                return call.respond.send_reset(Reason::REFUSED_STREAM);
            }
            let (body, _) = read_all(call.request.body_mut()).await.unwrap();
            call.answer(body);
        });
        // Twice the same server: whichever is picked first, the other is next.
        let mut hipache = scene(&redis, &collector, &[&backend.url(), &backend.url()]);
        let mut dead = redis.subscribe("dead");
        let mut client = hipache.client();
        client.send("POST /again HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
        let response = client.response();
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "abc"),
            "{name}"
        );
        hipache.line_of("POST /again HTTP/1.1", &response);
        let spans = collector.trace_of("/again");
        let ends: Vec<_> = spans
            .iter()
            .filter(|span| attribute(span, "hipache.backend.id").is_some())
            .filter(|span| attribute(span, "network.protocol.version").is_some())
            .map(|span| attribute(span, "error.type").unwrap_or_default())
            .filter(|end| !end.is_empty())
            .collect();
        assert_eq!(ends, ["connection_terminated"], "{name}: {spans:?}");
        assert_eq!(dead.next(Duration::from_millis(200)), None, "{name}");
    }
}

#[test]
fn a_stream_that_the_backend_resets_is_neither_repeated_nor_a_reason_for_a_mark() {
    let redis = Redis::start();
    let backend = StreamBackend::start(Setup::default(), |mut call| async move {
        call.respond.send_reset(Reason::INTERNAL_ERROR);
    });
    redis.route("a.test", &[&backend.url(), &backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let mut dead = redis.subscribe("dead");
    let (response, line) = hipache.exchange("a.test", "/");
    assert_eq!((response.status, line.status), (502, 502));
    assert_eq!(backend.heads().len(), 1);
    assert_eq!(dead.next(Duration::from_millis(200)), None);
}

/// Agrees on everything, and says nothing ever after.
fn fall_silent(mut tcp: TcpStream) {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut agreed = settings;
    agreed[4] = 1;
    tcp.write_all(&[settings, agreed].concat()).unwrap();
    // Until the proxy closes.
    let _ = tcp.read_to_end(&mut Vec::new());
}

#[test]
fn a_connection_whose_backend_kept_silent_takes_no_further_request() {
    let redis = Redis::start();
    let setup = Setup {
        first: Some(Box::new(fall_silent)),
        ..Setup::default()
    };
    let backend = StreamBackend::start(setup, |mut call| async move { call.answer("here") });
    redis.route("a.test", &[&backend.url()]);
    redis.route("b.test", &[&backend.url()]);
    let keys = json!({ "server": { "firstByteTimeout": 0.3 } });
    let mut hipache = Hipache::with(&redis, &keys);
    let (response, line) = hipache.exchange("a.test", "/");
    assert_eq!((response.status, line.status), (504, 504));
    assert_eq!(hipache.get("b.test", "/").status, 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn http_2_over_tls_is_agreed_on_and_certificates_are_verified() {
    let authority = Authority::new();
    let served = || {
        let setup = Setup {
            tls: Some(authority.issue(&["127.0.0.1"])),
            ..Setup::default()
        };
        StreamBackend::start(setup, |mut call| async move { call.answer("secret") })
    };
    let old = Backend::tls(authority.issue(&["127.0.0.1"]), |_| ok("old"));
    let redis = Redis::start();
    let backend = served();
    redis.route("new.test", &[&backend.url()]);
    redis.route("old.test", &[&format!("https://127.0.0.1:{}", old.port())]);
    redis.route("liar.test", &[&format!("h2://127.0.0.1:{}", old.port())]);
    let starter = Hipache::builder().redis(&redis);
    let ca = starter.directory().write("ca.pem", authority.pem());
    let mut trusting = starter
        .set(&json!({ "server": { "backendCa": ca } }))
        .start();
    for (host, status, body) in [("new.test", 200, "secret"), ("old.test", 200, "old")] {
        let (response, line) = trusting.exchange(host, "/");
        assert_eq!((response.status, line.status), (status, status), "{host}");
        assert_eq!(response.text(), body);
    }
    assert_eq!(trusting.exchange("liar.test", "/").0.status, 502);
    let stranger = Hipache::on(&redis);
    assert_eq!(stranger.get("new.test", "/").status, 502);
    redis.run(&["FLUSHALL"]);
    redis.route("new.test", &[&backend.url()]);
    let careless = Hipache::with(&redis, &json!({ "server": { "backendVerify": false } }));
    careless.wait_for_stderr("NOT verified", 1);
    assert_eq!(careless.get("new.test", "/").text(), "secret");
}

#[test]
fn a_slow_client_holds_up_no_other_and_is_read_ahead_for_within_a_bound() {
    const TOTAL: usize = 64 << 20;
    let redis = Redis::start();
    let sent = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&sent);
    let backend = StreamBackend::start(Setup::default(), move |mut call| {
        let sent = Arc::clone(&shared);
        async move {
            if call.request.uri().path() == "/small" {
                return call.answer("small");
            }
            let mut send = call.head(Response::new(()));
            crate::harness::send_all(&mut send, TOTAL, &sent).await;
        }
    });
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::on(&redis);
    let mut slow = hipache.client();
    slow.get("a.test", "/large");
    let mut last = 0;
    eventually("the backend's window is closed", SOON, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = sent.load(Ordering::SeqCst);
        (now > 0 && std::mem::replace(&mut last, now) == now).then_some(())
    });
    // The windows of stream and sockets, whatever the system makes of them.
    assert!(last < 16 << 20, "{last} bytes went ahead of the client");
    assert_eq!(hipache.get("a.test", "/small").text(), "small");
    assert_eq!(backend.connections(), 1);
    assert_eq!(slow.response().length, TOTAL as u64);
}
