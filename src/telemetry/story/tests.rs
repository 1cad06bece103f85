//! What is told, line by line; and what becomes of it on its way to a collector.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::SystemTime;

use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use prost::Message;
use serde_json::Value as Json;

use super::lane::Lane;
use super::*;
use crate::config::{ExportQueue, Signal};
use crate::scoreboard::{Counter, Seat};
use crate::telemetry::Lifecycle;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn remember(line: &[u8]) {
    LINES.with_borrow_mut(|lines| lines.push(String::from_utf8(line.to_vec()).unwrap()));
}

fn lines(is_json: bool, level: Level, asked: Option<&str>, tell: impl FnOnce()) -> Vec<String> {
    let mut teller = Teller::new(is_json, None);
    teller.write = remember;
    let filter = filter(level, asked.map(str::to_owned)).0;
    let subscriber = Registry::default().with(teller.with_filter(filter));
    tracing::subscriber::with_default(subscriber, tell);
    LINES.take()
}

/// What each write of the log holds while `tell` runs.
pub(in crate::telemetry) fn writes(tell: impl FnOnce()) -> Vec<String> {
    lines(false, Level::Info, None, tell)
}

/// The same in JSON.
pub(in crate::telemetry) fn objects(tell: impl FnOnce()) -> Vec<Json> {
    let lines = lines(true, Level::Info, None, tell);
    let parse = |line: &String| {
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(line.len() <= stderr::LINE_BYTES, "{}", line.len());
        serde_json::from_str(line).unwrap()
    };
    lines.iter().map(parse).collect()
}

fn address() -> SocketAddr {
    "127.0.0.1:8080".parse().unwrap()
}

#[test]
fn a_line_has_time_level_process_and_text_in_one_write() {
    let address = address();
    let writes = writes(|| emit(&Event::Listening { address }));
    assert_eq!(writes.len(), 1, "{writes:?}");
    let (time, rest) = writes[0].split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert_eq!(time.len(), "2026-11-22T05:01:23.123456Z".len());
    let expected = format!(
        " INFO {} listening address=127.0.0.1:8080\n",
        std::process::id()
    );
    assert_eq!(rest, expected);
}

#[test]
fn control_characters_of_peers_are_escaped() {
    let error = "bad \r\n2026 ERROR forged\x1b[2J\u{7f}\u{85}\u{202e}ü";
    let tell = || {
        emit(&Event::Problem {
            doing: "a\nb",
            error: &error,
        });
        tracing::warn!(target: "hipache", text = %error, "raw");
    };
    let lines = writes(tell);
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let inner = line.strip_suffix('\n').unwrap();
        assert!(!inner.chars().any(show::is_harmful), "{line:?}");
        assert!(inner.contains("ü") || inner.contains("\\u{fc}"), "{line:?}");
    }
    assert!(lines[1].contains("bad \\r\\n2026"), "{}", lines[1]);
    for object in objects(tell) {
        let told = object.get("error").or(object.get("text")).unwrap();
        assert_eq!(told, error, "nothing of it is lost");
    }
}

#[test]
fn json_has_numbers_as_numbers_and_never_one_key_twice() {
    let objects = objects(|| {
        emit(&Event::Lifecycle(Lifecycle::WorkerReady {
            seat: 4,
            slot: 1,
            pid: 7,
            took: Duration::from_millis(1500),
        }));
        tracing::warn!(target: "hipache", level = 1, time = true, "odd");
    });
    let mut first = objects[0].clone();
    let time = first.as_object_mut().unwrap().remove("time").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z'));
    let expected = serde_json::json!({
        "level": "INFO", "process": std::process::id(), "event": "hipache.worker.ready",
        "message": "worker ready", "seat": 4, "slot": 1, "pid": 7, "took": 1.5,
    });
    assert_eq!(first, expected);
    assert_eq!(objects[1]["level"], "WARN");
    assert_eq!(objects[1]["field.level"], 1);
    assert_eq!(objects[1]["field.time"], true);
    assert_eq!(objects[1]["target"], "hipache");
}

