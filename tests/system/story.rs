//! The process's own story: on standard error, as log records and as spans.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Collector, Hipache, Records, Redis, Refused, SOON, attribute, eventually, field,
    response, signal, text_of,
};

/// Told to nobody but standard error: when the last worker is gone.
const LAST: [&str; 1] = ["hipache.stopped"];

fn telemetry(records: &Records, spans: &Collector) -> Value {
    json!({ "telemetry": {
        "stderr": "json",
        "endpoint": spans.url(),
        "exportDelay": 0.05,
        "processSpans": true,
        "logs": { "endpoint": records.url(), "exportDelay": 0.05 },
    } })
}

/// Standard error as objects; each line is one.
#[track_caller]
fn objects(hipache: &Hipache) -> Vec<Value> {
    let lines = hipache.stderr();
    let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    lines.iter().map(parse).collect()
}

/// What a record says, as standard error has it.
fn as_object(record: &LogRecord) -> Value {
    let mut object = json!({
        "level": record.severity_text,
        "event": record.event_name,
        "message": text_of(record),
    });
    for attribute in &record.attributes {
        let key = attribute.key.strip_prefix("hipache.").unwrap_or("process");
        object[key] = field(record, &attribute.key).into();
    }
    object
}

/// An object of standard error in the same form.
fn plain(mut object: Value) -> Value {
    let fields = object.as_object_mut().unwrap();
    fields.remove("time");
    for (key, value) in fields {
        if !value.is_string() {
            let text = value.to_string();
            // Numbers with a fraction are told as such; a record's text has none where it is zero.
            let is_time = matches!(key.as_str(), "took" | "uptime" | "limit");
            let text = if is_time {
                text.trim_end_matches(".0")
            } else {
                &text
            };
            *value = text.into();
        }
    }
    object
}

/// The only span of this name.
#[track_caller]
fn span(collector: &Collector, name: &str) -> Span {
    let found = eventually(name, SOON, || {
        let spans = collector.spans();
        spans.into_iter().find(|span| span.name == name)
    });
    let count = collector
        .spans()
        .iter()
        .filter(|span| span.name == name)
        .count();
    assert_eq!(count, 1, "{name}");
    found
}

#[test]
fn each_event_arrives_once_as_it_stands_on_standard_error_and_what_took_time_as_a_span() {
    let began = SystemTime::now();
    let (mut redis, records, spans) = (Redis::start(), Records::start(), Collector::start());
    // The only backend of a host is never marked.
    let refused = [Refused::new(), Refused::new()].map(|refused| refused.url());
    let route = |redis: &Redis| redis.route("refused.test", &[&refused[0], &refused[1]]);
    let builder = Hipache::builder().redis(&redis);
    let mut hipache = builder.set(&telemetry(&records, &spans)).start();
    records.wait_for("hipache.worker.ready", 1);
    span(&spans, "worker start");
    redis.kill();
    records.wait_for("hipache.redis.lost", 1);
    redis.resume();
    records.wait_for("hipache.redis.back", 1);
    route(&redis);
    hipache.get("refused.test", "/");
    records.wait_for("hipache.backend.marked_dead", 1);
    let [worker] = hipache.workers()[..] else {
        panic!("one worker");
    };
    signal(worker, Signal::SIGKILL);
    records.wait_for("hipache.worker.ready", 2);
    hipache.stop();
    let mut told: Vec<_> = objects(&hipache).into_iter().map(plain).collect();
    told.retain(|object| !LAST.contains(&object["event"].as_str().unwrap()));
    let arrived: Vec<_> = records.all().iter().map(as_object).collect();
    let texts = |list: &[Value]| list.iter().map(Value::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&sorted(arrived)), texts(&sorted(told)));
    check_times(&records, began);
    check_contents(&records, worker);
    check_spans(&records, &spans);
}

/// Each object with its keys in order.
fn sorted(list: Vec<Value>) -> Vec<Value> {
    let sort = |object: Value| {
        let mut pairs: Vec<_> = object.as_object().unwrap().clone().into_iter().collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        Value::Object(pairs.into_iter().collect())
    };
    let mut list: Vec<_> = list.into_iter().map(sort).collect();
    list.sort_by_key(Value::to_string);
    list
}

/// The time of a record is that of its event, in the order in which things happened.
fn check_times(records: &Records, began: SystemTime) {
    let nanos = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_nanos()).unwrap()
    };
    let order = [
        "hipache.started",
        "hipache.worker.ready",
        "hipache.redis.lost",
        "hipache.redis.back",
        "hipache.backend.marked_dead",
        "hipache.worker.died",
        "hipache.stopping",
        "hipache.worker.draining",
        "hipache.worker.drained",
    ];
    let mut last = nanos(began);
    for event in order {
        let time = records.of(event)[0].time_unix_nano;
        assert!(time >= last, "{event}");
        last = time;
    }
    assert!(last <= nanos(SystemTime::now()));
}

fn check_contents(records: &Records, worker: u32) {
    let only = |event: &str| {
        let found = records.of(event);
        assert_eq!(found.len(), 1, "{event}");
        found.into_iter().next().unwrap()
    };
    let died = only("hipache.worker.died");
    assert_eq!(died.severity_text, "WARN");
    assert_eq!(field(&died, "hipache.pid"), Some(worker.to_string()));
    assert_eq!(
        field(&died, "hipache.status").as_deref(),
        Some("signal SIGKILL")
    );
    let dead = records.of("hipache.backend.marked_dead").remove(0);
    assert_eq!(
        field(&dead, "hipache.host").as_deref(),
        Some("refused.test")
    );
    assert_eq!(field(&dead, "process.pid"), Some(worker.to_string()));
    assert_eq!(only("hipache.redis.lost").severity_text, "WARN");
    assert_eq!(only("hipache.stopping").severity_text, "INFO");
}

