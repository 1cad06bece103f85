//! Workers that stand still, come back, or die: noticed, stood in for, told of.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Backend, Client, Hipache, Redis, Reply, SOON, eventually, is_alive, ok, signal,
};

/// Silence after which a worker is killed here; others accept for it after half of that.
const LIMIT: Duration = Duration::from_secs(4);

/// Two workers and a backend that answers at once, but never to `/never`.
fn scene() -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/never" => Reply::Silence,
        _ => ok("here"),
    });
    redis.route("a.test", &[&backend.url()]);
    let keys = json!({
        "server": { "workers": 2, "heartbeatTimeout": LIMIT.as_secs() },
        "admin": { "bind": "127.0.0.1", "port": 0 },
    });
    let hipache = Hipache::with(&redis, &keys);
    (redis, backend, hipache)
}

#[test]
fn connections_in_the_queue_of_a_worker_that_stands_still_are_served_and_it_is_replaced() {
    let (_redis, _backend, mut hipache) = scene();
    let workers = hipache.workers();
    let stopped = Instant::now();
    signal(workers[0], Signal::SIGSTOP);
    let mut clients: Vec<Client> = (0..20).map(|_| hipache.client()).collect();
    clients
        .iter_mut()
        .for_each(|client| client.get("a.test", "/queued"));
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let served = stopped.elapsed();
    assert!(served < LIMIT, "served only after {served:?}");
    let now = hipache.wait_for_workers(2, &workers[..1]);
    assert!(now.contains(&workers[1]), "the other one stays");
    let replaced = stopped.elapsed();
    assert!(
        replaced >= LIMIT * 3 / 4,
        "killed after {replaced:?} already"
    );
    hipache.wait_for_stderr("worker ready", 3);
    for text in [
        "worker is silent",
        "killing worker",
        "it hangs",
        "worker died",
    ] {
        assert_eq!(hipache.count_stderr(text), 1, "{text}");
    }
    let count = hipache
        .scrape()
        .sum("hipache_worker_replacements_total", &[("reason", "hung")]);
    assert!((count - 1.0).abs() < 0.1, "{count}");
    hipache.stop();
    assert_eq!(hipache.log().all().len(), 20);
}

#[test]
fn a_worker_that_stood_still_for_a_moment_goes_on() {
    let (_redis, _backend, hipache) = scene();
    let workers = hipache.workers();
    signal(workers[1], Signal::SIGSTOP);
    hipache.wait_for_stderr("worker is silent", 1);
    signal(workers[1], Signal::SIGCONT);
    hipache.wait_for_stderr("worker is back", 1);
    assert_eq!(hipache.workers(), workers);
    for _ in 0..20 {
        assert_eq!(hipache.get("a.test", "/x").status, 200);
    }
}

#[test]
fn heartbeats_of_idle_workers_go_on() {
    let (_redis, _backend, hipache) = scene();
    let workers = hipache.workers();
    std::thread::sleep(LIMIT * 3 / 2);
    assert_eq!(hipache.workers(), workers);
    assert_eq!(hipache.count_stderr("worker is silent"), 0);
    let ages = hipache.scrape();
    let ages = ages.sum("hipache_worker_heartbeat_age_seconds", &[]);
    assert!(ages < LIMIT.as_secs_f64(), "{ages}");
}

#[test]
fn a_death_tells_what_was_held_and_each_end_what_was_done() {
    let (_redis, backend, mut hipache) = scene();
    let workers = hipache.workers();
    let mut client = hipache.client();
    client.get("a.test", "/never");
    backend.wait_for(1);
    workers
        .iter()
        .for_each(|worker| signal(*worker, Signal::SIGKILL));
    hipache.wait_for_stderr("worker died", 2);
    let told = hipache.stderr();
    let deaths = || told.iter().filter(|line| line.contains("worker died"));
    let held = "requests=0 connections=1 held_requests=1 held_connections=1 lost_lines=0";
    assert_eq!(
        deaths().filter(|line| line.contains(held)).count(),
        1,
        "{told:#?}"
    );
    assert!(deaths().all(|line| line.contains("status=\"signal SIGKILL\"")));
    hipache.wait_for_workers(2, &workers);
    hipache.wait_for_stderr("worker ready", 4);
    let count = hipache
        .scrape()
        .sum("hipache_worker_replacements_total", &[("reason", "died")]);
    assert!((count - 2.0).abs() < 0.1, "{count}");
    assert_eq!(hipache.get("a.test", "/x").status, 200);
    hipache.stop();
    let told = hipache.stderr();
    let reports: Vec<_> = told
        .iter()
        .filter(|line| line.contains("drained"))
        .collect();
    assert_eq!(reports.len(), 2, "{told:#?}");
    assert!(reports.iter().all(|line| line.contains("why=\"stop\"")));
    let one = reports
        .iter()
        .filter(|line| line.contains("requests=1 connections=1"));
    assert_eq!(one.count(), 1, "{reports:#?}");
    assert!(reports.iter().all(|line| line.contains("resident=")));
}

#[test]
fn only_workers_that_live_are_shown() {
    let (_redis, _backend, hipache) = scene();
    let workers = hipache.workers();
    assert_eq!(hipache.get("a.test", "/x").status, 200);
    let before = hipache.scrape();
    signal(workers[0], Signal::SIGKILL);
    eventually("its end", SOON, || (!is_alive(workers[0])).then_some(()));
    hipache.wait_for_stderr("worker ready", 3);
    let after = hipache.scrape();
    assert_eq!(after.gone_back_since(&before), [""; 0]);
    let serving = after.sum("hipache_worker_state", &[("state", "serving")]);
    assert!((serving - 2.0).abs() < 0.1, "{serving}");
    assert_eq!(
        after.values("hipache_worker_state", "state"),
        ["draining", "leaving", "serving", "starting"]
    );
    let status: serde_json::Value = serde_json::from_str(&hipache.ask("/status").text()).unwrap();
    let workers = status["workers"].as_array().unwrap();
    let slots: Vec<_> = workers
        .iter()
        .map(|worker| worker["slot"].as_u64())
        .collect();
    assert_eq!(slots, [Some(0), Some(1)]);
    assert_eq!(status["generation"], 1);
}
