//! Reload: a new configuration takes over, and nobody notices who is not meant to.

use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Hipache, Load, Redis, SOON, Starter, check_all_answered, eventually, is_root, signal,
};

fn scene(keys: &Value) -> (Redis, Backend, Hipache) {
    scene_from(Hipache::builder().set(keys))
}

fn scene_from(starter: Starter) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let admin = json!({ "admin": { "bind": "127.0.0.1", "port": 0 } });
    let hipache = starter.redis(&redis).set(&admin).start();
    (redis, backend, hipache)
}

/// Waits until every worker but the newest generation's has left.
fn wait_for_workers(hipache: &Hipache, count: usize) {
    eventually("the old ones' end", SOON, || {
        (hipache.workers().len() == count).then_some(())
    });
}

#[test]
fn reloads_under_load_fail_no_request_and_lose_no_line() {
    let (_redis, _backend, mut hipache) = scene(&json!({ "server": { "workers": 2 } }));
    let kept = Load::keeping(hipache.address(), "a.test", 4);
    let fresh = Load::connecting(hipache.address(), "a.test", 2);
    fresh.wait_for(50);
    let (master, before) = (hipache.master(), hipache.scrape());
    for round in 1..=4 {
        let old = hipache.workers();
        hipache.reload(&json!({ "server": { "maxSockets": 100 + round } }));
        kept.wait_for(50);
        fresh.wait_for(50);
        eventually("the old ones' end", SOON, || {
            let now = hipache.workers();
            (!old.iter().any(|worker| now.contains(worker))).then_some(())
        });
    }
    assert_eq!(hipache.master(), master);
    let after = hipache.scrape();
    assert_eq!(after.gone_back_since(&before), [""; 0]);
    for (name, label, count) in [
        ("hipache_reloads_total", ("result", "done"), 4.0),
        (
            "hipache_worker_replacements_total",
            ("reason", "reload"),
            8.0,
        ),
        (
            "hipache_access_log_lines_total",
            ("outcome", "lost_at_death"),
            0.0,
        ),
    ] {
        let found = after.sum(name, &[label]);
        assert!((found - count).abs() < 0.1, "{name} {label:?}: {found}");
    }
    let hashes = before.values("hipache_configuration_info", "hash");
    assert_ne!(hashes, after.values("hipache_configuration_info", "hash"));
    let outcomes = [kept.stop(), fresh.stop()].concat();
    check_all_answered(&outcomes, &mut hipache);
}

#[test]
fn the_number_of_workers_may_change_under_load() {
    let (_redis, _backend, mut hipache) = scene(&json!({}));
    let kept = Load::keeping(hipache.address(), "a.test", 3);
    let fresh = Load::connecting(hipache.address(), "a.test", 3);
    for workers in [4, 2, 1, 3] {
        hipache.reload(&json!({ "server": { "workers": workers } }));
        kept.wait_for(50);
        fresh.wait_for(100);
        wait_for_workers(&hipache, workers);
    }
    let outcomes = [kept.stop(), fresh.stop()].concat();
    check_all_answered(&outcomes, &mut hipache);
}

#[test]
fn a_bad_file_changes_nothing_and_each_problem_is_told() {
    let (_redis, _backend, mut hipache) = scene(&json!({}));
    let workers = hipache.workers();
    hipache.configure(&json!({ "server": { "workers": 0, "retryOnError": "x" } }));
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("reload failed", 1);
    for text in [
        "server.workers",
        "server.retryOnError",
        "result=\"refused\"",
    ] {
        assert!(hipache.count_stderr(text) >= 1, "{text}");
    }
    hipache.directory().write("config.json", "{");
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("reload failed", 2);
    hipache.configure(&json!({ "server": { "workers": 17, "retryOnError": 1 } }));
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("the scoreboard made at the start has room for 16", 1);
    assert_eq!(hipache.workers(), workers);
    assert_eq!(hipache.get("a.test", "/x").status, 200);
    let refused = hipache
        .scrape()
        .sum("hipache_reloads_total", &[("result", "refused")]);
    assert!((refused - 3.0).abs() < 0.1, "{refused}");
    hipache.reload(&json!({ "server": { "workers": 2 } }));
    wait_for_workers(&hipache, 2);
}

/// An address that nobody has.
fn free_address() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

fn bind(addresses: &[SocketAddr]) -> Value {
    let bind: Vec<_> = addresses
        .iter()
        .map(|address| json!({ "address": address.ip(), "port": address.port() }))
        .collect();
    json!({ "http": { "bind": bind } })
}

