//! Dead marks on the original's Redis protocol, as a real subscriber and other tools see them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::harness::{Backend, Hipache, Redis, Refused, Reply, SOON, eventually, ok, response};

/// Enough requests that chance picks each of a few backends.
const MANY: usize = 200;

/// Asks until this host's dead set is no longer empty.
fn ask_until_marked(hipache: &Hipache, redis: &Redis, host: &str) {
    for _ in 0..MANY {
        hipache.get(host, "/x");
        if !redis.dead(host).is_empty() {
            return;
        }
    }
    panic!("no mark after {MANY} requests");
}

/// Fails when anything was announced before now.
fn expect_no_announcement(redis: &Redis, dead: &mut crate::harness::Subscriber) {
    redis.run(&["PUBLISH", "dead", "end"]);
    assert_eq!(dead.next(SOON).as_deref(), Some("end"));
}

/// A backend that answers everything with this status.
fn status(code: u16, fields: &'static str) -> Backend {
    Backend::answering(move |_| Reply::Keep(response(code, fields, "body")))
}

#[test]
fn a_backend_that_refuses_is_marked_announced_and_left_alone() {
    let redis = Redis::start();
    let refused = Refused::new();
    let backend = Backend::saying("here");
    redis.route("*.test", &[&backend.url(), &refused.url()]);
    let mut hipache = Hipache::with(&redis, &json!({ "server": { "deadBackendTTL": 7 } }));
    let mut dead = redis.subscribe("dead");
    let mut monitor = redis.monitor();
    ask_until_marked(&hipache, &redis, "a.test");
    // The requested host, not the wildcard; the parsed URL; its index; the length of the list.
    assert_eq!(
        dead.next(SOON),
        Some(format!("a.test;{}/;1;2", refused.url()))
    );
    assert_eq!(redis.dead("a.test"), ["1"]);
    let ttl = redis.run(&["PTTL", "dead:a.test"]).int();
    assert!((1..=7000).contains(&ttl), "{ttl} ms");
    let commands = monitor.until("PUBLISH");
    let writes: Vec<&str> = ["SADD", "EXPIRE", "PUBLISH"]
        .into_iter()
        .filter(|write| {
            commands
                .iter()
                .any(|command| command.to_uppercase().contains(write))
        })
        .collect();
    assert_eq!(writes, ["SADD", "EXPIRE", "PUBLISH"], "{commands:#?}");
    for _ in 0..50 {
        assert_eq!(hipache.get("a.test", "/x").text(), "here");
    }
    expect_no_announcement(&redis, &mut dead);
    hipache.stop();
    let lines = hipache.log().all();
    assert!(lines.iter().all(|line| line.status == 200), "{lines:#?}");
}

#[test]
fn a_mark_ends_after_its_time() {
    let redis = Redis::start();
    let mut backends = [Backend::saying("one"), Backend::saying("two")];
    let urls = [backends[0].url(), backends[1].url()];
    redis.route("a.test", &[&urls[0], &urls[1]]);
    let hipache = Hipache::with(&redis, &json!({ "server": { "deadBackendTTL": 1 } }));
    backends[0].stop();
    ask_until_marked(&hipache, &redis, "a.test");
    let port = backends[0].port();
    let _revived = Backend::bind(&format!("127.0.0.1:{port}"), |conn, _| {
        conn.send(response(200, "", "revived"));
        crate::harness::Flow::Keep
    });
    let start = Instant::now();
    eventually("the backend in use again", SOON, || {
        (hipache.get("a.test", "/x").text() == "revived").then_some(())
    });
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "took {:?}",
        start.elapsed()
    );
}

#[test]
fn a_sole_backend_is_never_marked_nor_announced() {
    let redis = Redis::start();
    let refused = Refused::new();
    let failing = status(502, "");
    redis.route("refused.test", &[&refused.url()]);
    redis.route("failing.test", &[&failing.url()]);
    let mut hipache = Hipache::on(&redis);
    let mut dead = redis.subscribe("dead");
    for _ in 0..5 {
        assert_eq!(hipache.exchange("refused.test", "/x").0.status, 502);
        assert_eq!(hipache.exchange("failing.test", "/x").0.text(), "body");
    }
    expect_no_announcement(&redis, &mut dead);
    assert!(redis.dead("refused.test").is_empty());
    assert!(redis.dead("failing.test").is_empty());
    // It serves again as soon as it is back.
    refused.listen();
    assert_eq!(failing.count(), 5);
}

