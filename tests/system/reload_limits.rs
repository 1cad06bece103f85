//! How long workers of a former configuration may take: as long as it takes, up to `drainWait`, or
//! until too many of them are left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Backend, Client, Ended, Flow, Hipache, Redis, Reply, SOON, eventually, ok};

/// A proxy whose backend answers `/slow` only when it is let, everything else at once.
fn scene(keys: &Value) -> (Redis, Backend, Hipache, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let backend = Backend::answering(move |request| {
        if request.target == "/slow" {
            eventually("the gate", SOON * 2, || {
                gate.load(Ordering::SeqCst).then_some(())
            });
        }
        match request.target.as_str() {
            "/never" => Reply::Silence,
            _ => ok("here"),
        }
    });
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, backend, hipache, open)
}

/// Opens a tunnel through the proxy to a backend that says everything again.
fn tunnel(hipache: &Hipache) -> Client {
    let mut client = hipache.client();
    client.send("GET /t HTTP/1.1\r\nHost: t.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    client.head().unwrap();
    client
}

fn echo(redis: &Redis) -> Backend {
    let backend = Backend::scripted(|conn, _| {
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        loop {
            let got = conn.read(3);
            if got.len() < 3 {
                return Flow::Close;
            }
            conn.send(got);
        }
    });
    redis.route("t.test", &[&backend.url()]);
    backend
}

fn works(client: &mut Client) -> bool {
    client.try_send("abc").is_ok() && client.bytes(3) == b"abc"
}

#[test]
fn without_a_limit_a_request_of_the_old_generation_takes_its_time() {
    let keys = json!({ "server": { "gracefulWait": 0.1, "drainIdle": 0.1 } });
    let (_redis, backend, mut hipache, open) = scene(&keys);
    let mut client = hipache.client();
    client.get("a.test", "/slow");
    backend.wait_for(1);
    hipache.reload(&json!({}));
    assert_eq!(hipache.get("a.test", "/x").status, 200);
    assert_eq!(hipache.workers().len(), 2, "both generations");
    open.store(true, Ordering::SeqCst);
    let response = client.response();
    assert_eq!(
        (response.status, response.field("connection")),
        (200, Some("close"))
    );
    eventually("its end", SOON, || {
        (hipache.workers().len() == 1).then_some(())
    });
}

#[test]
fn drain_wait_is_the_limit_and_what_it_cuts_is_told() {
    let keys = json!({ "server": { "drainWait": 0.5, "drainIdle": 0.1 } });
    let (_redis, backend, mut hipache, _open) = scene(&keys);
    let mut client = hipache.client();
    client.get("a.test", "/never");
    backend.wait_for(1);
    let start = Instant::now();
    hipache.reload(&json!({}));
    eventually("its end", SOON, || {
        (hipache.workers().len() == 1).then_some(())
    });
    let took = start.elapsed().as_secs_f64();
    assert!((0.45..8.0).contains(&took), "took {took} s");
    hipache.wait_for_stderr("drained, not everything was finished", 1);
    let told = hipache.stderr();
    let report = told.iter().find(|line| line.contains("not everything"));
    let report = report.unwrap();
    assert!(
        report.contains("why=\"reload\"") && report.contains("forced=1"),
        "{report}"
    );
    assert_ne!(client.end(SOON), Ended::Silent);
}

#[test]
fn of_three_former_workers_of_a_slot_the_oldest_is_ended() {
    let (redis, _backend, mut hipache, _open) = scene(&json!({}));
    let _echo = echo(&redis);
    let mut tunnels = Vec::new();
    for round in 1..=4 {
        tunnels.push(tunnel(&hipache));
        hipache.reload(&json!({}));
        // The next one is not for the worker that leaves.
        hipache.wait_for_stderr("draining", round);
    }
    // Of the four generations left, two may drain.
    eventually("the oldest ones' end", SOON, || {
        (hipache.workers().len() == 3).then_some(())
    });
    for tunnel in &mut tunnels[..2] {
        assert_ne!(tunnel.end(SOON), Ended::Silent);
    }
    for tunnel in &mut tunnels[2..] {
        assert!(works(tunnel));
    }
    let crowded = hipache.count_stderr("worker is told to leave");
    assert!(crowded >= 2, "{crowded}");
    assert_eq!(hipache.count_stderr("why=\"crowded\""), 2);
}

#[test]
fn a_stop_reaches_workers_that_drain_already() {
    let keys = json!({ "server": { "gracefulWait": 1, "drainIdle": 0.1 } });
    let (redis, _backend, mut hipache, _open) = scene(&keys);
    let _echo = echo(&redis);
    let mut tunnel = tunnel(&hipache);
    hipache.reload(&json!({}));
    assert!(works(&mut tunnel), "no limit so far");
    let start = Instant::now();
    hipache.signal(Signal::SIGTERM);
    assert_eq!(hipache.wait(SOON).code(), Some(0));
    let took = start.elapsed().as_secs_f64();
    assert!((0.9..8.0).contains(&took), "took {took} s");
    assert_ne!(tunnel.end(SOON), Ended::Silent);
    let lines = hipache.log().all();
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[test]
fn a_renamed_log_is_left_by_workers_that_drain_as_well() {
    let (redis, _backend, mut hipache, _open) = scene(&json!({}));
    let _echo = echo(&redis);
    let mut tunnel = tunnel(&hipache);
    hipache.reload(&json!({}));
    let path = hipache.log().path().to_owned();
    std::fs::rename(&path, path.with_extension("1")).unwrap();
    hipache.signal(Signal::SIGUSR1);
    // Of each generation.
    hipache.wait_for_stderr("access log reopened", 2);
    assert!(works(&mut tunnel));
    drop(tunnel);
    eventually("its end", SOON, || {
        (hipache.workers().len() == 1).then_some(())
    });
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("/t"), "{text:?}");
}
