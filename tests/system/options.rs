//! `options:<host>`: to HTTPS, and to stay there.

use serde_json::{Value, json};

use crate::harness::{Backend, Collector, Hipache, Redis, Refused, attribute};

/// A proxy that exports its spans at once, and a backend that answers everything.
fn scene(keys: &Value) -> (Redis, Backend, Collector, Hipache) {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::builder()
        .redis(&redis)
        .set(&json!({ "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 } }))
        .set(keys)
        .start();
    (redis, backend, collector, hipache)
}

fn choose(redis: &Redis, host: &str, fields: &[&str]) {
    redis.run(&[&["HSET", &format!("options:{host}")], fields].concat());
}

const HTTPS: &str = "X-Forwarded-Proto: https\r\n";

#[test]
fn plain_requests_are_redirected_and_no_backend_is_asked() {
    let (redis, backend, collector, mut hipache) = scene(&json!({}));
    choose(&redis, "a.test", &["https", "redirect", "hsts", "60"]);
    let (response, line) = hipache.exchange("A.test:80", "/plain?x=1");
    assert_eq!(response.status, 301);
    let location = response.field("location");
    assert_eq!(location, Some("https://a.test/plain?x=1"));
    assert_eq!(response.field("cache-control"), Some("no-cache"));
    assert_eq!(response.field("proxy-status"), None, "nothing went wrong");
    let hsts = response.field("strict-transport-security");
    assert_eq!(hsts, None, "RFC 6797 §7.2: never by plain HTTP");
    assert_eq!((line.vhost.as_str(), line.backend), ("id-a.test", 0.0));
    let spans = collector.trace_of("/plain");
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["GET", "MULTI"], "no attempt");
    let told = |key| attribute(&spans[0], key).unwrap_or_default();
    assert_eq!(told("http.response.status_code"), "301");
    assert_eq!(
        (told("hipache.end"), told("error.type")),
        ("ok".into(), String::new())
    );
    // The connection goes on, and so does the method; its body is not waited for.
    let mut client = hipache.client();
    client.get("a.test", "/one");
    assert_eq!(client.response().status, 301);
    client.post("a.test", "/two", b"hello");
    let response = client.response();
    assert_eq!(response.status, 308);
    assert_eq!(response.field("location"), Some("https://a.test/two"));
    let mut client = hipache.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response_to_head().status, 301);
    assert_eq!(backend.count(), 0);
    let lines = hipache.log().take_lines(3);
    let statuses: Vec<_> = lines.iter().map(|line| line.status).collect();
    assert_eq!(statuses, [301, 308, 301]);
}

#[test]
fn challenges_of_certificate_authorities_are_served_as_they_come() {
    let (redis, backend, _collector, mut hipache) = scene(&json!({}));
    choose(&redis, "a.test", &["https", "redirect"]);
    let (response, _) = hipache.exchange("a.test", "/.well-known/acme-challenge/to-ken_1");
    assert_eq!((response.status, backend.count()), (200, 1));
    let (response, _) = hipache.exchange("a.test", "/.well-known/acme-challenge/../x");
    assert_eq!((response.status, backend.count()), (301, 1));
}

#[test]
fn who_came_by_https_is_served_and_told_to_stay() {
    let (redis, backend, collector, mut hipache) = scene(&json!({}));
    let whole = "max-age=63072000; includeSubDomains; preload";
    choose(&redis, "a.test", &["https", "redirect", "hsts", whole]);
    let own = Backend::answering(|_| {
        let fields = "Strict-Transport-Security: max-age=1\r\n";
        crate::harness::Reply::Keep(crate::harness::response(200, fields, "own"))
    });
    redis.route("own.test", &[&own.url()]);
    redis.route("refused.test", &[&Refused::new().url()]);
    for host in ["own.test", "refused.test"] {
        choose(&redis, host, &["hsts", "60"]);
    }
    let mut get = |host: &str, lines: &str| {
        let mut client = hipache.client();
        client.send(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"));
        let response = client.response();
        hipache.line_of("GET /x HTTP/1.1", &response);
        let hsts = response.field("strict-transport-security");
        (response.status, hsts.map(str::to_owned))
    };
    assert_eq!(get("a.test", HTTPS), (200, Some(whole.to_owned())));
    let first = "X-Forwarded-Proto: HTTPS, http\r\n";
    assert_eq!(get("a.test", first), (200, Some(whole.to_owned())));
    assert_eq!(get("a.test", "X-Forwarded-Proto: http, https\r\n").0, 301);
    let once = (200, Some("max-age=1".to_owned()));
    assert_eq!(get("own.test", HTTPS), once, "the backend's own stands");
    let refused = (502, Some("max-age=60".to_owned()));
    assert_eq!(get("refused.test", HTTPS), refused, "on our pages, too");
    assert_eq!(get("refused.test", "").1, None);
    assert_eq!(get("none.test", HTTPS).1, None);
    assert_eq!((backend.count(), own.count()), (2, 1));
    let span = &collector.trace_of("/x")[0];
    assert_eq!(attribute(span, "url.scheme").as_deref(), Some("https"));
}

#[test]
fn a_stranger_cannot_say_that_it_came_by_https() {
    let (redis, backend, _collector, hipache) =
        scene(&json!({ "http": { "trustedProxies": "192.0.2.0/24" } }));
    choose(&redis, "a.test", &["https", "redirect", "hsts", "60"]);
    let mut client = hipache.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{HTTPS}\r\n"));
    assert_eq!(client.response().status, 301);
    assert_eq!(backend.count(), 0);
}

#[test]
fn options_are_asked_for_in_the_round_trip_of_the_route_and_kept() {
    let (redis, _backend, collector, hipache) = scene(&json!({}));
    let mut monitor = redis.monitor();
    for (path, commands) in [("/first", "7"), ("/second", "5")] {
        assert_eq!(hipache.get("a.test", path).status, 200);
        let lookup = &collector.trace_of(path)[1];
        let told = attribute(lookup, "db.operation.batch.size");
        assert_eq!(told.as_deref(), Some(commands));
    }
    redis.run(&["SET", "end", "1"]);
    let seen = monitor.until("\"SET\" \"end\"");
    let asked: Vec<_> = seen
        .iter()
        .filter(|line| line.contains("options:"))
        .collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].contains("\"HMGET\" \"options:a.test\" \"https\" \"hsts\""));
    assert!(asked[1].contains("\"HMGET\" \"options:*.test\""));
}

#[test]
fn a_value_that_is_none_is_told_once_and_does_not_count() {
    let (redis, backend, _collector, hipache) =
        scene(&json!({ "server": { "lruCache": { "ttl": 0.001 } } }));
    choose(&redis, "a.test", &["https", "yes", "later", "x"]);
    for _ in 0..3 {
        assert_eq!(hipache.get("a.test", "/x").status, 200);
    }
    assert_eq!(backend.count(), 3);
    let told = "options:a.test: the value of `https` is not redirect, or off";
    assert_eq!(hipache.count_stderr(told), 1);
}