#[test]
fn statuses_501_to_599_mark_and_are_passed_on_unchanged() {
    let redis = Redis::start();
    let good = Backend::saying("here");
    let cases = [
        (200, "", false),
        (404, "", false),
        (500, "", false),
        (501, "", true),
        (502, "", true),
        (503, "", true),
        (503, "Retry-After: 5\r\n", false),
        (504, "", true),
        (599, "", true),
    ];
    let mut hipache = Hipache::on(&redis);
    for (number, (code, fields, marks)) in cases.into_iter().enumerate() {
        let bad = status(code, fields);
        let host = format!("case{number}.test");
        redis.route(&host, &[&good.url(), &bad.url()]);
        let mut dead = redis.subscribe("dead");
        let seen = (0..MANY).any(|_| {
            let (response, _) = hipache.exchange(&host, "/x");
            response.text() == "body" && response.status == code
        });
        assert!(seen, "{code} was passed on");
        if marks {
            assert_eq!(
                dead.next(SOON),
                Some(format!("{host};{}/;1;2", bad.url())),
                "{code}"
            );
            let count = bad.count();
            (0..30).for_each(|_| drop(hipache.exchange(&host, "/x")));
            assert_eq!(bad.count(), count, "{code}: asked in spite of its mark");
        } else {
            expect_no_announcement(&redis, &mut dead);
            assert!(redis.dead(&host).is_empty(), "{code} {fields:?}");
        }
    }
}

#[test]
fn marks_that_others_set_are_respected_and_nonsense_in_the_set_is_not() {
    let redis = Redis::start();
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    redis.route("a.test", &[&one.url(), &two.url()]);
    redis.run(&[
        "SADD",
        "dead:a.test",
        "0",
        "7",
        "-1",
        "no number",
        "99999999999999999999",
    ]);
    let mut hipache = Hipache::on(&redis);
    for _ in 0..30 {
        assert_eq!(hipache.exchange("a.test", "/x").0.text(), "two");
    }
    redis.run(&["SADD", "dead:a.test", "1"]);
    let (response, line) = hipache.exchange("a.test", "/x");
    assert_eq!((response.status, line.vhost.as_str()), (502, "id-a.test"));
    assert!(
        line.backend.abs() < f64::EPSILON,
        "no backend was chosen: {line:?}"
    );
    redis.run(&["DEL", "dead:a.test"]);
    let seen: Vec<String> = (0..60)
        .map(|_| hipache.get("a.test", "/x").text())
        .collect();
    for body in ["one", "two"] {
        assert!(seen.iter().any(|seen| seen == body), "{body} serves again");
    }
    assert_eq!((one.count() + two.count()), 90);
}

#[test]
fn a_list_edited_under_a_mark_never_blames_the_wrong_backend() {
    let redis = Redis::start();
    let (bad, good) = (status(502, ""), Backend::saying("good"));
    redis.route("a.test", &[&bad.url(), &good.url()]);
    let (marker, listener) = (Hipache::on(&redis), Hipache::on(&redis));
    let mut dead = redis.subscribe("dead");
    // Both have asked once before, so that both know the list.
    listener.get("a.test", "/warm");
    ask_until_marked(&marker, &redis, "a.test");
    assert_eq!(dead.next(SOON), Some(format!("a.test;{}/;0;2", bad.url())));
    assert_eq!(redis.dead("a.test"), ["0"]);
    // The bare index in the set now stands at the good one.
    redis.route("a.test", &[&good.url(), &bad.url()]);
    let blamed = bad.count();
    for _ in 0..40 {
        assert_eq!(
            marker.get("a.test", "/x").text(),
            "good",
            "by the proxy that made the mark"
        );
        assert_eq!(
            listener.get("a.test", "/x").text(),
            "good",
            "by one that heard of it"
        );
    }
    assert_eq!(bad.count(), blamed);
}

