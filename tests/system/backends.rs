//! Backends: the pick, connections kept and limited, TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Authority, Backend, Client, Flow, Hipache, Redis, Reply, SOON, eventually, ok, response,
};

#[test]
fn live_backends_are_picked_at_random() {
    let redis = Redis::start();
    let backends = ["0", "1", "2"].map(Backend::saying);
    let urls = backends.each_ref().map(Backend::url);
    redis.route("a.test", &[&urls[0], &urls[1], &urls[2]]);
    let mut hipache = Hipache::on(&redis);
    let mut client = hipache.client();
    let mut picks = String::new();
    for _ in 0..300 {
        client.get("a.test", "/x");
        picks += &client.response().text();
    }
    for pick in ["0", "1", "2"] {
        let count = picks.matches(pick).count();
        assert!(
            (60..=140).contains(&count),
            "{pick} was picked {count} times of 300"
        );
    }
    // Neither in turn nor in runs: each pick is about as likely after any other.
    let same = picks
        .as_bytes()
        .windows(2)
        .filter(|two| two[0] == two[1])
        .count();
    assert!(
        (60..=140).contains(&same),
        "{same} of 299 picks like the one before"
    );
    assert_eq!(hipache.log().wait_for(300).len(), 300);
}

#[test]
fn a_connection_to_a_backend_serves_many_requests() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    for _ in 0..20 {
        hipache.exchange("a.test", "/x");
    }
    assert_eq!(backend.connections(), 1);
    let hipache = Hipache::with(&redis, &json!({ "server": { "httpKeepAlive": false } }));
    for _ in 0..5 {
        hipache.get("a.test", "/x");
    }
    assert_eq!(backend.connections(), 6, "httpKeepAlive: false");
    assert_eq!(backend.last().field("connection"), Some("close"));
}

#[test]
fn a_backend_that_wishes_to_close_does_not_close_the_client_s_connection() {
    let redis = Redis::start();
    let backend =
        Backend::answering(|_| Reply::Close(response(200, "Connection: close\r\n", "here")));
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let mut client = hipache.client();
    for _ in 0..5 {
        client.get("a.test", "/x");
        let response = client.response();
        assert_eq!(
            response.field("connection").unwrap_or("keep-alive"),
            "keep-alive"
        );
        hipache.line_of("GET /x HTTP/1.1", &response);
    }
    assert_eq!(backend.connections(), 5);
}

/// A backend that answers only when it is let.
fn gated() -> (Backend, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let backend = Backend::answering(move |_| {
        eventually("the gate", SOON, || {
            gate.load(Ordering::SeqCst).then_some(())
        });
        ok("here")
    });
    (backend, open)
}

#[test]
fn max_sockets_bounds_the_connections_to_a_backend_and_the_rest_wait() {
    let redis = Redis::start();
    let (backend, open) = gated();
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::with(&redis, &json!({ "server": { "maxSockets": 2 } }));
    let mut clients: Vec<Client> = (0..6).map(|_| hipache.client()).collect();
    for client in &mut clients {
        client.get("a.test", "/x");
    }
    backend.wait_for(2);
    // Others are not in the way.
    let other = Backend::saying("other");
    redis.route("b.test", &[&other.url()]);
    assert_eq!(hipache.get("b.test", "/y").text(), "other");
    assert_eq!((backend.count(), backend.connections()), (2, 2));
    open.store(true, Ordering::SeqCst);
    for client in &mut clients {
        assert_eq!(client.response().text(), "here");
    }
    assert_eq!((backend.count(), backend.connections()), (6, 2));
    assert_eq!(hipache.log().take_lines(7).len(), 7);
}

