//! The end: what is in flight is finished, what is idle is told, what is queued is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Client, Ended, Failure, Hipache, Load, Redis, Reply, SOON, eventually, is_alive, ok,
    signal,
};

/// A proxy whose backend answers `/slow` only when it is let, everything else at once.
fn scene(keys: &Value) -> (Redis, Backend, Hipache, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let backend = Backend::answering(move |request| {
        if request.target == "/slow" {
            let limit = Duration::from_secs(30);
            eventually("the gate", limit, || {
                gate.load(Ordering::SeqCst).then_some(())
            });
        }
        if request.target == "/never" {
            return Reply::Silence;
        }
        ok("here")
    });
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, backend, hipache, open)
}

/// Waits until nothing listens any more.
fn wait_for_refusal(hipache: &Hipache) {
    eventually("refused connections", SOON, || {
        std::net::TcpStream::connect(hipache.address())
            .is_err()
            .then_some(())
    });
}

#[test]
fn a_stop_under_load_fails_no_request_on_an_accepted_connection() {
    for round in 0..3 {
        let keys = json!({ "server": { "workers": 2 } });
        let (_redis, _backend, mut hipache, _) = scene(&keys);
        let kept = Load::keeping(hipache.address(), "a.test", 6);
        let fresh = Load::connecting(hipache.address(), "a.test", 2);
        kept.wait_for(150 + round * 50);
        let stopped = Instant::now();
        hipache.signal(Signal::SIGTERM);
        let status = hipache.wait(SOON);
        let took = stopped.elapsed();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(8), "took {took:?}");
        let outcomes = [kept.join(), fresh.join()].concat();
        let mut unaccepted = 0;
        for outcome in &outcomes {
            match outcome.result {
                Ok(200) | Err(Failure::Refused) => {}
                // Made after the queues were emptied for the last time, reset by the close.
                Err(Failure::Broken(Ended::Reset))
                    if outcome.earlier == 0 && outcome.connected > stopped =>
                {
                    unaccepted += 1;
                }
                _ => panic!("{outcome:?}"),
            }
        }
        assert!(
            unaccepted <= 2,
            "{unaccepted} connections were queued and never accepted"
        );
        let answered = outcomes.iter().filter(|outcome| outcome.result == Ok(200));
        let mut wanted: Vec<_> = answered.map(|it| (it.target.clone(), it.bytes)).collect();
        let lines = hipache.log().all();
        let logged = lines
            .iter()
            .map(|line| (line.target().to_owned(), line.bytes));
        let mut logged: Vec<_> = logged.collect();
        wanted.sort();
        logged.sort();
        assert!(
            wanted == logged,
            "{} answers, {} lines",
            wanted.len(),
            logged.len()
        );
    }
}

#[test]
fn what_is_in_flight_is_finished_and_idle_connections_are_answered_once_more() {
    for stop in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let (_redis, backend, mut hipache, open) = scene(&json!({}));
        let (mut busy, mut idle) = (hipache.client(), hipache.client());
        idle.get("a.test", "/first");
        idle.response();
        busy.get("a.test", "/slow");
        backend.wait_for(2);
        hipache.signal(stop);
        wait_for_refusal(&hipache);
        idle.get("a.test", "/second");
        let response = idle.response();
        assert_eq!(
            (response.status, response.field("connection")),
            (200, Some("close"))
        );
        assert_eq!(idle.end(SOON), Ended::Fin);
        open.store(true, Ordering::SeqCst);
        let response = busy.response();
        assert_eq!(
            (response.status, response.field("connection")),
            (200, Some("close"))
        );
        assert_eq!(busy.end(SOON), Ended::Fin);
        assert_eq!(hipache.wait(SOON).code(), Some(0), "{stop}");
        let mut targets: Vec<_> = hipache
            .log()
            .all()
            .iter()
            .map(|line| line.target().to_owned())
            .collect();
        targets.sort();
        assert_eq!(targets, ["/first", "/second", "/slow"]);
    }
}

#[test]
fn a_connection_that_only_pings_does_not_hold_up_the_end() {
    let (_redis, _backend, mut hipache, _) = scene(&json!({}));
    let mut checker = hipache.client();
    checker.get("__ping__", "/");
    assert_eq!(checker.response().field("connection"), None);
    hipache.signal(Signal::SIGTERM);
    wait_for_refusal(&hipache);
    checker.get("__ping__", "/");
    let response = checker.response();
    assert_eq!(
        (response.status, response.field("connection")),
        (200, Some("close"))
    );
    assert_eq!(checker.end(SOON), Ended::Fin);
    assert_eq!(hipache.wait(SOON).code(), Some(0));
}

