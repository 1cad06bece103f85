//! The spans of a request against its access-log line and against what the backend was told.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Backend, Collector, Flow, Hipache, Line, Redis, Refused, Reply, attribute, ok, response,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A proxy that exports all it does at once, and that retries once.
fn scene(redis: &Redis, collector: &Collector, keys: &Value) -> Hipache {
    let telemetry = json!({ "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 } });
    let builder = Hipache::builder().redis(redis);
    builder.set(&telemetry).set(keys).start()
}

/// Takes the trace of a request and holds it against its line: the SERVER span lasts as long as the
/// line says, and all else happens within.
#[track_caller]
fn trace(collector: &Collector, line: &Line) -> Vec<Span> {
    let path = line.target().split('?').next().unwrap();
    let spans = collector.trace_of(path);
    let root = &spans[0];
    let seconds = |span: &Span| {
        Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano).as_secs_f64()
    };
    assert!(
        (seconds(root) - line.total).abs() < 0.002,
        "{line:?} {root:?}"
    );
    match attribute(root, "http.response.status_code") {
        Some(status) => assert_eq!(status, line.status.to_string(), "{line:?}"),
        // Nothing was sent: the log writes 499 for it, or 000.
        None => assert!(matches!(line.status, 0 | 499), "{line:?}"),
    }
    let agent = attribute(root, "user_agent.original").unwrap_or_default();
    assert_eq!(agent, line.agent);
    assert_eq!(
        attribute(root, "hipache.vhost").unwrap_or("-".into()),
        line.vhost
    );
    for child in &spans[1..] {
        assert_eq!(child.trace_id, root.trace_id);
        assert_eq!(child.kind(), SpanKind::Client);
        assert!(
            child.start_time_unix_nano >= root.start_time_unix_nano,
            "{child:?}"
        );
        assert!(
            child.end_time_unix_nano <= root.end_time_unix_nano,
            "{child:?}"
        );
    }
    spans
}

/// Kind of a span in short: the lookup, or an attempt with its `error.type`.
fn told(span: &Span) -> String {
    let error = attribute(span, "error.type").unwrap_or_default();
    let code = match span.status.as_ref().map(|status| status.code()) {
        None => "",
        Some(StatusCode::Error) => "!",
        Some(other) => panic!("{other:?}"),
    };
    format!("{} {error}{code}", span.name)
}

/// Asks for a path and tells the spans that this made, with what the client saw.
#[track_caller]
fn ask(
    hipache: &mut Hipache,
    collector: &Collector,
    host: &str,
    path: &str,
) -> (Vec<Span>, String) {
    let (response, line) = hipache.exchange(host, path);
    let spans = trace(collector, &line);
    let all: Vec<_> = spans.iter().map(told).collect();
    (spans, format!("{} {}", response.status, all.join(", ")))
}

#[test]
fn every_outcome_has_the_spans_that_its_line_tells_of() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let refused = Refused::new();
    let good = Backend::saying("here");
    let silent = Backend::answering(|_| Reply::Silence);
    let faulty = Backend::answering(|_| Reply::Keep(response(500, "", "sorry")));
    let missing = Backend::answering(|_| Reply::Keep(response(404, "", "nothing")));
    for (host, backend) in [
        ("good.test", good.url()),
        ("refused.test", refused.url()),
        ("silent.test", silent.url()),
        ("faulty.test", faulty.url()),
        ("missing.test", missing.url()),
    ] {
        redis.route(host, &[&backend]);
    }
    redis.route("empty.test", &[]);
    let keys = json!({ "server": { "firstByteTimeout": 0.3, "retryOnError": 20 } });
    let mut hipache = scene(&redis, &collector, &keys);
    let cases = [
        ("good.test", "/ok", "200 GET , MULTI , GET "),
        ("faulty.test", "/500", "500 GET 500!, MULTI , GET 500!"),
        ("missing.test", "/404", "404 GET , MULTI , GET 404!"),
        ("none.test", "/unknown", "400 GET no_such_host, MULTI "),
        ("empty.test", "/none", "502 GET no_live_backend!, MULTI "),
    ];
    for (host, path, expected) in cases {
        assert_eq!(
            ask(&mut hipache, &collector, host, path).1,
            expected,
            "{path}"
        );
    }
    let (spans, told) = ask(&mut hipache, &collector, "silent.test", "/silent");
    assert!(
        told.starts_with("504 GET connection_read_timeout!, MULTI , GET connection_read_timeout!"),
        "{told}"
    );
    let count = |span: &Span| attribute(span, "http.request.resend_count");
    assert_eq!(count(&spans[2]), None);
    let (spans, told) = ask(&mut hipache, &collector, "refused.test", "/refused");
    assert!(
        told.starts_with("502 GET connection_refused!, MULTI , GET connection_refused!"),
        "{told}"
    );
    assert!(spans.len() >= 3);
}

