//! Turning facts into access log, spans and metrics; owning writers and exporters.
//!
//! Knows no other module's types: events and records carry plain borrowed values.

mod access_log;
mod events;
mod writer;

pub(crate) use access_log::{AccessLog, Record};
pub(crate) use events::{Event, emit, init};
