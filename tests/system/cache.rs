//! Routes kept in a worker (`server.lruCache`).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Backend, Hipache, Redis, Refused, SOON, eventually};

#[test]
fn a_kept_route_is_used_until_its_age_is_reached_and_never_longer() {
    let redis = Redis::start();
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    redis.route("a.test", &[&one.url()]);
    let keys = json!({ "server": { "lruCache": { "size": 10, "ttl": 1.5 } } });
    let mut hipache = Hipache::with(&redis, &keys);
    let read = Instant::now();
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "one");
    assert_eq!(hipache.exchange("new.test", "/x").0.status, 400);
    redis.route("a.test", &[&two.url()]);
    redis.route("new.test", &[&two.url()]);
    // Steady traffic does not prolong it, as it did in the original.
    let (mut last_old, mut first_new) = (Duration::ZERO, None);
    while first_new.is_none() {
        let asked = read.elapsed();
        match hipache.exchange("a.test", "/x").0.text().as_str() {
            "one" => last_old = asked,
            _ => first_new = Some(read.elapsed()),
        }
        assert!(asked < SOON, "the change is never seen");
        if asked < Duration::from_millis(500) {
            assert_eq!(
                hipache.exchange("new.test", "/x").0.status,
                400,
                "misses are kept, too"
            );
        }
    }
    assert!(
        last_old < Duration::from_millis(1600),
        "still old after {last_old:?}"
    );
    let first_new = first_new.unwrap();
    assert!(
        first_new >= Duration::from_millis(1500),
        "new after {first_new:?} already"
    );
    // It was asked for a moment later, so its age is reached a moment later.
    eventually("the new host", SOON, || {
        (hipache.exchange("new.test", "/x").0.text() == "two").then_some(())
    });
}

#[test]
fn a_mark_of_its_own_drops_the_kept_route() {
    let redis = Redis::start();
    let (refused, good) = (Refused::new(), Backend::saying("good"));
    redis.route("a.test", &[&refused.url(), &good.url()]);
    let keys = json!({ "server": { "lruCache": { "size": 10, "ttl": 60 } } });
    let mut hipache = Hipache::with(&redis, &keys);
    let mut lookups = redis.monitor();
    // Chance picks the refusing one sooner or later; the request succeeds all the same.
    for _ in 0..200 {
        assert_eq!(hipache.exchange("a.test", "/x").0.text(), "good");
        if !redis.dead("a.test").is_empty() {
            break;
        }
    }
    assert_eq!(redis.dead("a.test"), ["0"]);
    let new = Backend::saying("new");
    redis.route("a.test", &[&refused.url(), &new.url()]);
    assert_eq!(
        hipache.exchange("a.test", "/x").0.text(),
        "new",
        "asked again after the mark"
    );
    redis.run(&["ECHO", "marker"]);
    let commands = lookups.until("marker");
    let asked = commands
        .iter()
        .filter(|command| command.contains("frontend:*.test"));
    let asked = asked.count();
    assert!((1..=3).contains(&asked), "{asked} lookups: {commands:#?}");
}

#[test]
fn without_the_key_nothing_is_kept() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    for _ in 0..5 {
        assert_eq!(hipache.exchange("a.test", "/x").0.status, 200);
        redis.run(&["DEL", "frontend:a.test"]);
        assert_eq!(hipache.exchange("a.test", "/x").0.status, 400);
        redis.route("a.test", &[&backend.url()]);
    }
}
