//! Turning facts into access log, spans and metrics; owning writers and exporters.
//!
//! Knows no other module's types: events and records carry plain borrowed values.

mod access_log;
mod base64;
mod busiest;
mod events;
mod export;
mod gather;
mod handshakes;
mod methods;
mod metrics;
pub(crate) mod names;
mod once_a_minute;
mod otlp;
mod push;
mod record;
mod stderr;
mod story;
mod syslog;
mod throttle;
mod trace;
mod writer;

pub(crate) use access_log::{AccessLog, Process, example_line};
pub(crate) use events::{
    Closing, DeathReport, Event, Figures, Lifecycle, MemoryEvent, MemoryFigures, emit,
};
pub(crate) use gather::{
    Buckets, Number, Pairs, Sink, Snapshot, Source, busiest, gather, resident,
};
#[cfg(test)]
pub(crate) use gather::{crowded, pieces};
pub(crate) use handshakes::HandshakeRecord;
pub(crate) use methods::Methods;
pub(crate) use metrics::{Labels, Metrics};
pub(crate) use once_a_minute::OnceAMinute;
pub(crate) use otlp::seconds;
pub(crate) use push::Push;
pub(crate) use record::{
    AttemptRecord, Lookup, Record, RequestLine, RouteRecord, TlsRecord, TraceRecord, TunnelRecord,
};
pub(crate) use story::{Story, init};
pub(crate) use trace::{SpanId, Trace, TraceId, Tracer};
