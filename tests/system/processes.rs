//! Master and workers: how many, what happens when one is killed, and when the master is.

use std::collections::HashSet;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Backend, Failure, Hipache, Load, Outcome, Redis, SOON, eventually, is_alive, ok, run_to_end,
    signal,
};

/// A proxy with this many workers and a backend that answers at once.
fn scene(workers: usize) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, &json!({ "server": { "workers": workers } }));
    (redis, backend, hipache)
}

#[test]
fn the_master_forks_as_many_workers_as_it_is_told_and_one_a_core_by_default() {
    let (_redis, _backend, mut hipache) = scene(3);
    assert_eq!(hipache.workers().len(), 3);
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
    let redis = Redis::start();
    let hipache = Hipache::with(&redis, &json!({ "server": { "workers": null } }));
    let cores = std::thread::available_parallelism().unwrap().get();
    hipache.wait_for_workers(cores, &[]);
}

#[test]
fn every_worker_serves() {
    let (_redis, _backend, mut hipache) = scene(3);
    // The kernel spreads connections over the sockets of the workers.
    let load = Load::connecting(hipache.address(), "a.test", 2);
    load.wait_for(200);
    let outcomes = load.stop();
    assert!(outcomes.iter().all(|outcome| outcome.result == Ok(200)));
    for worker in hipache.workers() {
        signal(worker, Signal::SIGSTOP);
    }
    let mut clients: Vec<_> = (0..30).map(|_| hipache.client()).collect();
    clients
        .iter_mut()
        .for_each(|client| client.get("a.test", "/frozen"));
    for worker in hipache.workers() {
        signal(worker, Signal::SIGCONT);
    }
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.response().status, 200));
    hipache.log().wait_for(outcomes.len() + 30);
}

/// Fails unless what failed is at most what a worker held when it was killed.
fn check_losses(outcomes: &[Outcome], kept: usize, fresh: usize, kills: &[Instant]) {
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.result != Ok(200))
        .collect();
    for outcome in &failed {
        let broken = matches!(outcome.result, Err(Failure::Broken(_)));
        // A connection that the worker held was made before it died, and used around then.
        let held = kills.iter().any(|kill| {
            let margin = Duration::from_millis(500);
            outcome.connected <= *kill + margin && outcome.at <= *kill + margin
        });
        assert!(broken && held, "more was lost than was held: {outcome:?}");
    }
    let most = (kept + fresh) * kills.len();
    assert!(
        failed.len() <= most,
        "{} of {} failed: {failed:#?}",
        failed.len(),
        outcomes.len()
    );
}

#[test]
fn a_worker_killed_under_load_loses_only_what_it_held_and_is_replaced() {
    let (_redis, _backend, hipache) = scene(2);
    let mut hipache = hipache;
    let kept = Load::keeping(hipache.address(), "a.test", 4);
    let fresh = Load::connecting(hipache.address(), "a.test", 2);
    kept.wait_for(200);
    let workers = hipache.workers();
    let killed = Instant::now();
    signal(workers[0], Signal::SIGKILL);
    let now = hipache.wait_for_workers(2, &workers[..1]);
    let replaced = killed.elapsed();
    assert!(now.contains(&workers[1]), "the other one stays");
    assert!(
        replaced < Duration::from_secs(2),
        "replaced after {replaced:?}"
    );
    hipache.wait_for_stderr("worker ready", 3);
    let ready = Instant::now();
    kept.wait_for(300);
    fresh.wait_for(200);
    let (kept, fresh) = (kept.stop(), fresh.stop());
    check_losses(&kept, 4, 0, &[killed]);
    check_losses(&fresh, 0, 2, &[killed]);
    let refused = fresh
        .iter()
        .filter(|it| it.result == Err(Failure::Refused))
        .count();
    assert_eq!(refused, 0, "the socket outlives the worker");
    hipache.stop();
    // What came after the kill was settled has its line, each once.
    let lines = hipache.log().all();
    let targets: Vec<&str> = lines.iter().map(crate::harness::Line::target).collect();
    let logged: HashSet<&str> = targets.iter().copied().collect();
    assert_eq!(logged.len(), targets.len(), "no line twice");
    for outcome in kept
        .iter()
        .chain(&fresh)
        .filter(|outcome| outcome.at > ready)
    {
        assert!(
            logged.contains(outcome.target.as_str()),
            "no line for {outcome:?}"
        );
    }
}