#[test]
fn a_long_event_is_shortened_and_stays_json() {
    let error = "\u{1b}ü".repeat(5_000);
    let objects = objects(|| {
        emit(&Event::Problem {
            doing: "x",
            error: &error,
        });
    });
    let object = &objects[0];
    assert!(error.starts_with(object["error"].as_str().unwrap()));
    assert_eq!(object["message"], "problem");
}

#[test]
fn the_filter_quiets_libraries_and_can_be_asked_for() {
    let tell = || {
        tracing::info!(target: "hyper", "library info");
        tracing::warn!(target: "hyper", "library warning");
        tracing::info!(target: "hipache::proxy", "own info");
        tracing::debug!(target: "hipache::proxy", "own debug");
    };
    let own = ["library warning", "own info"];
    let debug = ["library warning", "own info", "own debug"];
    let asked = ["library info", "library warning"];
    let cases: [(Level, Option<&str>, &[&str]); 9] = [
        (Level::Off, None, &[]),
        (Level::Error, None, &[]),
        (Level::Warn, None, &own[..1]),
        (Level::Info, None, &own),
        (Level::Debug, None, &debug),
        (Level::Debug, Some(" "), &debug),
        (Level::Debug, Some("hyper=info"), &asked),
        (Level::Off, Some("hyper=info"), &asked),
        (Level::Info, Some("=,=["), &own),
    ];
    for (level, asked, expected) in cases {
        let lines = lines(false, level, asked, tell);
        assert_eq!(
            lines.len(),
            expected.len(),
            "{level:?} {asked:?}: {lines:?}"
        );
        for (line, text) in lines.iter().zip(expected) {
            assert!(line.contains(text), "{level:?} {asked:?}: {line}");
        }
    }
    assert!(filter(Level::Info, Some("=,=[".into())).1.is_some());
}

fn lane(signal: Signal, items: usize, seat: Seat) -> Arc<Lane> {
    let bounds = ExportQueue {
        items,
        batch: 2,
        delay: Duration::from_secs(1),
        limit: Duration::from_secs(1),
    };
    Arc::new(Lane::new(signal, bounds, seat))
}

fn records(lane: &Lane) -> Vec<LogRecord> {
    let batches = std::iter::from_fn(|| lane.take());
    let decode = |batch: lane::Batch| ScopeLogs::decode(&batch.bytes[..]).unwrap().log_records;
    batches.flat_map(decode).collect()
}

fn spans_in(lane: &Lane) -> Vec<Span> {
    let batches = std::iter::from_fn(|| lane.take());
    let decode = |batch: lane::Batch| ScopeSpans::decode(&batch.bytes[..]).unwrap().spans;
    batches.flat_map(decode).collect()
}

/// The event that this tells.
fn told(event: &Event<'_>) -> Told {
    let (outbox, inbox) = queue::pair().unwrap();
    let mut teller = Teller::new(false, Some(Way::Queue(outbox)));
    teller.write = |_| {};
    let subscriber = Registry::default().with(teller);
    tracing::subscriber::with_default(subscriber, || emit(event));
    inbox.next().unwrap().unwrap().told
}

#[test]
fn an_event_of_the_master_is_exported_with_its_own_time() {
    let before = SystemTime::now();
    let told = told(&Event::Lifecycle(Lifecycle::WorkerReady {
        seat: 5,
        slot: 3,
        pid: 77,
        took: Duration::from_millis(1250),
    }));
    assert!(before <= told.time && told.time <= SystemTime::now());
    let seat = Seat::detached();
    let (logs, spans) = (lane(Signal::Logs, 9, seat), lane(Signal::Traces, 9, seat));
    let sdk = Sdk::new(Some(Arc::clone(&logs)), Some(Arc::clone(&spans)));
    sdk.take(&told);
    let records = records(&logs);
    let [record] = &records[..] else {
        panic!("{records:?}");
    };
    let nanoseconds = told.time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(u128::from(record.time_unix_nano), nanoseconds.as_nanos());
    assert_eq!(record.event_name, "hipache.worker.ready");
    assert_eq!(
        (record.severity_number, &record.severity_text[..]),
        (9, "INFO")
    );
    let keys: Vec<_> = record.attributes.iter().map(|pair| &pair.key[..]).collect();
    assert_eq!(
        keys,
        [
            "process.pid",
            "hipache.seat",
            "hipache.slot",
            "hipache.pid",
            "hipache.took"
        ]
    );
    let spans = spans_in(&spans);
    let [span] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(span.name, "worker start");
    assert_eq!(
        (&record.trace_id, &record.span_id),
        (&span.trace_id, &span.span_id)
    );
    assert_eq!(span.end_time_unix_nano, record.time_unix_nano);
    assert_eq!(
        span.end_time_unix_nano - span.start_time_unix_nano,
        1_250_000_000
    );
}