fn check_spans(records: &Records, spans: &Collector) {
    let outage = span(spans, "redis outage");
    let back = &records.of("hipache.redis.back")[0];
    assert_eq!(
        (&back.trace_id, &back.span_id),
        (&outage.trace_id, &outage.span_id)
    );
    let lost = records.of("hipache.redis.lost")[0].time_unix_nano;
    // The event is told in whole milliseconds.
    assert!(
        outage.start_time_unix_nano.abs_diff(lost) < 5_000_000,
        "{outage:?}"
    );
    assert_eq!(outage.end_time_unix_nano, back.time_unix_nano);
    let drain = span(spans, "worker drain");
    // The first worker's seat was freed by its death.
    assert_eq!(attribute(&drain, "hipache.seat").as_deref(), Some("0"));
    for event in ["hipache.worker.draining", "hipache.worker.drained"] {
        let record = &records.of(event)[0];
        assert_eq!(
            (&record.trace_id, &record.span_id),
            (&drain.trace_id, &drain.span_id)
        );
        let time = record.time_unix_nano;
        assert!((drain.start_time_unix_nano..=drain.end_time_unix_nano).contains(&time));
    }
    assert!(records.of("hipache.stopping")[0].trace_id.is_empty());
}

#[test]
fn what_the_master_tells_arrives_although_the_worker_that_exports_it_is_killed() {
    let (redis, records) = (Redis::start(), Records::start());
    let keys = json!({
        "server": { "workers": 2 },
        "telemetry": { "logs": { "endpoint": records.url(), "exportDelay": 0.05 } },
    });
    let hipache = Hipache::builder().redis(&redis).set(&keys).start();
    records.wait_for("hipache.worker.ready", 2);
    for round in 1..=3 {
        let before = hipache.workers();
        // Both, so the elected one is among them, and nobody is there to read.
        for worker in &before {
            signal(*worker, Signal::SIGKILL);
        }
        hipache.wait_for_workers(2, &before);
        let died = records.wait_for("hipache.worker.died", 2 * round);
        let told: Vec<_> = died
            .iter()
            .filter_map(|record| field(record, "hipache.pid"))
            .collect();
        for worker in before {
            let count = told
                .iter()
                .filter(|pid| **pid == worker.to_string())
                .count();
            assert_eq!(count, 1, "{told:?}");
        }
    }
}

#[test]
fn a_collector_that_hangs_delays_nothing_and_losses_are_counted() {
    let redis = Redis::start();
    // Takes connections and never answers.
    let silent = Records::answering(|| {
        let start = Instant::now();
        // A parked thread may wake for no reason.
        while start.elapsed() < Duration::from_secs(60) {
            std::thread::park_timeout(Duration::from_secs(60));
        }
        Vec::new()
    });
    let (backend, refused) = (Backend::saying("here"), Refused::new());
    redis.route("a.test", &[&backend.url()]);
    redis.route("refused.test", &[&refused.url()]);
    let keys = json!({
        "admin": { "bind": "127.0.0.1", "port": 0 },
        "telemetry": { "logs": {
            "endpoint": silent.url(), "exportDelay": 0.01, "queueSize": 1,
        } },
    });
    let mut hipache = Hipache::builder().redis(&redis).set(&keys).start();
    eventually("a request to the collector", SOON, || {
        (silent.requests() > 0).then_some(())
    });
    let start = Instant::now();
    for _ in 0..20 {
        redis.run(&["DEL", "dead:refused.test"]);
        assert_eq!(hipache.get("refused.test", "/").status, 502);
        assert_eq!(hipache.get("a.test", "/").status, 200);
    }
    assert!(start.elapsed() < SOON);
    eventually("dropped records", SOON, || {
        let dropped = hipache
            .scrape()
            .sum("hipache_log_records_total", &[("outcome", "dropped")]);
        (dropped > 0.0).then_some(())
    });
    let start = Instant::now();
    hipache.stop();
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(hipache.count_stderr("the process's story"), 1);
}

#[test]
fn nothing_is_exported_without_an_endpoint_and_refusals_are_told_once() {
    let (redis, spans) = (Redis::start(), Collector::start());
    let mut hipache = Hipache::with(
        &redis,
        &json!({
            "telemetry": { "endpoint": spans.url(), "exportDelay": 0.01 },
        }),
    );
    hipache.stop();
    assert_eq!(
        spans.requests(),
        0,
        "spans of the process were not asked for"
    );
    let refusing = Records::answering(|| response(400, "", ""));
    let keys = json!({ "telemetry": { "logs": {
        "endpoint": refusing.url(), "exportDelay": 0.01,
    } } });
    let mut hipache = Hipache::with(&redis, &keys);
    hipache.wait_for_stderr("exporting the process's log records", 1);
    hipache.stop();
    assert_eq!(
        hipache.count_stderr("exporting the process's log records"),
        1
    );
    assert!(
        refusing.of("hipache.problem").is_empty(),
        "a loss tells of itself"
    );
}
