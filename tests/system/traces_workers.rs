//! Spans and the lives of workers: no id twice, none unaccounted for, and none of a lie at the end.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use crate::admin::builder;
use crate::harness::{
    Backend, Collector, Hipache, Load, Redis, Reply, SOON, attribute, eventually, signal,
};

#[test]
fn workers_draw_no_id_twice() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = builder(&redis)
        .set(&json!({ "server": { "workers": 2 } }))
        .set(&json!({ "telemetry": { "endpoint": collector.url() } }))
        .start();
    let load = Load::connecting(hipache.address(), "a.test", 4);
    load.wait_for(1_000);
    let requests = load.stop().len();
    let scrape = hipache.scrape();
    for worker in ["0", "1"] {
        let exchanges = scrape.sum("hipache_worker_exchanges_total", &[("worker", worker)]);
        assert!(exchanges > 100.0, "worker {worker}: {exchanges}");
    }
    hipache.stop();
    let spans = collector.spans();
    // The request, its lookup and its attempt.
    assert_eq!(spans.len(), 3 * requests);
    let roots = spans.iter().filter(|span| span.kind() == SpanKind::Server);
    assert_eq!(roots.count(), requests);
    let traces: HashSet<_> = spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), requests);
    let ids: HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len());
}

#[test]
fn spans_that_die_with_their_worker_are_counted() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let silent = Backend::answering(|_| Reply::Silence);
    let telemetry = json!({ "endpoint": silent.url(), "exportDelay": 0.01, "queueSize": 20,
                            "batchSize": 4 });
    let mut hipache = builder(&redis)
        .set(&json!({ "server": { "workers": 1 }, "telemetry": telemetry }))
        .start();
    for _ in 0..20 {
        hipache.exchange("a.test", "/x");
    }
    let workers = hipache.workers();
    let spans = |outcome| {
        let scrape = hipache.scrape();
        assert_eq!(scrape.sum("hipache_exchanges_total", &[]), 20.0);
        scrape.sum("hipache_spans_total", &[("outcome", outcome)])
    };
    let (exported, dropped) = (spans("exported"), spans("dropped"));
    assert!(exported == 0.0 && dropped > 0.0, "{exported} {dropped}");
    assert_eq!(spans("failed"), 0.0, "some wait");
    signal(workers[0], Signal::SIGKILL);
    hipache.wait_for_workers(1, &workers);
    eventually("each of the 60 spans in one count", SOON, || {
        (spans("dropped") + spans("failed") == 60.0).then_some(())
    });
    assert!(spans("failed") > 0.0);
}

#[test]
fn what_the_end_of_a_worker_cuts_before_a_status_is_told_alike_everywhere() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let silent = Backend::answering(|_| Reply::Silence);
    redis.route("a.test", &[&silent.url()]);
    let builder = Hipache::builder().redis(&redis);
    let file = builder.directory().join("own.log");
    let format = "$request_uri $status $hipache_end $hipache_trace_id $hipache_upstream_end";
    let mut hipache = builder
        .set(&json!({ "server": { "accessLog": [{ "target": file, "format": format }] } }))
        .set(&json!({ "server": { "gracefulWait": 0.3, "drainIdle": 0.1 } }))
        .set(&json!({ "telemetry": { "endpoint": collector.url() } }))
        .start();
    let mut client = hipache.client();
    client.get("a.test", "/cut");
    silent.wait_for(1);
    hipache.stop();
    let spans = collector.trace_of("/cut");
    let trace: String = spans[0]
        .trace_id
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let line = std::fs::read_to_string(file).unwrap();
    assert_eq!(line, format!("/cut 000 shutdown {trace} shutdown\n"));
    let (server, attempt) = (&spans[0], &spans[2]);
    for span in [server, attempt] {
        assert_eq!(attribute(span, "error.type").as_deref(), Some("shutdown"));
        assert_eq!(attribute(span, "http.response.status_code"), None);
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
    }
    assert_eq!(
        attribute(server, "hipache.end").as_deref(),
        Some("shutdown")
    );
}
