//! The spans of one record: SERVER, the CLIENT span of a lookup in Redis, one CLIENT span an attempt.
//!
//! Names, kinds, attributes and status follow OpenTelemetry's HTTP and database conventions; what
//! they have no name for begins with `hipache.`. A span of an attempt lasts from the pick until it
//! failed or its response was complete; connecting is told by attributes.

use std::time::Duration;

use super::super::methods::Methods;
use super::super::names;
use super::super::{AttemptRecord, Record, SpanId, TraceRecord};
use super::attributes::Attributes;
use super::facts::{
    attempt_error, is_server_failure, name_of, nanoseconds, put_backend, put_connection, put_end,
    put_error, put_event, put_failed, put_peer, put_route, put_tls, server_error,
};
use super::lookup::Redis;
use super::redact;
use super::wire::Writer;
use crate::config::{Driver, Limits};

/// `Span.SpanKind`.
const SERVER: u64 = 2;
pub(super) const CLIENT: u64 = 3;
/// `SpanFlags`: whether the parent is remote is known, and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// Fields of `Span`.
pub(super) const ATTRIBUTES: u8 = 9;

/// Encodes records.
pub(crate) struct Encoder {
    methods: Methods,
    pub(super) limits: Limits,
    /// Where routes are asked for.
    redis: Option<Redis>,
}

/// What all spans have.
pub(super) struct Frame<'a> {
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) is_remote: bool,
    pub(super) kind: u64,
    pub(super) name: &'a str,
    /// From the arrival of the request.
    pub(super) began: Duration,
    pub(super) took: Duration,
}

impl Encoder {
    /// One that knows these methods, for routes that are asked for here.
    pub(crate) fn new(methods: Methods, limits: Limits, driver: &Driver) -> Self {
        Self {
            methods,
            limits,
            redis: Redis::of(driver),
        }
    }

    /// Appends the spans of a record, each as an entry of `ScopeSpans.spans`; gives their number.
    /// Ids that were not needed before are drawn now.
    pub(crate) fn append(
        &self,
        out: &mut Vec<u8>,
        record: &Record<'_>,
        draw: &dyn Fn() -> SpanId,
    ) -> u64 {
        let (Some(trace), writer) = (&record.trace, &mut Writer(out)) else {
            return 0;
        };
        let Some(root) = trace.span else { return 0 };
        self.server(writer, record, (trace, root));
        let mut count = 1;
        let lookup = record.lookup.as_ref();
        let asked = lookup.and_then(|lookup| Some((lookup, self.redis.as_ref()?, lookup.batch?)));
        if let Some(asked) = asked {
            self.lookup(writer, record, (trace, draw()), asked);
            count += 1;
        }
        for (index, (attempt, id)) in record.attempts.iter().zip(trace.attempts).enumerate() {
            self.attempt(writer, record, (trace, *id), (attempt, index));
            count += 1;
        }
        count
    }

