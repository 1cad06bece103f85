//! Turning facts into access log, spans and metrics; owning writers and exporters.
//!
//! Knows no other module's types: events and records carry plain borrowed values.

mod access_log;
mod events;
mod export;
mod otlp;
mod record;
mod stderr;
mod throttle;
mod trace;
mod writer;

pub(crate) use access_log::AccessLog;
pub(crate) use events::{Event, emit};
pub(crate) use record::{AttemptRecord, Lookup, Record, RequestLine, RouteRecord, TraceRecord};
pub(crate) use stderr::init;
pub(crate) use trace::{SpanId, Trace, Tracer};
