//! A Redis that is absent, killed, frozen or answers nonsense: bounded answers, quick recovery.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Backend, Client, Hipache, Load, Redis, SOON, eventually};

/// What a request may take while Redis does not answer.
const BOUND: Duration = Duration::from_millis(2500);

/// Within which service resumes after Redis is back.
const RESUME: Duration = Duration::from_secs(1);

#[test]
fn a_redis_that_is_absent_at_the_start_is_a_503_and_service_begins_when_it_comes() {
    let mut redis = Redis::stopped(&[]);
    let backend = Backend::saying("here");
    let mut hipache = Hipache::on(&redis);
    let start = Instant::now();
    let (response, line) = hipache.exchange("a.test", "/x");
    assert!(start.elapsed() < BOUND, "took {:?}", start.elapsed());
    assert_eq!((response.status, line.vhost.as_str()), (503, "-"));
    let mut ping = hipache.client();
    ping.get("__ping__", "/");
    assert_eq!(ping.response().text(), "ok", "while Redis is away");

    redis.resume();
    redis.route("a.test", &[&backend.url()]);
    let start = Instant::now();
    eventually("service", SOON, || {
        (hipache.get("a.test", "/poll").status == 200).then_some(())
    });
    assert!(start.elapsed() < RESUME, "took {:?}", start.elapsed());
}

#[test]
fn redis_killed_and_restarted_under_load_is_a_matter_of_a_second() {
    let mut redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let workers = hipache.workers();
    let load = Load::keeping(hipache.address(), "a.test", 4);
    load.wait_for(50);
    redis.kill();
    let killed = Instant::now();
    eventually("a request without Redis", SOON, || {
        load.outcomes()
            .iter()
            .any(|outcome| outcome.result == Ok(503))
            .then_some(())
    });
    std::thread::sleep(Duration::from_millis(1500).saturating_sub(killed.elapsed()));
    redis.resume();
    redis.route("a.test", &[&backend.url()]);
    let back = Instant::now();
    eventually("service", SOON, || {
        load.outcomes()
            .iter()
            .any(|it| it.at >= back && it.result == Ok(200))
            .then_some(())
    });
    let resumed = back.elapsed();
    assert!(resumed < RESUME, "took {resumed:?}");
    load.wait_for(50);
    let outcomes = load.stop();
    for outcome in &outcomes {
        let fine = outcome.result == Ok(200) || outcome.result == Ok(503);
        assert!(fine, "a connection was lost: {outcome:?}");
        let late = outcome.at > back + RESUME;
        assert!(
            !late || outcome.result == Ok(200),
            "after recovery: {outcome:?}"
        );
    }
    assert_eq!(hipache.workers(), workers, "no worker died of it");
    hipache.stop();
    let lines = hipache.log().all();
    assert_eq!(lines.len(), outcomes.len());
    for status in [200, 503] {
        let logged = lines.iter().filter(|line| line.status == status).count();
        let seen = outcomes
            .iter()
            .filter(|outcome| outcome.result == Ok(status))
            .count();
        assert_eq!(logged, seen, "lines with {status}");
    }
}

#[test]
fn a_redis_that_keeps_silent_is_a_503_within_a_second_or_so_and_recovers() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    assert_eq!(hipache.exchange("a.test", "/x").0.status, 200);
    redis.freeze();
    let mut clients: Vec<Client> = (0..20).map(|_| hipache.client()).collect();
    let start = Instant::now();
    for client in &mut clients {
        client.get("a.test", "/frozen");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 503);
    }
    assert!(start.elapsed() < BOUND, "took {:?}", start.elapsed());
    // The connections are still used, and answers that come late are nobody's.
    redis.thaw();
    let back = Instant::now();
    eventually("service", SOON, || {
        (hipache.get("a.test", "/poll").status == 200).then_some(())
    });
    assert!(back.elapsed() < RESUME, "took {:?}", back.elapsed());
    for client in &mut clients {
        client.get("a.test", "/again");
        assert_eq!(client.response().text(), "here");
    }
    let lines = hipache.log().wait_for(42);
    assert_eq!(
        lines.iter().filter(|line| line.status == 503).count() % 20,
        0,
        "{lines:#?}"
    );
}

