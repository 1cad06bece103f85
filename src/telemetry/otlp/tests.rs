//! What our writer encodes, decoded with the official messages.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;

use super::super::methods::Methods;
use super::super::record::samples::{ANSWERED, record};
use super::super::trace::TraceId;
use super::super::{AttemptRecord, Lookup, Record, RequestLine, SpanId, TraceRecord, TunnelRecord};
use super::*;
use crate::config::{Driver, Limits, RedisDriver, RedisServer};

const ATTEMPTS: [SpanId; 3] = [SpanId([3; 8]), SpanId([4; 8]), SpanId([5; 8])];

fn trace() -> TraceRecord<'static> {
    TraceRecord {
        id: TraceId([1; 16]),
        span: Some(SpanId([2; 8])),
        parent: Some(SpanId([9; 8])),
        flags: 1,
        state: b"v=1",
        is_https: true,
        host: None,
        port: None,
        attempts: &ATTEMPTS,
    }
}

fn limits() -> Limits {
    Limits {
        attributes: 128,
        events: 128,
        value_length: None,
    }
}

/// The spans of a record, through the envelope.
fn spans(record: &Record<'_>, limits: Limits) -> Vec<Span> {
    let driver = Driver::Redis(RedisDriver {
        read: RedisServer::default(),
        write: None,
        prefix: String::new(),
    });
    let methods = Methods::new(&["GET".to_owned()]);
    let encoder = Encoder::new(methods, limits, &driver);
    let mut out = Vec::new();
    let count = encoder.append(&mut out, record, &|| SpanId([8; 8]));
    let resource = [("service.name".to_owned(), "s".to_owned())];
    let sealed = Envelope::new(&resource, b"i", 7).seal(&out);
    let mut request = ExportTraceServiceRequest::decode(&sealed[..]).unwrap();
    let mut group = request.resource_spans.remove(0);
    let attributes = group.resource.unwrap().attributes;
    assert_eq!(find(&attributes, "service.name").as_deref(), Some("s"));
    assert_eq!(
        find(&attributes, "service.instance.id").as_deref(),
        Some("i")
    );
    let scope = group.scope_spans.remove(0);
    assert_eq!(scope.scope.unwrap().name, "hipache");
    assert_eq!(scope.schema_url, group.schema_url);
    assert_eq!(scope.spans.len() as u64, count);
    scope.spans
}

fn find(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    })
}

/// `error.type` and status of each span.
fn ends(record: &Record<'_>) -> Vec<(String, bool)> {
    let end = |span: &Span| {
        let code = span.status.as_ref().map(|status| status.code());
        let error = find(&span.attributes, "error.type").unwrap_or_default();
        (error, code == Some(StatusCode::Error))
    };
    spans(record, limits()).iter().map(end).collect()
}

#[test]
fn the_official_messages_read_what_was_written() {
    let record = Record {
        trace: Some(trace()),
        ..record()
    };
    let all = spans(&record, limits());
    let [server, lookup, attempt] = &all[..] else {
        panic!("{all:?}");
    };
    let start = 1_795_323_683_000_000_000;
    assert_eq!(
        (server.name.as_str(), server.kind()),
        ("GET", SpanKind::Server)
    );
    assert_eq!(
        (server.trace_id.as_slice(), server.trace_state.as_str()),
        (&[1; 16][..], "v=1")
    );
    assert_eq!(
        (&server.span_id[..], &server.parent_span_id[..]),
        (&[2; 8][..], &[9; 8][..])
    );
    assert_eq!(
        (server.start_time_unix_nano, server.end_time_unix_nano),
        (start, start + 12_000_000)
    );
    assert_eq!((server.flags, attempt.flags), (0x301, 0x101));
    assert_eq!(
        find(&server.attributes, "url.scheme").as_deref(),
        Some("https")
    );
    assert_eq!(
        (lookup.name.as_str(), lookup.kind()),
        ("MULTI", SpanKind::Client)
    );
    assert_eq!(
        (&lookup.span_id[..], &lookup.parent_span_id[..]),
        (&[8; 8][..], &[2; 8][..])
    );
    assert_eq!(lookup.end_time_unix_nano, start + 300_000);
    assert_eq!(
        (&attempt.span_id[..], &attempt.parent_span_id[..]),
        (&[3; 8][..], &[2; 8][..])
    );
    assert_eq!(attempt.start_time_unix_nano, start + 6_000_000);
    assert_eq!(attempt.events[0].time_unix_nano, start + 11_000_000);
    let connected = find(&attempt.attributes, "hipache.connection.connect_time");
    assert_eq!(connected.as_deref(), Some("0.0001"));
    assert!(all.iter().all(|span| span.status.is_none()));
}

