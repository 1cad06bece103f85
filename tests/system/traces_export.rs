//! What is sampled, what leaves, and what a collector that does not take it costs: spans, and no
//! request.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Authority, Backend, Collector, Hipache, Redis, Refused, SOON, attribute, eventually, ok,
    response,
};

fn scene(keys: &Value) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, keys);
    (redis, backend, hipache)
}

fn telemetry(endpoint: &str, more: &Value) -> Value {
    let mut section = json!({ "endpoint": endpoint, "exportDelay": 0.01 });
    for (key, value) in more.as_object().unwrap() {
        section[key] = value.clone();
    }
    json!({ "telemetry": section })
}

#[test]
fn what_is_not_sampled_leaves_only_when_it_failed_or_was_slow() {
    let collector = Collector::start();
    let more = json!({ "sampler": "always_off", "slowerThan": 0.2, "compression": "gzip",
                       "headers": { "X-Key": "k" } });
    let redis = Redis::start();
    let backend = Backend::answering(|request| {
        if request.target == "/slow" {
            std::thread::sleep(Duration::from_millis(300));
        }
        let status = if request.target == "/error" { 500 } else { 200 };
        crate::harness::Reply::Keep(response(status, "", "here"))
    });
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::with(&redis, &telemetry(&collector.url(), &more));
    for path in ["/fast", "/error", "/slow", "/fast2"] {
        hipache.exchange("a.test", path);
        let flags = backend
            .last()
            .field("traceparent")
            .map(|text| text[53..].to_owned());
        assert_eq!(flags.as_deref(), Some("00"), "{path}");
    }
    hipache.stop();
    let roots = collector.spans();
    let mut paths: Vec<_> = roots
        .iter()
        .filter_map(|span| attribute(span, "url.path"))
        .collect();
    paths.sort();
    assert_eq!(paths, ["/error", "/slow"]);
    let request = collector.last();
    assert_eq!(request.field("content-encoding"), Some("gzip"));
    assert_eq!(request.field("x-key"), Some("k"));
}

#[test]
fn without_an_endpoint_headers_pass_as_they_came_and_an_id_may_be_shown() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let lines = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut client = hipache.client();
    client.send(format!(
        "GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\nbaggage: k=v\r\n\r\n"
    ));
    let answer = client.response();
    hipache.line_of("GET /x HTTP/1.1", &answer);
    let got = backend.last();
    assert_eq!(got.field("traceparent"), Some(&lines[13..]));
    assert_eq!(got.field("baggage"), Some("k=v"));
    hipache.exchange("a.test", "/none");
    assert_eq!(backend.last().field("traceparent"), None);
    let keys = json!({ "telemetry": { "traceHeader": "X-Trace-Id" } });
    let (_redis, backend, mut hipache) = scene(&keys);
    let (answer, _) = hipache.exchange("a.test", "/shown");
    let id = answer.head.field("x-trace-id").unwrap();
    assert!(id.len() == 32 && id != "0".repeat(32), "{id}");
    assert_eq!(backend.last().field("traceparent"), None);
    let (answer, _) = hipache.exchange("none.test", "/own");
    let id = answer.head.field("x-trace-id").unwrap();
    let status = format!("hipache; error=no_such_host; trace-id=\"{id}\"");
    assert_eq!(answer.head.field("proxy-status"), Some(status.as_str()));
    let keys = json!({ "telemetry": { "proxyStatus": false } });
    let (_redis, _backend, mut hipache) = scene(&keys);
    let (answer, _) = hipache.exchange("none.test", "/own");
    assert_eq!(answer.head.field("proxy-status"), None);
}

#[test]
fn the_environment_wins_over_the_file() {
    let (told, ignored) = (Collector::start(), Collector::start());
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let keys = telemetry(
        &ignored.url(),
        &json!({ "serviceName": "file", "sampler": "always_off" }),
    );
    let mut hipache = Hipache::builder()
        .redis(&redis)
        .set(&keys)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &told.url())
        .env("OTEL_SERVICE_NAME", "environment")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=a%20test",
        )
        .env("OTEL_TRACES_SAMPLER", "always_on")
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .env("OTEL_PROPAGATORS", "b3")
        .start();
    hipache.exchange("a.test", "/x");
    told.trace_of("/x");
    assert_eq!(
        told.resource("service.name").as_deref(),
        Some("environment")
    );
    let environment = told.resource("deployment.environment.name");
    assert_eq!(environment.as_deref(), Some("a test"));
    assert_eq!(ignored.requests(), 0);
    let got = backend.last();
    assert!(got.field("b3").unwrap().ends_with("-1"));
    assert_eq!(got.field("traceparent"), None);
}

#[test]
fn a_collector_that_is_absent_silent_or_broken_costs_no_request() {
    let refused = Refused::new();
    let silent = Backend::answering(|_| crate::harness::Reply::Silence);
    let broken = Collector::answering(|| response(500, "", ""));
    for url in [refused.url(), silent.url(), broken.url()] {
        let more = json!({ "queueSize": 20, "batchSize": 2, "timeout": 30 });
        let (_redis, _backend, mut hipache) = scene(&telemetry(&url, &more));
        let start = Instant::now();
        for round in 0..100 {
            let (answer, _) = hipache.exchange("a.test", &format!("/{round}"));
            assert_eq!(answer.status, 200);
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{url}: {:?}",
            start.elapsed()
        );
        hipache.stop();
        assert!(hipache.count_stderr("panic") == 0);
        let told =
            hipache.count_stderr("exporting spans") + hipache.count_stderr("ending the export");
        assert!(told >= 1, "{url}: {:?}", hipache.stderr());
    }
}

#[test]
fn a_busy_collector_is_asked_again_and_nothing_is_lost() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let collector = Collector::answering(move || {
        match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => response(503, "Retry-After: 1\r\n", ""),
            _ => response(200, "", ""),
        }
    });
    let (_redis, _backend, mut hipache) = scene(&telemetry(&collector.url(), &json!({})));
    hipache.exchange("a.test", "/again");
    eventually("a second try", SOON, || {
        (collector.requests() >= 2).then_some(())
    });
    assert_eq!(collector.trace_of("/again").len(), 3);
}

#[test]
fn a_collector_over_tls_is_trusted_by_the_certificate_that_was_named() {
    let authority = Authority::new();
    let collector = Backend::tls(authority.issue(&["127.0.0.1"]), |_| ok(""));
    let redis = Redis::start();
    let builder = Hipache::builder().redis(&redis);
    let pem = builder.directory().write("ca.pem", authority.pem());
    let keys = telemetry(&collector.url(), &json!({}));
    let mut hipache = builder
        .set(&keys)
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &pem.display().to_string())
        .start();
    hipache.exchange("none.test", "/x");
    collector.wait_for(1);
    assert_eq!(collector.last().target, "/v1/traces");
    hipache.stop();
    assert_eq!(hipache.count_stderr("exporting spans"), 0);
}
