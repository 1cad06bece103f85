//! A tracer without an exporter, and the headers that a backend gets.

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (http::HeaderName::from_static(name), value.parse().unwrap())
    };
    lines.iter().map(pair).collect()
}

fn tracer(propagators: &[Propagator], shows_ids: bool) -> Tracer {
    Tracer {
        ids: Generator::seeded().unwrap(),
        instance: [b'0'; 32],
        propagators: propagators.to_vec(),
        output: None,
        shows_ids,
        values: RefCell::default(),
    }
}

#[test]
fn where_nothing_is_exported_only_what_came_or_is_shown_has_a_trace() {
    let both = [Propagator::TraceContext, Propagator::Baggage];
    let incoming = headers(&[("traceparent", PARENT)]);
    let none = HeaderMap::new();
    let cases = [
        (false, &none, true, false),
        (true, &none, true, true),
        (false, &incoming, true, true),
        (false, &incoming, false, false),
    ];
    for (shows_ids, headers, is_trusted, expected) in cases {
        let tracer = tracer(&both, shows_ids);
        let trace = tracer.begin(headers, None, is_trusted);
        assert_eq!(trace.is_some(), expected, "{shows_ids} {headers:?}");
        assert!(trace.is_none_or(|trace| trace.span.is_none()));
        assert!(tracer.next_span().is_none());
    }
}

const CAME: [(&str, &str); 5] = [
    ("traceparent", PARENT),
    ("tracestate", "a=1"),
    ("baggage", "k=v"),
    ("b3", "0"),
    ("x-b3-sampled", "0"),
];
const OURS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-01";
const SINGLE: &str = "4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-1";

/// Propagators, whether the peer is trusted, what the backend gets, and what it does not.
type Told = (
    &'static [Propagator],
    bool,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

use Propagator::{B3, B3Multi, Baggage, TraceContext};

const TOLD: [Told; 6] = [
    (
        &[TraceContext, Baggage],
        true,
        &[
            ("traceparent", OURS),
            ("tracestate", "a=1"),
            ("baggage", "k=v"),
            ("b3", "0"),
        ],
        &[],
    ),
    (
        &[TraceContext, Baggage],
        false,
        &[("traceparent", OURS)],
        &["tracestate", "baggage"],
    ),
    (
        &[TraceContext],
        false,
        &[("baggage", "k=v")],
        &["tracestate"],
    ),
    (
        &[B3],
        true,
        &[("b3", SINGLE), ("traceparent", PARENT)],
        &["x-b3-sampled"],
    ),
    (
        &[B3Multi],
        true,
        &[("x-b3-spanid", "abababababababab"), ("x-b3-sampled", "1")],
        &["b3"],
    ),
    (&[], false, &CAME, &[]),
];

#[test]
fn a_backend_is_told_in_the_words_that_were_asked_for() {
    for (propagators, is_trusted, expected, gone) in TOLD {
        let tracer = tracer(propagators, false);
        let mut headers = headers(&CAME);
        let remote = context::read(&headers, &[TraceContext]);
        let (id, parent) = remote.ids.unwrap();
        let trace = Trace {
            id,
            span: None,
            parent: Some(parent),
            flags: SAMPLED,
            state: remote.state.filter(|_| is_trusted),
            is_trusted,
            origin: Origin::default(),
        };
        tracer.inject(&trace, SpanId([0xab; 8]), &mut headers);
        for (name, value) in expected {
            assert_eq!(headers.get(*name).unwrap(), value, "{propagators:?} {name}");
        }
        for name in gone {
            assert_eq!(headers.get(*name), None, "{propagators:?} {name}");
        }
    }
}
