//! What a service manager hears: readiness, reload, stop, and the watchdog's pings.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::harness::{Backend, Datagram, Hipache, Notify, Redis, SOON, Starter, signal};

/// A proxy that is started by this manager.
fn managed(notify: &Notify, redis: &Redis) -> Starter {
    let path = notify.path();
    Hipache::builder()
        .redis(redis)
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
}

fn micros_now() -> u128 {
    Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_micros()
}

#[test]
fn it_hears_of_readiness_reload_and_stop() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let notify = Notify::listen();
    let keys = json!({ "server": { "workers": 2, "gracefulWait": 7 } });
    let mut hipache = managed(&notify, &redis).set(&keys).start();
    let ready = notify.next(SOON).expect("the first message");
    assert_eq!(ready.value("READY"), Some("1"), "{ready:?}");
    let status = ready.value("STATUS").unwrap();
    assert!(status.starts_with("workers that serve: "), "{status}");
    assert_eq!(hipache.get("a.test", "/x").status, 200);

    let (before, old) = (micros_now(), hipache.workers());
    hipache.signal(Signal::SIGHUP);
    let reloading = notify.wait_for("RELOADING=1");
    let micros: u128 = reloading.value("MONOTONIC_USEC").unwrap().parse().unwrap();
    assert!((before..=micros_now()).contains(&micros), "{reloading:?}");
    notify.wait_for("READY=1");

    let worker = hipache.wait_for_workers(2, &old)[0];
    signal(worker, Signal::SIGKILL);
    notify.wait_for("STATUS=workers that serve: 1");
    notify.wait_for("STATUS=workers that serve: 2");

    hipache.stop();
    let stopping = notify.wait_for("STOPPING=1");
    let asked: u64 = stopping
        .value("EXTEND_TIMEOUT_USEC")
        .unwrap()
        .parse()
        .unwrap();
    assert!(asked > 7_000_000, "{stopping:?}");
}

#[test]
fn the_watchdog_is_pinged_twice_an_interval_as_long_as_the_master_turns() {
    let redis = Redis::start();
    let notify = Notify::listen();
    let interval = Duration::from_millis(800);
    let hipache = managed(&notify, &redis)
        .env("WATCHDOG_USEC", &interval.as_micros().to_string())
        .start();
    let ping = |notify: &Notify| notify.wait_for("WATCHDOG=1");
    let pings: Vec<Datagram> = (0..6).map(|_| ping(&notify)).collect();
    for pair in pings.windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!(pause < interval, "{pings:?}");
    }
    let all = pings[5].at - pings[0].at;
    assert!(all > interval * 3 / 2, "not more often than told: {all:?}");

    hipache.signal(Signal::SIGSTOP);
    // One may be on its way.
    notify.next(interval / 4);
    let late = notify.next(interval * 2);
    assert!(late.is_none(), "a master that hangs says {late:?}");
    hipache.signal(Signal::SIGCONT);
    ping(&notify);
}

#[test]
fn a_watchdog_for_another_process_is_not_pinged() {
    let redis = Redis::start();
    let notify = Notify::listen();
    let _hipache = managed(&notify, &redis)
        .env("WATCHDOG_USEC", "20000")
        .env("WATCHDOG_PID", "1")
        .start();
    notify.wait_for("READY=1");
    let more = notify.next(Duration::from_millis(300));
    assert!(more.is_none(), "{more:?}");
}

#[test]
fn a_manager_that_does_not_read_holds_up_nothing() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let notify = Notify::listen();
    let mut hipache = managed(&notify, &redis)
        .env("WATCHDOG_USEC", "2000")
        .start();
    hipache.wait_for_stderr("telling the service manager", 1);
    let worker = hipache.workers()[0];
    signal(worker, Signal::SIGKILL);
    hipache.wait_for_workers(1, &[worker]);
    assert_eq!(hipache.get("a.test", "/x").status, 200);
    hipache.stop();
    let told = hipache.count_stderr("telling the service manager");
    assert_eq!(told, 1, "once for all");
}

#[test]
fn an_address_that_is_none_is_told_and_the_proxy_serves() {
    let redis = Redis::start();
    let hipache = Hipache::builder()
        .redis(&redis)
        .env("NOTIFY_SOCKET", "vsock:2:1234")
        .start();
    assert_eq!(hipache.get("a.test", "/x").status, 400);
    assert_eq!(hipache.count_stderr("expected /PATH or @NAME"), 1);
}