/// Status, end, the attempt's status or its failure; `error.type` and whether the status is Error, of
/// the SERVER span and of the attempt.
type Ending = (
    u16,
    &'static str,
    Result<u16, &'static str>,
    [(&'static str, bool); 2],
);

const TERMINATED: &str = "connection_terminated";
const REFUSED: &str = "connection_refused";

const ENDINGS: [Ending; 12] = [
    (200, "ok", Ok(200), [("", false), ("", false)]),
    (304, "ok", Ok(304), [("", false), ("", false)]),
    (404, "ok", Ok(404), [("", false), ("404", true)]),
    (500, "ok", Ok(500), [("500", true), ("500", true)]),
    (
        200,
        "client_gone",
        Ok(200),
        [("client_gone", false), ("", false)],
    ),
    (
        0,
        "client_gone",
        Err("client_gone"),
        [("client_gone", false), ("", false)],
    ),
    (
        408,
        "client_timeout",
        Err("client_timeout"),
        [("client_timeout", false), ("", false)],
    ),
    (
        200,
        TERMINATED,
        Ok(200),
        [(TERMINATED, true), (TERMINATED, true)],
    ),
    (
        502,
        REFUSED,
        Err(REFUSED),
        [(REFUSED, true), (REFUSED, true)],
    ),
    (
        200,
        "shutdown",
        Ok(200),
        [("shutdown", true), ("shutdown", true)],
    ),
    (101, "tunnel_idle", Ok(101), [("", false), ("", false)]),
    (101, TERMINATED, Ok(101), [("", false), ("", false)]),
];

#[test]
fn ends_become_error_types_and_status_by_the_rules() {
    for (status, end, attempt, expected) in ENDINGS {
        let attempts = [AttemptRecord {
            status: attempt.ok(),
            failure: attempt.err(),
            ..ANSWERED
        }];
        let record = Record {
            status,
            end,
            attempts: &attempts,
            lookup: None,
            trace: Some(trace()),
            tunnel: (status == 101).then(TunnelRecord::default),
            ..record()
        };
        let expected = expected.map(|(word, is_error)| (word.to_owned(), is_error));
        assert_eq!(ends(&record), expected, "{status} {end}");
    }
}

#[test]
fn a_failing_redis_is_told_by_its_code() {
    let cases = [
        ("LOADING Redis is loading", "LOADING", Some("LOADING")),
        ("connection refused", "redis_unavailable", None),
        ("", "redis_unavailable", None),
    ];
    for (cause, error, code) in cases {
        let record = Record {
            lookup: Some(Lookup {
                began: Duration::ZERO,
                took: Duration::ZERO,
                batch: Some(1),
                peer: None,
                error: Some(cause),
            }),
            attempts: &[],
            trace: Some(trace()),
            ..record()
        };
        let lookup = &spans(&record, limits())[1];
        assert_eq!(
            find(&lookup.attributes, "error.type").as_deref(),
            Some(error)
        );
        let told = find(&lookup.attributes, "db.response.status_code");
        assert_eq!(told.as_deref(), code, "{cause}");
        assert_eq!(find(&lookup.attributes, "db.operation.batch.size"), None);
        assert_eq!(lookup.status.as_ref().unwrap().code(), StatusCode::Error);
    }
}

#[test]
fn retries_are_counted_and_odd_requests_still_have_what_is_required() {
    let attempts = [ANSWERED; 3].map(|attempt| AttemptRecord {
        url: "https://[::1]/",
        ..attempt
    });
    let line = RequestLine {
        method: "BREW",
        target: b"*\xff",
        version: "1.0",
    };
    let record = Record {
        request: Some(line),
        attempts: &attempts,
        lookup: None,
        trace: Some(trace()),
        ..record()
    };
    let all = spans(&record, limits());
    let count = |span: &Span| find(&span.attributes, "http.request.resend_count");
    let counts: Vec<_> = all[1..].iter().map(count).collect();
    assert_eq!(counts, [None, Some("1".into()), Some("2".into())]);
    assert_eq!(all[0].name, "HTTP");
    assert_eq!(find(&all[0].attributes, "url.path").unwrap(), "*\u{fffd}");
    assert_eq!(find(&all[1].attributes, "server.address").unwrap(), "::1");
    assert_eq!(find(&all[1].attributes, "server.port").unwrap(), "443");
    let refused = Record {
        request: None,
        host: None,
        attempts: &[],
        ..record
    };
    let all = spans(&refused, limits());
    assert_eq!(
        find(&all[0].attributes, "http.request.method").unwrap(),
        "_OTHER"
    );
    assert_eq!(find(&all[0].attributes, "url.path").unwrap(), "");
}

#[test]
fn limits_cut_texts_and_count_what_they_leave_out() {
    let record = Record {
        status: 101,
        tunnel: Some(TunnelRecord::default()),
        user_agent: "ab€d".as_bytes(),
        attempts: &[],
        lookup: None,
        trace: Some(trace()),
        ..record()
    };
    let short = Limits {
        value_length: Some(3),
        events: 1,
        ..limits()
    };
    let all = spans(&record, short);
    assert_eq!(
        find(&all[0].attributes, "user_agent.original").unwrap(),
        "ab€"
    );
    assert_eq!((all[0].events.len(), all[0].dropped_events_count), (1, 1));
    let few = Limits {
        attributes: 2,
        ..limits()
    };
    let whole = spans(&record, limits())[0].attributes.len();
    let all = spans(&record, few);
    assert_eq!(all[0].attributes.len(), 2);
    assert_eq!(all[0].dropped_attributes_count as usize, whole - 2);
}

#[test]
fn what_a_collector_did_not_take_is_read() {
    let answer = |rejected_spans, error_message: &str| {
        let partial = ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.to_owned(),
        };
        let partial_success = Some(partial);
        rejected(&ExportTraceServiceResponse { partial_success }.encode_to_vec())
    };
    assert_eq!(answer(3, "bad"), Some((3, "bad".to_owned())));
    assert_eq!(answer(0, "slow down"), Some((0, "slow down".to_owned())));
    assert_eq!(answer(0, ""), None);
    assert_eq!(rejected(b""), None);
    assert_eq!(rejected(b"<html>"), None);
}