#[test]
fn listeners_come_and_go_and_whoever_queued_at_one_that_goes_is_served() {
    let (_redis, _backend, mut hipache) = scene(&json!({ "server": { "workers": 2 } }));
    let stays = hipache.address();
    let (first, second) = (free_address(), free_address());
    hipache.reload(&bind(&[stays, first]));
    for address in [stays, first] {
        let mut client = crate::harness::Client::connect(address);
        client.get("a.test", "/x");
        assert_eq!(client.response().status, 200, "{address}");
    }
    wait_for_workers(&hipache, 2);
    // They accept nothing until they are let, and then hear of the reload first.
    let workers = hipache.workers();
    workers
        .iter()
        .for_each(|worker| signal(*worker, Signal::SIGSTOP));
    let mut queued: Vec<_> = (0..20)
        .map(|_| crate::harness::Client::connect(first))
        .collect();
    queued
        .iter_mut()
        .for_each(|client| client.get("a.test", "/queued"));
    hipache.configure(&bind(&[second, stays]));
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("reloaded", 2);
    workers
        .iter()
        .for_each(|worker| signal(*worker, Signal::SIGCONT));
    for client in &mut queued {
        assert_eq!(client.response().status, 200);
    }
    eventually("its end", SOON, || {
        TcpStream::connect(first).is_err().then_some(())
    });
    for address in [stays, second] {
        let mut client = crate::harness::Client::connect(address);
        client.get("a.test", "/x");
        assert_eq!(client.response().status, 200, "{address}");
    }
}

#[test]
fn an_address_that_cannot_be_had_refuses_the_reload() {
    let (_redis, _backend, mut hipache) = scene(&json!({}));
    let workers = hipache.workers();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    hipache.configure(&bind(&[hipache.address(), taken.1]));
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("reload failed", 1);
    assert!(hipache.count_stderr(&format!("no socket on {}", taken.1)) >= 1);
    assert_eq!(hipache.workers(), workers);
    assert_eq!(hipache.get("a.test", "/x").status, 200);
}

#[test]
fn logs_and_the_admin_listener_change_with_the_file() {
    let (_redis, _backend, mut hipache) = scene(&json!({}));
    let path = hipache.directory().join("other.log");
    assert_eq!(hipache.exchange("a.test", "/old").1.target(), "/old");
    let admin = free_address();
    hipache.reload(&json!({
        "server": { "accessLog": [path, "off"] },
        "admin": { "bind": "127.0.0.1", "port": admin.port(), "vhosts": 7 },
    }));
    assert_eq!(
        hipache.count_stderr("admin.vhosts: a reload cannot change it"),
        1
    );
    assert_eq!(hipache.get("a.test", "/new").status, 200);
    let mut client = crate::harness::Client::connect(admin);
    client.get("admin", "/readyz");
    assert_eq!(client.response().status, 200);
    hipache.stop();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("/new") && !text.contains("/old"), "{text}");
    hipache.log().expect_none();
}

#[test]
fn a_scrape_is_answered_whichever_worker_has_it() {
    let (_redis, _backend, mut hipache) = scene(&json!({ "server": { "workers": 2 } }));
    let admin = hipache.admin();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut scrapes = 0;
            while !is_over.load(std::sync::atomic::Ordering::SeqCst) {
                let mut client = crate::harness::Client::connect(admin);
                client.get("admin", "/metrics");
                assert_eq!(client.response().status, 200);
                scrapes += 1;
            }
            scrapes
        });
        for _ in 0..5 {
            hipache.reload(&json!({}));
        }
        is_over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(scraper.join().unwrap() > 10);
    });
}

#[test]
fn one_that_is_asked_for_meanwhile_comes_after_the_first() {
    let (_redis, _backend, hipache) = scene(&json!({ "server": { "workers": 2 } }));
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("reloading", 1);
    for _ in 0..3 {
        hipache.signal(Signal::SIGHUP);
    }
    hipache.wait_for_stderr("reloaded", 2);
    assert_eq!(hipache.get("a.test", "/x").status, 200);
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let backend = Backend::saying("here");
    let route = format!("*={}", backend.url());
    let hipache = Hipache::builder()
        .arguments(&["--listen", "127.0.0.1:0", "--route", &route])
        .start();
    let workers = hipache.workers();
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("nothing to read again", 1);
    assert_eq!(hipache.workers(), workers);
    assert_eq!(hipache.get("a.test", "/x").status, 200);
}

#[test]
fn new_workers_that_cannot_start_leave_the_old_ones_in_place() {
    if !is_root() {
        eprintln!("skipped: needs root, without the right to become another user");
        return;
    }
    let two = json!({ "server": { "workers": 2 } });
    let keeping = ["setpriv", "--bounding-set=-setuid,-setgid"];
    let (_redis, _backend, mut hipache) =
        scene_from(Hipache::builder().set(&two).through(&keeping));
    let workers = hipache.workers();
    let load = Load::connecting(hipache.address(), "a.test", 2);
    let (user, address) = (crate::harness::current_user(), hipache.address());
    hipache.configure(&json!({ "server": { "workers": 4 }, "user": "www-data" }));
    hipache.configure(&bind(&[address, free_address()]));
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("reload failed", 1);
    assert!(hipache.count_stderr("result=\"abandoned\"") >= 1);
    wait_for_workers(&hipache, 2);
    assert_eq!(hipache.workers(), workers);
    load.wait_for(50);
    hipache.reload(&json!({ "user": user }));
    load.wait_for(50);
    let outcomes = load.stop();
    check_all_answered(&outcomes, &mut hipache);
}
