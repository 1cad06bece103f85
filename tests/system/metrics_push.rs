//! Metrics over OTLP: what is pushed is what `/metrics` shows, whoever pushes, to the last count.

use std::collections::{BTreeMap, HashSet};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::admin::builder;
use crate::harness::{
    Backend, Collector, Hipache, Load, Redis, SOON, Samples, eventually, free_port, response,
};

/// A proxy with an admin listener that pushes to this endpoint.
fn scene(endpoint: &str, workers: usize, more: &Value) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut section = json!({ "endpoint": endpoint, "interval": 0.2 });
    for (key, value) in more.as_object().unwrap() {
        section[key] = value.clone();
    }
    let keys = json!({ "server": { "workers": workers }, "telemetry": { "metrics": section } });
    let hipache = builder(&redis).set(&keys).start();
    (redis, backend, hipache)
}

/// Samples that are the same whenever one looks, as long as there is no traffic.
fn quiet(samples: &Samples) -> BTreeMap<String, f64> {
    let moves = |name: &str| {
        let ends = ["uptime_seconds", "heartbeat_age_seconds"];
        let begins = [
            "process_",
            "hipache_allocator",
            "hipache_cgroup_memory",
            "hipache_metrics_exports",
        ];
        ends.iter().any(|end| name.ends_with(end))
            || begins.iter().any(|begin| name.starts_with(begin))
    };
    let quiet = samples.iter().filter(|((name, _), _)| !moves(name));
    quiet
        .map(|((name, labels), value)| (format!("{name} {labels:?}"), *value))
        .collect()
}

#[test]
fn what_is_pushed_is_what_metrics_shows() {
    let collector = Collector::start();
    let redis = Redis::start();
    let (good, broken) = (
        Backend::saying("here"),
        Backend::answering(|_| crate::harness::Reply::Keep(response(503, "", ""))),
    );
    redis.route("a.test", &[&good.url()]);
    redis.route("b.test", &[&broken.url()]);
    let mut hipache = builder(&redis)
        .set(&json!({ "server": { "workers": 2 } }))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        // The receiver takes traces and metrics.
        .env("OTEL_LOGS_EXPORTER", "none")
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .start();
    for host in ["a.test", "a.test", "b.test", "none.test"] {
        hipache.exchange(host, "/x");
    }
    let settled = eventually("a quiet moment", SOON, || {
        let scrape = hipache.scrape();
        let lines = scrape.sum("hipache_access_log_lines_total", &[]);
        let spans = scrape.sum("hipache_spans_total", &[("outcome", "exported")]);
        let links = scrape.sum("hipache_redis_links_up", &[]);
        (lines == 4.0 && spans >= 7.0 && links == 2.0).then_some(quiet(scrape.samples()))
    });
    eventually("the same by both ways", SOON, || {
        let scraped = quiet(hipache.scrape().samples());
        let pushed = quiet(&collector.pushed().samples());
        (scraped == pushed).then_some(())
    });
    let scrape = hipache.scrape();
    assert!(settled.len() > 200, "{}", settled.len());
    let pushed = collector.pushed();
    let names = |samples: &Samples| {
        let mut names: Vec<_> = samples.keys().map(|(name, _)| name.clone()).collect();
        names.dedup();
        names
    };
    assert_eq!(names(&pushed.samples()), names(scrape.samples()));
    let roots = collector.spans();
    assert!(!pushed.exemplars.is_empty());
    for (trace, span) in &pushed.exemplars {
        let is_root = |one: &opentelemetry_proto::tonic::trace::v1::Span| {
            (&one.trace_id, &one.span_id) == (trace, span)
        };
        assert!(roots.iter().any(is_root), "{trace:?} {span:?}");
    }
    assert_eq!(collector.refusals(), [] as [String; 0]);
}

/// Combinations of labels come for the first time while metrics are read, again and again.
#[test]
fn a_series_that_begins_while_metrics_are_read_is_told_whole() {
    for temporality in ["cumulative", "delta"] {
        let collector = Collector::start();
        let redis = Redis::start();
        let backend = Backend::answering(|request| {
            let status = request.target[1..].parse().unwrap();
            crate::harness::Reply::Keep(response(status, "", ""))
        });
        redis.route("a.test", &[&backend.url()]);
        let metrics = json!({ "interval": 0.1, "temporality": temporality });
        let mut hipache = builder(&redis)
            .set(&json!({ "telemetry": { "metrics": metrics } }))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
            .env("OTEL_LOGS_EXPORTER", "none")
            .start();
        collector.wait_for_push("the first", |pushed| pushed.requests > 0);
        let mut client = hipache.client();
        let both = ["GET", "PUT"].map(|method| (400..520).map(move |status| (method, status)));
        for (method, status) in both.into_iter().flatten() {
            let fields = "host: a.test\r\ncontent-length: 0";
            client.send(format!("{method} /{status} HTTP/1.1\r\n{fields}\r\n\r\n"));
            assert_eq!(client.response().status, status);
        }
        drop(client);
        hipache.stop();
        let pushed = collector.pushed();
        assert_eq!(collector.refusals(), [] as [String; 0], "{temporality}");
        assert_eq!(pushed.sum("http.server.request.duration"), 240.0);
        if temporality == "cumulative" {
            let exemplars: HashSet<_> = pushed.exemplars.into_iter().collect();
            assert_eq!(exemplars.len(), 240, "each is the only one of its series");
        }
    }
}