#[test]
fn an_idle_connection_is_closed_when_its_last_chance_is_over() {
    let (_redis, _backend, mut hipache, _) = scene(&json!({ "server": { "drainIdle": 0.5 } }));
    let mut idle = hipache.client();
    let mut silent = hipache.client();
    idle.get("a.test", "/x");
    idle.response();
    let start = Instant::now();
    hipache.signal(Signal::SIGTERM);
    assert_eq!(idle.end(SOON), Ended::Fin);
    let waited = start.elapsed();
    assert!(
        (0.3..3.0).contains(&waited.as_secs_f64()),
        "closed after {waited:?}"
    );
    assert_eq!(silent.end(SOON), Ended::Fin);
    // Neither client closes its side: that holds the stop up for a moment only.
    assert_eq!(hipache.wait(SOON).code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "stopped after {took:?}");
}

#[test]
fn connections_that_wait_in_the_queue_are_served_before_the_end() {
    let (_redis, _backend, mut hipache, _) = scene(&json!({ "server": { "workers": 2 } }));
    let workers = hipache.workers();
    workers
        .iter()
        .for_each(|worker| signal(*worker, Signal::SIGSTOP));
    let mut clients: Vec<Client> = (0..40).map(|_| hipache.client()).collect();
    clients
        .iter_mut()
        .for_each(|client| client.get("a.test", "/queued"));
    hipache.signal(Signal::SIGTERM);
    workers
        .iter()
        .for_each(|worker| signal(*worker, Signal::SIGCONT));
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(hipache.wait(SOON).code(), Some(0));
    assert_eq!(hipache.log().all().len(), 40);
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_redis, backend, mut hipache, _open) = scene(&json!({ "server": { "workers": 2 } }));
    let workers = hipache.workers();
    let mut client = hipache.client();
    client.get("a.test", "/slow");
    backend.wait_for(1);
    hipache.signal(Signal::SIGTERM);
    wait_for_refusal(&hipache);
    let start = Instant::now();
    hipache.signal(Signal::SIGTERM);
    hipache.wait(SOON);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "took {:?}",
        start.elapsed()
    );
    eventually("the workers' end", SOON, || {
        (!workers.iter().any(|worker| is_alive(*worker))).then_some(())
    });
    assert!(client.try_response("GET").is_err());
}

#[test]
fn graceful_wait_is_the_limit_and_what_is_cut_off_leaves_its_line() {
    let keys = json!({ "server": { "gracefulWait": 0.6, "drainIdle": 0.1 } });
    let (_redis, backend, mut hipache, _open) = scene(&keys);
    let workers = hipache.workers();
    let mut client = hipache.client();
    client.get("a.test", "/never");
    backend.wait_for(1);
    let start = Instant::now();
    hipache.signal(Signal::SIGTERM);
    hipache.wait(SOON);
    let took = start.elapsed().as_secs_f64();
    assert!((0.55..5.0).contains(&took), "took {took} s");
    assert!(!workers.iter().any(|worker| is_alive(*worker)));
    let answer = client.try_response("GET").map(|response| response.status);
    let lines = hipache.log().all();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0].target(), "/never");
    match answer {
        Ok(status) => assert_eq!(lines[0].status, status),
        Err(_) => assert!(matches!(lines[0].status, 0 | 503), "{:?}", lines[0]),
    }
}

#[test]
fn a_tunnel_lasts_until_the_limit_and_is_logged() {
    let tunnel = Backend::scripted(|conn, _| {
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        loop {
            let got = conn.read(3);
            if got.len() < 3 {
                return crate::harness::Flow::Close;
            }
            conn.send(got);
        }
    });
    let redis = Redis::start();
    redis.route("a.test", &[&tunnel.url()]);
    let mut hipache = Hipache::with(&redis, &json!({ "server": { "gracefulWait": 4 } }));
    let mut client = hipache.client();
    client.send("GET /t HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    client.head().unwrap();
    hipache.signal(Signal::SIGTERM);
    wait_for_refusal(&hipache);
    client.send("abc");
    assert_eq!(client.bytes(3), b"abc", "it goes on while the proxy drains");
    hipache.wait(SOON);
    assert_ne!(client.end(SOON), Ended::Silent);
    let lines = hipache.log().all();
    assert_eq!((lines.len(), lines[0].status), (1, 101));
}

#[test]
fn a_stop_without_any_traffic_is_quick_and_clean() {
    let (_redis, _backend, mut hipache, _) = scene(&json!({ "server": { "workers": 2 } }));
    let start = Instant::now();
    hipache.stop();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "took {:?}",
        start.elapsed()
    );
    let told = hipache.stderr().join("\n");
    assert!(!told.contains("panicked"), "{told}");
}