#[test]
fn an_index_of_others_stays_with_the_url_that_it_meant_when_first_seen() {
    let redis = Redis::start();
    let (bad, good) = (Backend::saying("bad"), Backend::saying("good"));
    redis.route("a.test", &[&bad.url(), &good.url()]);
    redis.run(&["SADD", "dead:a.test", "0"]);
    redis.run(&["EXPIRE", "dead:a.test", "30"]);
    let mut hipache = Hipache::on(&redis);
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "good");
    redis.route("a.test", &[&good.url(), &bad.url()]);
    for _ in 0..30 {
        assert_eq!(hipache.exchange("a.test", "/x").0.text(), "good");
    }
    // Whoever set the mark takes it away: then the list counts again.
    redis.run(&["DEL", "dead:a.test"]);
    let seen = (0..60).any(|_| hipache.get("a.test", "/x").text() == "bad");
    assert!(seen, "the mark outlived its key");
}

/// Tells an active checker's heartbeat.
fn ping(redis: &Redis) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    redis.run(&["SET", "hchecker_ping", &now.to_string()]);
}

#[test]
fn while_a_checker_is_at_work_marks_are_announced_and_not_written() {
    let redis = Redis::start();
    let refused = Refused::new();
    let backend = Backend::saying("here");
    redis.route("*", &[&backend.url(), &refused.url()]);
    ping(&redis);
    let hipache = Hipache::on(&redis);
    let mut dead = redis.subscribe("dead");
    // The heartbeat is read now and then: marks are written until it was.
    let mut round = 0;
    eventually("an announcement without a mark", SOON, || {
        round += 1;
        let host = format!("round{round}.test");
        let found = (0..MANY).find_map(|_| {
            hipache.get(&host, "/x");
            dead.next(Duration::from_millis(20))
        });
        assert_eq!(found, Some(format!("{host};{}/;1;2", refused.url())));
        redis.dead(&host).is_empty().then_some(())
    });
}

#[test]
fn status_500_marks_only_while_a_checker_is_at_work_and_only_when_asked_to() {
    for (checked, setting, marks) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
    ] {
        let redis = Redis::start();
        let (bad, good) = (status(500, ""), Backend::saying("here"));
        redis.route("a.test", &[&good.url(), &bad.url()]);
        if checked {
            ping(&redis);
        }
        let keys = json!({ "server": { "deadBackendOn500": setting } });
        let hipache = Hipache::with(&redis, &keys);
        let mut dead = redis.subscribe("dead");
        let ask = || drop(hipache.get("a.test", "/x"));
        if marks {
            let announced = eventually("an announcement", SOON, || {
                ask();
                dead.next(Duration::from_millis(5))
            });
            assert_eq!(announced, format!("a.test;{}/;1;2", bad.url()));
        } else {
            (0..60).for_each(|_| ask());
            assert!(bad.count() > 0, "chance never picked it");
            expect_no_announcement(&redis, &mut dead);
        }
    }
}

#[test]
fn a_silent_backend_is_a_504_and_is_marked() {
    let redis = Redis::start();
    let silent = Backend::answering(|_| Reply::Silence);
    let good = Backend::saying("here");
    redis.route("a.test", &[&good.url(), &silent.url()]);
    let keys = json!({ "server": { "firstByteTimeout": 0.4 } });
    let mut hipache = Hipache::with(&redis, &keys);
    let mut dead = redis.subscribe("dead");
    let timed_out = (0..MANY).find_map(|_| {
        let (response, line) = hipache.exchange("a.test", "/x");
        (response.status != 200).then_some((response, line))
    });
    let (response, line) = timed_out.expect("chance picks the silent one");
    assert_eq!(response.status, 504);
    assert!((0.39..3.0).contains(&line.total), "{line:?}");
    assert_eq!(line.vhost, "id-a.test");
    assert_eq!(
        dead.next(SOON),
        Some(format!("a.test;{}/;1;2", silent.url()))
    );
    assert_eq!(silent.count(), 1, "it is asked once");
    for _ in 0..30 {
        assert_eq!(hipache.exchange("a.test", "/x").0.status, 200);
    }
}

#[test]
fn a_backend_that_closes_fresh_connections_unanswered_is_marked() {
    let redis = Redis::start();
    let bad = Backend::answering(|_| Reply::Close(Vec::new()));
    let good = Backend::answering(|_| ok("here"));
    redis.route("a.test", &[&good.url(), &bad.url()]);
    let hipache = Hipache::on(&redis);
    let mut dead = redis.subscribe("dead");
    ask_until_marked(&hipache, &redis, "a.test");
    assert_eq!(dead.next(SOON), Some(format!("a.test;{}/;1;2", bad.url())));
}