    /// The method as it is told, and as it came where that is another.
    fn method<'a>(&'a self, record: &Record<'a>) -> (&'a str, Option<&'a str>) {
        let original = record.request.map(|line| line.method);
        let told = self.methods.told(original.unwrap_or_default());
        (told, original.filter(|method| *method != told))
    }

    fn server(
        &self,
        writer: &mut Writer<'_>,
        record: &Record<'_>,
        ids: (&TraceRecord<'_>, SpanId),
    ) {
        let (trace, id) = ids;
        let (method, original) = self.method(record);
        let frame = Frame {
            id,
            parent: trace.parent,
            is_remote: true,
            kind: SERVER,
            name: name_of(method),
            began: Duration::ZERO,
            took: record.total,
        };
        let target = record.request.map_or(&b""[..], |line| line.target);
        let target = String::from_utf8_lossy(target);
        let (path, query) = redact::split(&target);
        self.span(writer, record, &frame, |span| {
            let mut put = Attributes::new(span, ATTRIBUTES, self.limits);
            put.text("http.request.method", method);
            if let Some(original) = original {
                put.text("http.request.method_original", original);
            }
            put.text("url.path", path);
            if let Some(query) = query {
                put.text("url.query", &redact::query(query));
            }
            put_tls(&mut put, record, trace.is_https);
            if let Some(host) = trace.host.or(record.host) {
                let asked = record.proxied_to.unwrap_or(record.local);
                let port = trace.port.unwrap_or(asked.port());
                put.text("server.address", host);
                put.number("server.port", port.into());
            }
            put.address("client.address", record.client);
            if let Some(port) = record.proxied_from.and(record.client_port()) {
                // Where there is no such header it is that of the peer.
                put.number("client.port", port.into());
            }
            put_peer(&mut put, record.peer);
            if let Some(line) = record.request {
                put.text(names::VERSION, names::protocol_version(line.version));
            }
            if !record.user_agent.is_empty() {
                put.bytes("user_agent.original", record.user_agent);
            }
            if record.status != 0 {
                put.number("http.response.status_code", record.status.into());
            }
            put_route(&mut put, record);
            put_end(&mut put, record);
            let error = server_error(record);
            if let Some(error) = &error {
                put_error(&mut put, error);
            }
            self.close(put);
            self.server_events(span, record);
            if error.is_some() && is_server_failure(record) {
                put_failed(span);
            }
        });
    }

    fn server_events(&self, span: &mut Writer<'_>, record: &Record<'_>) {
        let Some(responded) = record.responded.filter(|_| record.tunnel.is_some()) else {
            return;
        };
        let events = [("upgrade", responded), ("tunnel_end", record.total)];
        for (name, at) in events.into_iter().take(self.limits.events) {
            put_event(span, record, name, at);
        }
        self.drop_events(span, events.len());
    }

    fn attempt(
        &self,
        writer: &mut Writer<'_>,
        record: &Record<'_>,
        (trace, id): (&TraceRecord<'_>, SpanId),
        (attempt, index): (&AttemptRecord<'_>, usize),
    ) {
        let (method, original) = self.method(record);
        let frame = Frame {
            id,
            parent: trace.span,
            is_remote: false,
            kind: CLIENT,
            name: name_of(method),
            began: attempt.began,
            took: attempt.took,
        };
        self.span(writer, record, &frame, |span| {
            let mut put = Attributes::new(span, ATTRIBUTES, self.limits);
            put.text("http.request.method", method);
            if let Some(original) = original {
                put.text("http.request.method_original", original);
            }
            put_backend(&mut put, record, attempt);
            if index > 0 {
                put.number("http.request.resend_count", index as u64);
            }
            put_connection(&mut put, attempt);
            if let Some(status) = attempt.status {
                put.number("http.response.status_code", status.into());
            }
            let error = attempt_error(record, attempt, index);
            if let Some(error) = &error {
                put_error(&mut put, error);
            }
            self.close(put);
            if let Some(headed) = attempt.headed {
                if self.limits.events > 0 {
                    put_event(span, record, "first_byte", attempt.began + headed);
                }
                self.drop_events(span, 1);
            }
            if error.is_some() {
                put_failed(span);
            }
        });
    }

    /// Tells how many of so many events were too many.
    fn drop_events(&self, span: &mut Writer<'_>, count: usize) {
        let dropped = count.saturating_sub(self.limits.events);
        if dropped > 0 {
            span.number(12, dropped as u64);
        }
    }

    /// Tells how many attributes were too many.
    pub(super) fn close(&self, put: Attributes<'_, '_>) {
        let dropped = put.dropped();
        if dropped > 0 {
            put.writer.number(10, dropped as u64);
        }
    }

    pub(super) fn span(
        &self,
        writer: &mut Writer<'_>,
        record: &Record<'_>,
        frame: &Frame<'_>,
        fill: impl FnOnce(&mut Writer<'_>),
    ) {
        let Some(trace) = &record.trace else { return };
        writer.nested(2, |span| {
            span.bytes(1, &trace.id.0);
            span.bytes(2, &frame.id.0);
            if !trace.state.is_empty() {
                // Visible ASCII, as every value of a header that was read (RFC 9110 §5.5).
                span.bytes(3, String::from_utf8_lossy(trace.state).as_bytes());
            }
            if let Some(parent) = frame.parent {
                span.bytes(4, &parent.0);
            }
            span.bytes(5, frame.name.as_bytes());
            span.number(6, frame.kind);
            span.fixed64(7, nanoseconds(record, frame.began));
            span.fixed64(8, nanoseconds(record, frame.began + frame.took));
            fill(span);
            let remote = if frame.is_remote && frame.parent.is_some() {
                IS_REMOTE
            } else {
                0
            };
            span.fixed32(16, u32::from(trace.flags) | HAS_IS_REMOTE | remote);
        });
    }
}