#[test]
fn a_retried_request_has_a_span_for_each_attempt() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let (refused, good) = (Refused::new(), Backend::saying("here"));
    redis.route(
        "retried.test",
        &[&refused.url(), &refused.url(), &good.url()],
    );
    let keys = json!({ "server": { "retryOnError": 20 } });
    let mut hipache = scene(&redis, &collector, &keys);
    let count = |span: &Span| attribute(span, "http.request.resend_count");
    // The first pick is a matter of chance: ask until it was one that refuses.
    let retried = (0..50).map(|round| {
        redis.run(&["DEL", "dead:retried.test"]);
        ask(
            &mut hipache,
            &collector,
            "retried.test",
            &format!("/retry{round}"),
        )
    });
    let is_retried = |(spans, _): &(Vec<Span>, String)| spans.len() > 3;
    let (spans, told) = retried
        .into_iter()
        .find(is_retried)
        .expect("a retry in 50 requests");
    assert!(
        told.starts_with("200 GET , MULTI , GET connection_refused!, "),
        "{told}"
    );
    assert!(told.ends_with(", GET "), "{told}");
    for (index, attempt) in spans[2..].iter().enumerate() {
        let expected = (index > 0).then(|| index.to_string());
        assert_eq!(count(attempt), expected);
    }
}

#[test]
fn the_server_is_the_one_that_was_asked_for_and_so_is_redis() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let nobody = json!({ "http": { "trustedProxies": [] } });
    let proxied = "X-Forwarded-Host: www.test\r\nX-Forwarded-Proto: https\r\n";
    let forwarded = "Forwarded: for=192.0.2.1;host=\"www.test:8443\";proto=https\r\n";
    let cases = [
        (json!({}), "a.test:81", "", "http a.test 81"),
        (json!({}), "a.test", proxied, "https www.test 443"),
        (json!({}), "a.test", forwarded, "https www.test 8443"),
        (nobody, "a.test:81", proxied, "http a.test 81"),
    ];
    for (at, (keys, host, more, expected)) in cases.into_iter().enumerate() {
        let mut hipache = scene(&redis, &collector, &keys);
        let mut client = hipache.client();
        let request = format!("GET /{at} HTTP/1.1");
        client.send(format!("{request}\r\nHost: {host}\r\n{more}\r\n"));
        let answer = client.response();
        let line = hipache.line_of(&request, &answer);
        let spans = trace(&collector, &line);
        let (server, lookup) = (&spans[0], &spans[1]);
        let keys = ["url.scheme", "server.address", "server.port"];
        let told = keys.map(|key| attribute(server, key).unwrap_or_default());
        assert_eq!(told.join(" "), expected, "{host} {more}");
        let peer = ["network.peer.address", "network.peer.port"];
        let peer = peer.map(|key| attribute(lookup, key).unwrap_or_default());
        assert_eq!(peer.join(":"), format!("127.0.0.1:{}", redis.port()));
    }
}

#[test]
fn attributes_follow_the_conventions_and_hide_secrets() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = scene(&redis, &collector, &json!({}));
    let mut client = hipache.client();
    client.send("BREW /tea?sig=secret&x=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: UA/1\r\n\r\n");
    let answer = client.response();
    let line = hipache.line_of("BREW /tea?sig=REDACTED&x=1 HTTP/1.1", &answer);
    let spans = trace(&collector, &line);
    let [server, lookup, attempt] = &spans[..] else {
        panic!("{spans:?}");
    };
    let local = hipache.address().port().to_string();
    for (key, value) in [
        ("http.request.method", "_OTHER"),
        ("http.request.method_original", "BREW"),
        ("url.path", "/tea"),
        ("url.query", "sig=REDACTED&x=1"),
        ("url.scheme", "http"),
        ("server.address", "a.test"),
        ("server.port", &local),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "UA/1"),
        ("http.response.status_code", "200"),
        ("hipache.route.source", "redis"),
        ("hipache.end", "ok"),
    ] {
        assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(server.name, "HTTP");
    for (key, value) in [
        ("db.system.name", "redis"),
        ("db.operation.name", "MULTI"),
        // The options of a.test and *.test; the lists of both and of *; the dead set and its
        // remaining time.
        ("db.operation.batch.size", "7"),
        ("db.namespace", "0"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(lookup, key).as_deref(), Some(value), "{key}");
    }
    let url = format!("{}/tea?sig=REDACTED&x=1", backend.url());
    let port = backend.url().rsplit(':').next().unwrap().to_owned();
    for (key, value) in [
        ("url.full", url.as_str()),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
        ("network.peer.address", "127.0.0.1"),
        ("network.peer.port", &port),
        ("hipache.connection.reused", "false"),
    ] {
        assert_eq!(attribute(attempt, key).as_deref(), Some(value), "{key}");
    }
    assert!(attribute(attempt, "hipache.connection.connect_time").is_some());
    assert_eq!(attempt.events[0].name, "first_byte");
    assert_eq!(
        collector.resource("service.name").as_deref(),
        Some("hipache")
    );
    assert_eq!(collector.resource("service.instance.id").unwrap().len(), 32);
}

