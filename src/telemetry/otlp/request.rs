//! The envelope around spans or metrics, which is the same for both: who sends them; and what the collector says about it.

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
    let find = |message, wanted| {
        fields(message)
            .filter(move |(field, _)| *field == wanted)
            .last()
    };
    let Some((_, Value::Bytes(partial))) = find(response, 1) else {
        return None;
    };
    let count = match find(partial, 1) {
        Some((_, Value::Number(count))) => count,
        _ => 0,
    };
    let reason = match find(partial, 2) {
        Some((_, Value::Bytes(text))) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    (count > 0 || !reason.is_empty()).then_some((count, reason))
}