#[test]
fn a_worker_that_keeps_dying_is_replaced_with_a_growing_pause_and_its_queue_is_served() {
    let (_redis, _backend, hipache) = scene(2);
    let load = Load::connecting(hipache.address(), "a.test", 2);
    let mut victim = hipache.workers()[0];
    let survivor = hipache.workers()[1];
    let (mut pauses, mut kills) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let killed = Instant::now();
        kills.push(killed);
        signal(victim, Signal::SIGKILL);
        let workers = hipache.wait_for_workers(2, &[victim]);
        pauses.push(killed.elapsed());
        victim = *workers.iter().find(|worker| **worker != survivor).unwrap();
    }
    assert!(
        pauses[0] < Duration::from_secs(1),
        "the first at once: {pauses:?}"
    );
    let growing = pauses[4] > pauses[0] + Duration::from_millis(50);
    assert!(growing && pauses[4] < SOON, "{pauses:?}");
    load.wait_for(50);
    check_losses(&load.stop(), 0, 2, &kills);
    assert!(hipache.workers().contains(&survivor));
}

#[test]
fn no_connection_waits_for_a_dead_worker_s_successor() {
    let (_redis, _backend, hipache) = scene(2);
    let survivor = hipache.workers()[1];
    let mut victim = hipache.workers()[0];
    // Into the long pauses.
    for _ in 0..5 {
        signal(victim, Signal::SIGKILL);
        let workers = hipache.wait_for_workers(2, &[victim]);
        victim = *workers.iter().find(|worker| **worker != survivor).unwrap();
    }
    signal(victim, Signal::SIGKILL);
    eventually("its end", SOON, || (!is_alive(victim)).then_some(()));
    let mut worst = Duration::ZERO;
    for _ in 0..60 {
        let start = Instant::now();
        assert_eq!(hipache.get("a.test", "/x").status, 200);
        worst = worst.max(start.elapsed());
    }
    assert!(worst < Duration::from_millis(500), "one waited {worst:?}");
}

#[test]
fn workers_of_a_killed_master_finish_what_they_hold_and_end() {
    let redis = Redis::start();
    let backend = Backend::answering(|request| {
        if request.target == "/slow" {
            std::thread::sleep(Duration::from_millis(500));
        }
        ok("here")
    });
    redis.route("a.test", &[&backend.url()]);
    let keys = json!({ "server": { "workers": 2, "drainIdle": 0.5 } });
    let mut hipache = Hipache::with(&redis, &keys);
    let address = hipache.address();
    let workers = hipache.workers();
    let mut client = hipache.client();
    client.get("a.test", "/slow");
    backend.wait_for(1);
    hipache.signal(Signal::SIGKILL);
    hipache.wait(SOON);
    assert_eq!(client.response().text(), "here");
    eventually("the workers' end", SOON, || {
        (!workers.iter().any(|worker| is_alive(*worker))).then_some(())
    });
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
    let targets = hipache.log().all();
    assert_eq!(targets.len(), 1, "{targets:?}");
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = crate::harness::Directory::fresh();
    let route = "*=http://127.0.0.1:1";
    let output = run_to_end(
        directory.path(),
        &["--listen", &address, "--route", route],
        &[],
    );
    assert!(!output.status.success());
    let told = crate::harness::text(&output.stderr);
    assert!(told.contains(&address) && told.contains("in use"), "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn a_second_proxy_on_the_same_port_does_not_share_it() {
    let (_redis, _backend, hipache) = scene(1);
    let address = hipache.address().to_string();
    let directory = crate::harness::Directory::fresh();
    let route = "*=http://127.0.0.1:1";
    let output = run_to_end(
        directory.path(),
        &["--listen", &address, "--route", route],
        &[],
    );
    assert!(!output.status.success());
    let told = crate::harness::text(&output.stderr);
    assert!(told.contains(&address) && told.contains("in use"), "{told}");
}
