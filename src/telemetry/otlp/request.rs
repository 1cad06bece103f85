//! The envelope around spans or metrics, which is the same for both: who sends them; and what the collector says about it.

use std::time::Duration;

use super::attributes::{Attributes, UNLIMITED};
use super::wire::{Value, Writer, fields};

/// The version of the conventions that names and meanings of attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// What stands around the spans, or metrics, of every request.
pub(in super::super) struct Envelope {
    /// `ResourceSpans.resource`.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`.
    scope: Vec<u8>,
}

impl Envelope {
    /// The envelope of whoever has these attributes: the instance of the service, and its process.
    pub(in super::super) fn new(resource: &[(String, String)], instance: &[u8], pid: u32) -> Self {
        Self {
            resource: encode_resource(resource, instance, pid),
            scope: encode_scope(),
        }
    }

    /// An `ExportTraceServiceRequest` with these entries of `ScopeSpans.spans`; or of metrics, whose
    /// messages have the same fields.
    pub(in super::super) fn seal(&self, spans: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(spans.len() + self.resource.len() + 256);
        Writer(&mut out).nested(1, |resource_spans| {
            resource_spans.0.extend_from_slice(&self.resource);
            resource_spans.nested(2, |scope_spans| {
                scope_spans.0.extend_from_slice(&self.scope);
                scope_spans.0.extend_from_slice(spans);
                scope_spans.bytes(3, SCHEMA_URL.as_bytes());
            });
            resource_spans.bytes(3, SCHEMA_URL.as_bytes());
        });
        out
    }
}

fn encode_resource(told: &[(String, String)], instance: &[u8], pid: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Writer(&mut out).nested(1, |resource| {
        let mut attributes = Attributes::new(resource, 1, UNLIMITED);
        let is_told = |key: &str| told.iter().any(|(known, _)| known == key);
        for (key, value) in told {
            attributes.text(key, value);
        }
        if !is_told("service.version") {
            attributes.text("service.version", env!("CARGO_PKG_VERSION"));
        }
        if !is_told("service.instance.id") {
            attributes.bytes("service.instance.id", instance);
        }
        if !is_told("process.pid") {
            attributes.number("process.pid", pid.into());
        }
    });
    out
}

fn encode_scope() -> Vec<u8> {
    let mut out = Vec::new();
    Writer(&mut out).nested(1, |scope| {
        scope.bytes(1, b"hipache");
        scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    });
    out
}

/// How much a collector refused, of an `ExportTraceServiceResponse` or its like, with its reason.
pub(in super::super) fn rejected(response: &[u8]) -> Option<(u64, String)> {
    let partial = bytes(response, 1)?;
    let count = number(partial, 1);
    let reason = bytes(partial, 2).unwrap_or_default();
    let reason = String::from_utf8_lossy(reason).into_owned();
    (count > 0 || !reason.is_empty()).then_some((count, reason))
}

/// After what time a collector wants to be asked again: the `google.rpc.RetryInfo` among the
/// details of a `google.rpc.Status`.
pub(in super::super) fn retry_delay(status: &[u8]) -> Option<Duration> {
    let details = fields(status).filter_map(|field| match field {
        (3, Value::Bytes(any)) => Some(any),
        _ => None,
    });
    // `Any`: the name of the message behind the last slash of a URL, and the message.
    let is_info = |any: &&[u8]| {
        let url = bytes(any, 1).unwrap_or_default();
        url.rsplit(|byte| *byte == b'/').next() == Some(b"google.rpc.RetryInfo")
    };
    let info = details.into_iter().find(is_info)?;
    let delay = bytes(bytes(info, 2).unwrap_or_default(), 1).unwrap_or_default();
    let (seconds, nanos) = (number(delay, 1), number(delay, 2));
    // A negative one is none: its sign makes it a number beyond any time.
    let whole = i64::try_from(seconds).map_or(0, i64::unsigned_abs);
    Some(Duration::new(whole, u32::try_from(nanos).unwrap_or(0)))
}

/// The last field of this number, if it holds bytes.
fn bytes(message: &[u8], wanted: u64) -> Option<&[u8]> {
    match fields(message).filter(|(field, _)| *field == wanted).last() {
        Some((_, Value::Bytes(bytes))) => Some(bytes),
        _ => None,
    }
}

/// The last field of this number; 0 where there is none.
fn number(message: &[u8], wanted: u64) -> u64 {
    match fields(message).filter(|(field, _)| *field == wanted).last() {
        Some((_, Value::Number(number))) => number,
        _ => 0,
    }
}