#[test]
fn another_worker_goes_on_when_the_pushing_one_is_killed() {
    for temporality in ["cumulative", "delta"] {
        let collector = Collector::start();
        let more = json!({ "temporality": temporality });
        let (_redis, _backend, mut hipache) = scene(&collector.url(), 3, &more);
        let load = Load::connecting(hipache.address(), "a.test", 2);
        collector.wait_for_push("the first", |pushed| pushed.sum("hipache.exchanges") > 0.0);
        // Whoever of them pushes: it is among them.
        for victim in hipache.workers() {
            let before = collector.pushed();
            crate::harness::signal(victim, Signal::SIGKILL);
            collector.wait_for_push("another push, and more of them", |pushed| {
                pushed.requests > before.requests + 2
                    && pushed.sum("hipache.exchanges") > before.sum("hipache.exchanges")
            });
        }
        hipache.wait_for_stderr("worker ready", 6);
        load.stop();
        // Each push is newer than all before and no count went back, or it would be refused.
        assert_eq!(collector.refusals(), [] as [String; 0], "{temporality}");
        let deaths = "hipache.worker.deaths";
        if temporality == "cumulative" {
            collector.wait_for_push("all deaths", |pushed| pushed.sum(deaths) == 3.0);
        }
        hipache.stop();
        // A delta that was on its way when its sender was killed is not told again: it may be lost,
        // and nothing is ever told twice.
        assert!(collector.pushed().sum(deaths) <= 3.0, "{temporality}");
        assert_eq!(collector.refusals(), [] as [String; 0], "{temporality}");
    }
}

#[test]
fn the_last_worker_pushes_once_more_and_no_other() {
    let collector = Collector::start();
    let (_redis, _backend, mut hipache) = scene(&collector.url(), 3, &json!({ "interval": 3600 }));
    for _ in 0..5 {
        hipache.exchange("a.test", "/x");
    }
    assert_eq!(collector.requests(), 0, "the interval is an hour");
    hipache.stop();
    let pushed = collector.pushed();
    assert_eq!(pushed.requests, 1);
    assert_eq!(pushed.sum("hipache.exchanges"), 5.0);
    assert_eq!(pushed.sum("http.server.request.duration"), 5.0);
    assert_eq!(pushed.sum("hipache.access_log.lines"), 5.0, "all settled");
    assert_eq!(collector.refusals(), [] as [String; 0]);
}

#[test]
fn deltas_add_up_to_what_was_served() {
    let collector = Collector::start();
    let more = json!({ "temporality": "delta" });
    let (_redis, _backend, mut hipache) = scene(&collector.url(), 2, &more);
    let load = Load::keeping(hipache.address(), "a.test", 2);
    collector.wait_for_push("five pushes", |pushed| pushed.requests >= 5);
    load.stop();
    hipache.stop();
    let lines = hipache.log().all().len() as f64;
    let pushed = collector.pushed();
    assert_eq!(pushed.sum("hipache.exchanges"), lines);
    assert_eq!(pushed.sum("http.server.request.duration"), lines);
    assert_eq!(pushed.sum("hipache.vhost.requests"), lines);
    assert_eq!(collector.refusals(), [] as [String; 0]);
}

#[test]
fn deltas_that_a_collector_did_not_take_come_with_the_next() {
    let is_well = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = std::sync::Arc::clone(&is_well);
    let collector = Collector::answering(move || {
        let is_well = asked.load(std::sync::atomic::Ordering::SeqCst);
        response(if is_well { 200 } else { 500 }, "", "")
    });
    let more = json!({ "temporality": "delta" });
    let (_redis, _backend, mut hipache) = scene(&collector.url(), 1, &more);
    for _ in 0..3 {
        hipache.exchange("a.test", "/x");
    }
    let failed = [("outcome", "failed")];
    eventually("failures", SOON, || {
        let scrape = hipache.scrape();
        (scrape.sum("hipache_metrics_exports_total", &failed) >= 2.0).then_some(())
    });
    hipache.exchange("a.test", "/x");
    is_well.store(true, std::sync::atomic::Ordering::SeqCst);
    collector.wait_for_push("all four", |pushed| pushed.sum("hipache.exchanges") == 4.0);
    hipache.stop();
    assert_eq!(collector.pushed().sum("hipache.exchanges"), 4.0);
    assert_eq!(collector.refusals(), [] as [String; 0]);
}

#[test]
fn a_collector_that_is_not_there_costs_counts_and_one_line() {
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let more = json!({ "exportTimeout": 0.1 });
    let (_redis, _backend, mut hipache) = scene(&endpoint, 1, &more);
    let exports = "hipache_metrics_exports_total";
    eventually("three failures", SOON, || {
        assert_eq!(hipache.get("a.test", "/x").status, 200);
        let scrape = hipache.scrape();
        assert_eq!(scrape.sum(exports, &[("outcome", "exported")]), 0.0);
        (scrape.sum(exports, &[("outcome", "failed")]) >= 3.0).then_some(())
    });
    assert_eq!(hipache.count_stderr("pushing metrics"), 1);
    hipache.stop();
}