#[test]
fn waiting_for_a_free_connection_has_a_limit() {
    let redis = Redis::start();
    let (backend, open) = gated();
    redis.route("a.test", &[&backend.url()]);
    let keys = json!({ "server": { "maxSockets": 1, "connectTimeout": 0.4 } });
    let mut hipache = Hipache::with(&redis, &keys);
    let mut first = hipache.client();
    first.get("a.test", "/first");
    backend.wait_for(1);
    let start = Instant::now();
    let (response, line) = hipache.exchange("a.test", "/second");
    assert_eq!(response.status, 503);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "took {:?}",
        start.elapsed()
    );
    assert!(line.total >= 0.39, "{line:?}");
    open.store(true, Ordering::SeqCst);
    assert_eq!(first.response().text(), "here");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_client_that_leaves_while_waiting_gives_up_its_place() {
    let redis = Redis::start();
    let (backend, open) = gated();
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::with(&redis, &json!({ "server": { "maxSockets": 1 } }));
    let mut first = hipache.client();
    first.get("a.test", "/first");
    backend.wait_for(1);
    let mut leaving = hipache.client();
    leaving.get("a.test", "/leaving");
    std::thread::sleep(Duration::from_millis(50));
    leaving.reset();
    assert_eq!(hipache.log().next().target(), "/leaving");
    open.store(true, Ordering::SeqCst);
    assert_eq!(first.response().text(), "here");
    hipache.line_of("GET /first HTTP/1.1", &first_again(&mut first));
    assert!(
        !backend
            .requests()
            .iter()
            .any(|request| request.target == "/leaving")
    );
}

/// Asks once more on the same connection; only the line of the first request is of interest.
fn first_again(client: &mut Client) -> crate::harness::Response {
    client.get("a.test", "/first");
    client.response()
}

#[test]
fn an_https_backend_is_spoken_to_in_tls_and_its_certificate_is_checked() {
    let redis = Redis::start();
    let (ours, others) = (Authority::new(), Authority::new());
    let good = Backend::tls(ours.issue(&["localhost", "127.0.0.1"]), |_| ok("secret"));
    let strange = Backend::tls(others.issue(&["localhost"]), |_| ok("strange"));
    let misnamed = Backend::tls(ours.issue(&["other.test"]), |_| ok("misnamed"));
    let plain = Backend::saying("plain");
    let by_name = |backend: &Backend| format!("https://localhost:{}", backend.port());
    redis.route("name.test", &[&by_name(&good)]);
    redis.route("address.test", &[&good.url()]);
    redis.route("strange.test", &[&by_name(&strange)]);
    redis.route("misnamed.test", &[&by_name(&misnamed)]);
    redis.route("plain.test", &[&by_name(&plain)]);
    let starter = Hipache::builder().redis(&redis);
    let file = starter
        .directory()
        .write("ca.pem", ours.pem())
        .display()
        .to_string();
    let limits = json!({ "server": { "connectTimeout": 2 } });
    let mut hipache = starter.env("SSL_CERT_FILE", &file).set(&limits).start();
    for host in ["name.test", "address.test"] {
        assert_eq!(hipache.exchange(host, "/x").0.text(), "secret", "{host}");
    }
    assert_eq!(
        good.last().field("host"),
        Some("address.test"),
        "Host is the client's"
    );
    // A plain server waits for more of what it takes for a request.
    for (host, status) in [
        ("strange.test", 502),
        ("misnamed.test", 502),
        ("plain.test", 504),
    ] {
        let (response, line) = hipache.exchange(host, "/x");
        assert_eq!(
            (response.status, line.vhost),
            (status, format!("id-{host}"))
        );
    }
    for backend in [&strange, &misnamed, &plain] {
        assert_eq!(backend.count(), 0, "nothing was sent to {}", backend.url());
    }
}

#[test]
fn a_slow_connect_is_a_504_within_the_connect_limit() {
    // A full accept queue swallows further handshakes.
    let redis = Redis::start();
    let full = crate::harness::Refused::new();
    full.listen();
    let address = full.address();
    let mut fillers = Vec::new();
    while let Ok(filler) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        fillers.push(filler);
        assert!(fillers.len() < 4096, "the queue never fills");
    }
    redis.route("a.test", &[&full.url()]);
    let keys = json!({ "server": { "connectTimeout": 0.3, "retryOnError": 0 } });
    let mut hipache = Hipache::with(&redis, &keys);
    let start = Instant::now();
    let (response, line) = hipache.exchange("a.test", "/x");
    assert_eq!(response.status, 504);
    assert!((0.29..3.0).contains(&line.total), "{line:?}");
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn an_idle_connection_that_says_something_unasked_is_not_used_again() {
    let redis = Redis::start();
    let backend = Backend::scripted(|conn, _| {
        conn.send(response(200, "", "here"));
        std::thread::sleep(Duration::from_millis(30));
        conn.send(response(200, "", "poison"));
        Flow::Keep
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    for _ in 0..5 {
        assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
        std::thread::sleep(Duration::from_millis(80));
    }
}
