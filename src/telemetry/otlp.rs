//! Spans as OpenTelemetry's protocol has them, encoded once from the finished record.
//!
//! Our own writer for the few messages of `ExportTraceServiceRequest` that are sent; the tests
//! decode them with the official ones. Each span is encoded as an entry of `ScopeSpans.spans`, so
//! that a batch is entries behind each other, and a request is an envelope around them.

mod attributes;
mod facts;
mod lookup;
mod metrics;
mod redact;
mod request;
mod span;
mod wire;

pub(crate) use metrics::seconds;
pub(super) use metrics::{Histogram, Point, Value, encode};
pub(super) use request::{Envelope, rejected, retry_delay};
pub(crate) use span::Encoder;
pub(super) use wire::Writer;

#[cfg(test)]
mod tests;