#[test]
fn an_event_without_a_duration_is_no_span() {
    let seat = Seat::detached();
    let spans = lane(Signal::Traces, 9, seat);
    let sdk = Sdk::new(None, Some(Arc::clone(&spans)));
    sdk.take(&told(&Event::Stopping { signal: "SIGTERM" }));
    sdk.take(&told(&Event::Stopped {
        uptime: Duration::from_secs(1),
    }));
    assert!(spans_in(&spans).is_empty());
}

#[test]
fn what_is_told_within_a_span_of_ours_is_linked_to_it() {
    let seat = Seat::detached();
    let (logs, lane) = (lane(Signal::Logs, 9, seat), lane(Signal::Traces, 9, seat));
    let sdk = Arc::new(Sdk::new(Some(Arc::clone(&logs)), Some(Arc::clone(&lane))));
    let tracer = sdk.tracer().unwrap();
    let mut teller = Teller::new(false, Some(Way::Sdk(sdk)));
    teller.write = |_| {};
    let subscriber = Registry::default().with(teller).with(spans(tracer));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("worker drain", hipache.slot = 1_u64).in_scope(|| {
            tracing::debug!("no part of the story");
            emit(&Event::Stopping { signal: "SIGTERM" });
        });
        tracing::info_span!(target: "library", "foreign").in_scope(|| {
            emit(&Event::Stopping { signal: "SIGINT" });
        });
    });
    let (spans, records) = (spans_in(&lane), records(&logs));
    let [span] = &spans[..] else {
        panic!("{spans:?}");
    };
    let [inside, outside] = &records[..] else {
        panic!("{records:?}");
    };
    assert_eq!(span.name, "worker drain");
    assert_eq!(
        (&inside.trace_id, &inside.span_id),
        (&span.trace_id, &span.span_id)
    );
    assert!(outside.trace_id.is_empty());
    assert!(
        span.attributes
            .iter()
            .any(|pair| pair.key == "hipache.slot")
    );
}

#[test]
fn every_item_of_a_lane_ends_in_one_count() {
    let seat = Seat::detached();
    let lane = lane(Signal::Logs, 4, seat);
    for _ in 0..6 {
        lane.put(b"x");
    }
    lane.count_dropped(3);
    let first = lane.take().unwrap();
    assert_eq!(
        (first.items, &first.bytes[..]),
        (2, &b"\x12\x01x\x12\x01x"[..])
    );
    lane.settle(&first, 1);
    assert_eq!(lane.untold(), 6);
    let second = lane.take().unwrap();
    assert_eq!(lane.give_up(), 2);
    lane.settle(&second, 0);
    let counts = [
        Counter::RecordsQueued,
        Counter::RecordsExported,
        Counter::RecordsDropped,
        Counter::RecordsFailed,
    ];
    assert_eq!(counts.map(|counter| seat.count(counter)), [9, 1, 5, 3]);
}

#[test]
fn a_queue_that_nobody_reads_drops_and_tells_how_many() {
    let (outbox, inbox) = queue::pair().unwrap();
    let event = told(&Event::Stopping { signal: "SIGTERM" });
    let began = std::time::Instant::now();
    for _ in 0..5_000 {
        outbox.put(&event);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "nobody is waited for"
    );
    let mut kept = 0;
    while let Some(received) = inbox.next() {
        assert_eq!(received.unwrap().dropped, 0);
        kept += 1;
    }
    assert!((100..5_000).contains(&kept), "{kept}");
    outbox.put(&event);
    let next = inbox.next().unwrap().unwrap();
    assert_eq!(next.dropped, 5_000 - kept);
    assert_eq!(next.told.name.as_deref(), Some("hipache.stopping"));
}
