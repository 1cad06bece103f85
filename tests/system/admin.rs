//! The admin listener: alive, ready, status, and that nobody there can hurt the traffic.

use std::io::Read;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Client, Flow, Hipache, Load, Redis, Refused, Reply, SOON, Starter, eventually,
};

/// A proxy with an admin listener.
pub(crate) fn builder(redis: &Redis) -> Starter {
    let admin = json!({ "admin": { "port": 0, "bind": "127.0.0.1" } });
    Hipache::builder().redis(redis).set(&admin)
}

fn status(hipache: &Hipache) -> Value {
    let response = hipache.ask("/status");
    assert_eq!(response.status, 200);
    assert_eq!(response.field("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn without_a_word_of_it_there_is_no_admin_listener() {
    let redis = Redis::start();
    let hipache = Hipache::on(&redis);
    assert_eq!(hipache.count_stderr("admin listens"), 0);
    assert_eq!(
        hipache.get("a.test", "/metrics").status,
        400,
        "no such host"
    );
}

#[test]
fn only_what_it_knows_is_answered_and_each_connection_once() {
    let redis = Redis::start();
    let hipache = builder(&redis).start();
    assert_eq!(hipache.ask("/healthz").text(), "alive\n");
    assert_eq!(hipache.ask("/nothing").status, 404);
    let mut client = Client::connect(hipache.admin());
    client.post("x", "/metrics", b"abc");
    let response = client.response();
    assert_eq!(response.status, 405);
    assert_eq!(response.field("allow"), Some("GET, HEAD"));
    let mut client = Client::connect(hipache.admin());
    client.send("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    let response = client.response_to_head();
    assert_eq!(response.status, 200);
    assert!(
        response
            .field("content-length")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1_000
    );
    assert_eq!(response.field("connection"), Some("close"));
    let mut client = Client::connect(hipache.admin());
    let head = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let _ = client.try_send(head);
    let answered = client
        .try_response("GET")
        .map_or(431, |response| response.status);
    assert_eq!(answered, 431);
}

#[test]
fn readyz_follows_redis_and_a_cache_bridges_its_absence() {
    let cases = [(json!(null), false), (json!({ "ttl": 600 }), true)];
    for (cache, survives) in cases {
        let mut redis = Redis::start();
        let backend = Backend::saying("here");
        redis.route("a.test", &[&backend.url()]);
        let hipache = builder(&redis)
            .set(&json!({ "server": { "lruCache": cache } }))
            .start();
        let readyz = || hipache.ask("/readyz");
        eventually("ready", SOON, || (readyz().status == 200).then_some(()));
        assert_eq!(hipache.get("a.test", "/x").status, 200);
        redis.kill();
        eventually("the loss of Redis", SOON, || {
            let down = &status(&hipache)["routes"]["links"][0]["up"];
            (*down == json!(false)).then_some(())
        });
        let response = readyz();
        if survives {
            assert_eq!(response.status, 200, "{}", response.text());
            continue;
        }
        assert_eq!(response.status, 503);
        assert!(
            response.text().starts_with("not ready: no routes: "),
            "{}",
            response.text()
        );
        assert_eq!(hipache.ask("/healthz").status, 200, "alive all the same");
        redis.resume();
        eventually("ready again", SOON, || {
            (readyz().status == 200).then_some(())
        });
    }
}

#[test]
fn a_draining_worker_says_so_until_it_leaves() {
    let redis = Redis::start();
    let backend = Backend::scripted(|conn, _| {
        std::thread::sleep(Duration::from_secs(2));
        conn.send(crate::harness::response(200, "", "late"));
        Flow::Close
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = builder(&redis).start();
    let mut client = hipache.client();
    client.get("a.test", "/slow");
    backend.wait_for(1);
    hipache.signal(Signal::SIGTERM);
    eventually("not ready", SOON, || {
        let response = hipache.ask("/readyz");
        (response.status == 503 && response.text().contains("draining")).then_some(())
    });
    assert_eq!(client.response().text(), "late");
    assert_eq!(hipache.wait(SOON).code(), Some(0));
}

#[test]
fn status_tells_workers_links_dead_backends_and_vhosts() {
    let redis = Redis::start();
    let (backend, refused) = (Backend::saying("here"), Refused::new());
    redis.route("a.test", &[&refused.url(), &backend.url()]);
    let hipache = builder(&redis)
        .set(&json!({ "server": { "workers": 1 } }))
        .start();
    eventually("a dead backend", SOON, || {
        assert_eq!(hipache.get("a.test", "/x").status, 200);
        let dead = status(&hipache)["routes"]["dead"].clone();
        (!dead.as_array().unwrap().is_empty()).then_some(())
    });
    let status = status(&hipache);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["configuration"].as_str().unwrap().len(), 16);
    assert_eq!(status["master"]["pid"], hipache.master());
    assert!(status["master"]["memory"].as_u64().unwrap() > 100_000);
    let worker = &status["workers"][0];
    assert_eq!(status["workers"].as_array().unwrap().len(), 1);
    assert_eq!(worker["pid"], hipache.workers()[0]);
    assert_eq!(worker["state"], "serving");
    assert!(worker["exchanges"].as_u64().unwrap() >= 1);
    assert!(worker["heartbeatAge"].as_f64().unwrap() < 10.0);
    assert_eq!(status["routes"]["links"][0]["up"], true);
    let dead = &status["routes"]["dead"][0];
    assert_eq!((&dead["host"], &dead["id"]), (&json!("a.test"), &json!(0)));
    assert!(
        dead["backend"]
            .as_str()
            .unwrap()
            .starts_with(&refused.url())
    );
    let vhosts = status["vhosts"].as_array().unwrap();
    let busiest = vhosts
        .iter()
        .find(|vhost| vhost["vhost"] == "id-a.test")
        .unwrap();
    assert_eq!(busiest["requests"], worker["exchanges"]);
    assert_eq!(status["losses"]["linesDropped"], 0);
}

#[test]
fn slow_silent_and_numerous_readers_hurt_nobody() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let hipache = builder(&redis).start();
    let load = Load::keeping(hipache.address(), "a.test", 2);
    load.wait_for(20);
    // Eight that say nothing, eight that ask and never read: the limit is full.
    let mut hostile: Vec<_> = (0..16)
        .map(|number| {
            let mut client = Client::connect(hipache.admin());
            let head = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
            client.send(if number % 2 == 0 {
                "G"
            } else {
                &head[..head.len() - 1]
            });
            client
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut refused = Client::connect(hipache.admin()).into_tcp();
    let mut nothing = Vec::new();
    // A reset or an end: both are no answer.
    let _ = refused.read_to_end(&mut nothing);
    assert_eq!(nothing, b"");
    load.wait_for(200);
    let since = Instant::now();
    eventually("an answer once the limits are over", SOON, || {
        let mut client = Client::try_connect(hipache.admin()).ok()?;
        client
            .try_send("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            .ok()?;
        let response = client.try_response("GET").ok()?;
        let refused = response.text();
        assert!(refused.contains("hipache_admin_connections_refused_total"));
        Some(())
    });
    assert!(since.elapsed() > Duration::from_secs(3), "the limit is 5 s");
    hostile.clear();
    let outcomes = load.stop();
    assert!(
        outcomes.iter().all(|outcome| outcome.result == Ok(200)),
        "traffic went on"
    );
}

/// A backend that answers with this status.
pub(crate) fn answering(status: u16) -> Backend {
    Backend::answering(move |_| Reply::Keep(crate::harness::response(status, "", "said")))
}
