//! What is tried again, and what is never sent twice.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Backend, Ended, Flow, Hipache, Redis, Refused, Reply, ok, response};

/// How often the backends saw this target.
fn seen(backends: &[&Backend], target: &str) -> usize {
    let requests = backends.iter().flat_map(|backend| backend.requests());
    requests.filter(|request| request.target == target).count()
}

#[test]
fn a_refused_connection_is_retried_for_any_method_with_the_whole_body() {
    let redis = Redis::start();
    let refused = [Refused::new(), Refused::new()];
    let backend = Backend::answering(|request| ok(&request.body.len().to_string()));
    // Each host has a dead set of its own, so each begins with a refusal two times in three.
    redis.route(
        "*.test",
        &[&refused[0].url(), &refused[1].url(), &backend.url()],
    );
    let mut hipache = Hipache::on(&redis);
    let body = vec![b'x'; 100_000];
    for (round, method) in ["POST", "PUT", "PATCH", "DELETE"]
        .iter()
        .cycle()
        .take(24)
        .enumerate()
    {
        let mut client = hipache.client();
        let (host, target) = (format!("host{round}.test"), format!("/{round}"));
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        if round % 2 == 0 {
            client.send(format!("{head}Content-Length: {}\r\n\r\n", body.len()));
            client.send(&body);
        } else {
            client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
            for part in body.chunks(30_000) {
                client.send([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            client.send("0\r\n\r\n");
        }
        let response = client.response();
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "100000"),
            "{head}"
        );
        hipache.line_of(&format!("{method} {target} HTTP/1.1"), &response);
        assert_eq!(seen(&[&backend], &target), 1);
    }
    assert!(!(0..24).all(|round| redis.dead(&format!("host{round}.test")).is_empty()));
}

/// Answers the first request of a connection and ends it at the second.
fn stale(reset: bool) -> Backend {
    Backend::answering(move |request| match (request.number, reset) {
        (0, _) => ok("here"),
        (_, true) => Reply::Reset(Vec::new()),
        (_, false) => Reply::Close(Vec::new()),
    })
}

#[test]
fn reused_connection_reset_is_retried_once_on_a_fresh_one_without_a_mark() {
    for reset in [true, false] {
        let redis = Redis::start();
        let (one, two) = (stale(reset), stale(reset));
        redis.route("a.test", &[&one.url(), &two.url()]);
        let mut hipache = Hipache::on(&redis);
        let mut dead = redis.subscribe("dead");
        for round in 0..20 {
            let target = format!("/{round}");
            let (response, line) = hipache.exchange("a.test", &target);
            assert_eq!(
                (response.text().as_str(), line.status),
                ("here", 200),
                "round {round}"
            );
            assert!(seen(&[&one, &two], &target) <= 2);
            let homes = [&one, &two].map(|backend| seen(&[backend], &target).min(1));
            assert_eq!(
                homes.iter().sum::<usize>(),
                1,
                "first again at the same backend"
            );
        }
        redis.run(&["PUBLISH", "dead", "end"]);
        assert_eq!(dead.next(crate::harness::SOON).as_deref(), Some("end"));
        assert!(
            one.count() + two.count() > 20,
            "no connection was ever reused"
        );
    }
}

#[test]
fn a_post_that_was_sent_is_never_sent_again() {
    let redis = Redis::start();
    let backends = [(), ()].map(|()| {
        Backend::answering(|request| match request.method.as_str() {
            "POST" => Reply::Reset(Vec::new()),
            _ => ok("here"),
        })
    });
    let [one, two] = &backends;
    redis.route("a.test", &[&one.url(), &two.url()]);
    let mut hipache = Hipache::on(&redis);
    for round in 0..10 {
        redis.run(&["DEL", "dead:a.test"]);
        hipache.exchange("a.test", "/warm");
        let target = format!("/post/{round}");
        let mut client = hipache.client();
        client.post("a.test", &target, b"once");
        let response = client.response();
        let line = hipache.line_of(&format!("POST {target} HTTP/1.1"), &response);
        assert_eq!(line.status, 502);
        let live = seen(&[one, two], &target);
        assert!(live <= 1, "{target} was sent {live} times");
    }
    assert!(one.count() + two.count() >= 12, "posts do arrive");
}

#[test]
fn a_post_after_the_backend_closed_its_idle_connections_goes_on_a_fresh_one() {
    let redis = Redis::start();
    let backend = Backend::answering(|request| ok(&String::from_utf8_lossy(&request.body)));
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    for round in 0..20 {
        hipache.exchange("a.test", "/warm");
        backend.close_connections();
        std::thread::sleep(Duration::from_millis(5));
        let target = format!("/post/{round}");
        let mut client = hipache.client();
        client.post("a.test", &target, b"once");
        let response = client.response();
        hipache.line_of(&format!("POST {target} HTTP/1.1"), &response);
        assert_eq!((response.status, response.text().as_str()), (200, "once"));
        assert_eq!(seen(&[&backend], &target), 1);
    }
}

#[test]
fn an_idle_backend_that_closes_under_load_costs_no_request() {
    let redis = Redis::start();
    let backend = Backend::answering(|request| match request.number {
        0..4 => ok("here"),
        _ => Reply::Close(response(200, "", "last")),
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let load = crate::harness::Load::keeping(hipache.address(), "a.test", 4);
    load.wait_for(800);
    let outcomes = load.stop();
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.result != Ok(200))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(hipache.log().wait_for(outcomes.len()).len(), outcomes.len());
}

#[test]
fn a_body_that_was_partly_sent_is_never_replayed() {
    let redis = Redis::start();
    let backends = [(), ()].map(|()| {
        Backend::scripted(|conn, request| {
            if request.method == "GET" {
                conn.send(response(200, "", "here"));
                return Flow::Keep;
            }
            conn.read(10_000);
            conn.reset_at_close();
            Flow::Close
        })
    });
    let [one, two] = &backends;
    redis.route("a.test", &[&one.url(), &two.url()]);
    let mut hipache = Hipache::on(&redis);
    for round in 0..8 {
        redis.run(&["DEL", "dead:a.test"]);
        hipache.exchange("a.test", "/warm");
        let target = format!("/put/{round}");
        let mut client = hipache.client();
        client.send(format!(
            "PUT {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n"
        ));
        client.send(vec![b'x'; 20_000]);
        let response = client.response();
        assert_eq!(response.status, 502);
        hipache.line_of(&format!("PUT {target} HTTP/1.1"), &response);
        assert!(seen(&[one, two], &target) <= 1, "{target} was replayed");
    }
}

#[test]
fn once_a_response_byte_came_nothing_is_retried() {
    let broken: [(&str, u16); 4] = [
        ("H", 502),
        ("HTTP/1.1 200 OK\r\nContent-Le", 502),
        ("garbage that is no HTTP\r\n\r\n", 502),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            502,
        ),
    ];
    for (bytes, status) in broken {
        let redis = Redis::start();
        let backends =
            [(), ()].map(|()| Backend::answering(move |_| Reply::Close(bytes.as_bytes().to_vec())));
        let [one, two] = &backends;
        redis.route("a.test", &[&one.url(), &two.url()]);
        let mut hipache = Hipache::on(&redis);
        let (response, _) = hipache.exchange("a.test", "/x");
        assert_eq!(response.status, status, "{bytes:?}");
        assert_eq!(seen(&[one, two], "/x"), 1, "{bytes:?}");
    }
}

#[test]
fn a_response_that_breaks_off_is_seen_as_broken_and_not_repeated() {
    let cases: [(&str, bool); 4] = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nbad\r\n",
            true,
        ),
    ];
    for (bytes, reset) in cases {
        let redis = Redis::start();
        let backend = Backend::scripted(move |conn, _| {
            conn.send(bytes);
            std::thread::sleep(Duration::from_millis(30));
            if reset {
                conn.reset_at_close();
            }
            Flow::Close
        });
        redis.route("a.test", &[&backend.url()]);
        let mut hipache = Hipache::on(&redis);
        let workers = hipache.workers();
        let mut client = hipache.client();
        client.get("a.test", "/x");
        let broken = client
            .try_response("GET")
            .expect_err("the response is not whole");
        assert_ne!(broken.how, Ended::Silent, "{bytes:?}");
        assert_eq!(
            (broken.status, broken.body.as_slice()),
            (Some(200), &b"only this"[..])
        );
        let line = hipache.log().next();
        assert_eq!((line.target(), line.status), ("/x", 200));
        assert_eq!(backend.count(), 1);
        assert_eq!(hipache.workers(), workers);
    }
}

#[test]
fn retry_on_error_is_the_number_of_further_attempts() {
    for (retries, most) in [(0, 1), (1, 2), (3, 4)] {
        let redis = Redis::start();
        let backends: Vec<Backend> = (0..6)
            .map(|_| Backend::answering(|_| Reply::Close(Vec::new())))
            .collect();
        let urls: Vec<String> = backends.iter().map(Backend::url).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        redis.route("a.test", &urls);
        let keys = json!({ "server": { "retryOnError": retries } });
        let mut hipache = Hipache::with(&redis, &keys);
        let (response, line) = hipache.exchange("a.test", "/x");
        assert_eq!((response.status, line.vhost.as_str()), (502, "id-a.test"));
        let all: Vec<&Backend> = backends.iter().collect();
        assert_eq!(seen(&all, "/x"), most, "retryOnError {retries}");
        let picks = all.iter().map(|backend| seen(&[backend], "/x")).max();
        assert_eq!(picks, Some(1), "each attempt meets an untried backend");
    }
}