#[test]
fn a_redis_whose_connection_went_into_a_black_hole_is_left_for_a_new_one() {
    // The first connections are accepted and never answered; later ones are passed on.
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let open = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = std::sync::Arc::clone(&open);
    let port = redis.port();
    let proxy = Backend::sockets(move |tcp| {
        if gate.load(std::sync::atomic::Ordering::SeqCst) {
            relay(tcp, port);
        } else {
            swallow(tcp);
        }
    });
    let driver = json!({ "driver": format!("redis://127.0.0.1:{}", proxy.port()) });
    let mut hipache = Hipache::builder().set(&driver).start();
    let start = Instant::now();
    assert_eq!(hipache.exchange("a.test", "/x").0.status, 503);
    assert!(start.elapsed() < BOUND, "took {:?}", start.elapsed());
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    eventually("a new connection in place of the silent one", SOON, || {
        (hipache.get("a.test", "/poll").status == 200).then_some(())
    });
}

fn swallow(mut tcp: std::net::TcpStream) {
    let mut scratch = [0; 4096];
    while tcp.read(&mut scratch).is_ok_and(|count| count > 0) {}
}

fn relay(tcp: std::net::TcpStream, port: u16) {
    let upstream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut from, mut to) = (tcp.try_clone().unwrap(), upstream.try_clone().unwrap());
    let upwards = std::thread::spawn(move || copy(&mut from, &mut to));
    copy(
        &mut upstream.try_clone().unwrap(),
        &mut tcp.try_clone().unwrap(),
    );
    tcp.shutdown(std::net::Shutdown::Both).ok();
    upwards.join().ok();
}

fn copy(from: &mut std::net::TcpStream, to: &mut std::net::TcpStream) {
    let mut scratch = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut scratch) {
        if to.write_all(&scratch[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn a_list_of_the_wrong_type_is_a_503_for_its_own_host_and_such_a_dead_set_is_none() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("good.test", &[&backend.url()]);
    redis.run(&["SET", "frontend:bad.test", "no list"]);
    redis.route("worse.test", &[&backend.url()]);
    redis.run(&["SET", "dead:worse.test", "no set"]);
    let mut hipache = Hipache::on(&redis);
    let workers = hipache.workers();
    for _ in 0..3 {
        assert_eq!(hipache.exchange("bad.test", "/x").0.status, 503);
        assert_eq!(hipache.exchange("good.test", "/x").0.status, 200);
        assert_eq!(hipache.exchange("worse.test", "/x").0.status, 200);
    }
    assert_eq!(hipache.workers(), workers);
}

#[test]
fn a_server_that_answers_nonsense_in_place_of_redis_harms_no_worker() {
    let nonsense: &[&[u8]] = &[
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*-7\r\n$99999999999\r\n",
        b"\x00\xff\x00\xff\r\n",
        b"*1000000000\r\n",
        b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
    ];
    for bytes in nonsense {
        let server = Backend::sockets(move |mut tcp| {
            let mut scratch = [0; 4096];
            while tcp.read(&mut scratch).is_ok_and(|count| count > 0) {
                tcp.write_all(bytes).ok();
            }
        });
        let driver = json!({ "driver": format!("redis://127.0.0.1:{}", server.port()) });
        let mut hipache = Hipache::builder().set(&driver).start();
        let workers = hipache.workers();
        let start = Instant::now();
        for _ in 0..2 {
            let (response, _) = hipache.exchange("a.test", "/x");
            assert_eq!(response.status, 503, "{bytes:?}");
        }
        assert!(start.elapsed() < BOUND * 2, "took {:?}", start.elapsed());
        assert_eq!(hipache.workers(), workers);
    }
}