#[test]
fn a_trusted_context_is_continued_and_an_untrusted_one_is_not() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    for is_trusted in [true, false] {
        let trusted = if is_trusted { "127.0.0.1" } else { "192.0.2.1" };
        let keys = json!({ "http": { "trustedProxies": [trusted] } });
        let mut hipache = scene(&redis, &collector, &keys);
        let mut client = hipache.client();
        let path = format!("/trusted-{is_trusted}");
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\ntraceparent: {PARENT}\r\n\
             tracestate: v=1\r\nbaggage: k=v\r\n\r\n"
        ));
        let answer = client.response();
        let line = hipache.line_of(&format!("GET {path} HTTP/1.1"), &answer);
        let spans = trace(&collector, &line);
        let got = backend.last();
        let hex = |id: &[u8]| {
            id.iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let ours = format!(
            "00-{}-{}-01",
            hex(&spans[0].trace_id),
            hex(&spans[2].span_id)
        );
        assert_eq!(got.field("traceparent"), Some(ours.as_str()));
        let is_same = hex(&spans[0].trace_id) == PARENT[3..35];
        assert_eq!(is_same, is_trusted);
        let parent = if is_trusted { &PARENT[36..52] } else { "" };
        assert_eq!(hex(&spans[0].parent_span_id), parent);
        assert_eq!(spans[0].trace_state, if is_trusted { "v=1" } else { "" });
        assert_eq!(got.field("tracestate"), is_trusted.then_some("v=1"));
        assert_eq!(got.field("baggage"), is_trusted.then_some("k=v"));
    }
}

#[test]
fn an_upgrade_is_told_of_and_its_handshake_carries_the_context() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = Backend::scripted(|conn, _| {
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
        Flow::Close
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = scene(&redis, &collector, &json!({}));
    let mut client = hipache.client();
    client.send(format!(
        "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         traceparent: {PARENT}\r\n\r\n"
    ));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.bytes(5), b"hello");
    client.half_close();
    let line = hipache.log().next();
    let spans = trace(&collector, &line);
    let names: Vec<_> = spans[0]
        .events
        .iter()
        .map(|event| event.name.as_str())
        .collect();
    assert_eq!(names, ["upgrade", "tunnel_end"]);
    assert_eq!(
        (told(&spans[0]), told(&spans[2])),
        ("GET ".into(), "GET ".into())
    );
    let got = backend.last();
    let parent = got.field("traceparent").unwrap();
    assert_eq!(parent[..36], PARENT[..36]);
    let ours: String = spans[2]
        .span_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(parent[36..52], ours);
}

#[test]
fn a_client_that_left_and_a_redis_that_is_down_are_told() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let silent = Backend::answering(|_| Reply::Silence);
    redis.route("a.test", &[&silent.url()]);
    let mut hipache = scene(&redis, &collector, &json!({}));
    let mut client = hipache.client();
    client.get("a.test", "/left");
    silent.wait_for(1);
    client.reset();
    let line = hipache.log().next();
    let all: Vec<_> = trace(&collector, &line).iter().map(told).collect();
    assert_eq!(all, ["GET client_gone", "MULTI ", "GET "]);
    drop(redis);
    let (spans, told) = ask(&mut hipache, &collector, "a.test", "/down");
    assert_eq!(told, "503 GET redis_unavailable!, MULTI redis_unavailable!");
    assert_eq!(attribute(&spans[1], "db.response.status_code"), None);
}

#[test]
fn without_redis_the_server_span_tells_where_the_route_came_from() {
    let collector = Collector::start();
    let backend = Backend::answering(|_| ok("here"));
    let builder = Hipache::builder();
    let routes = json!({ "a.test": [backend.url()] }).to_string();
    let routes = builder.directory().write("routes.json", routes);
    let keys = json!({
        "driver": format!("file:{}", routes.display()),
        "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 },
    });
    let mut hipache = builder.set(&keys).start();
    let (response, line) = hipache.exchange("a.test", "/file");
    assert_eq!(response.status, 200);
    let spans = trace(&collector, &line);
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert_eq!(
        attribute(&spans[0], "hipache.route.source").as_deref(),
        Some("file")
    );
    assert!(attribute(&spans[0], "hipache.route.age").is_some());
    assert!(attribute(&spans[0], "hipache.route.read_time").is_some());
}
