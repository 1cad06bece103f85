//! Traces: which one a request belongs to, whether it is sampled, and its way to the exporter.
//!
//! A request pays for its spans only when they leave: ids are drawn as it goes, and [`Tracer::write`]
//! encodes the finished record. Where nothing is exported the proxy has no spans, so it changes no
//! header: what came is passed on as it is.

mod b3;
mod context;
mod ids;
mod inject;
mod origin;
mod sampler;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};

use super::Record;
use super::export::Export;
use super::methods::Methods;
use super::otlp::{Encoder, Envelope};
use crate::config::{Config, Propagator};
use crate::scoreboard::Seat;
pub(crate) use context::Trace;
use context::{Remote, SAMPLED};
use ids::Generator;
pub(crate) use ids::{SpanId, TraceId};
use origin::Origin;
use sampler::HeadSampler;

/// The tracer of one worker. Not shared with other threads.
pub(crate) struct Tracer {
    ids: Generator,
    /// Names this worker among those of its service.
    instance: [u8; 32],
    propagators: Vec<Propagator>,
    /// `None`: nothing is exported.
    output: Option<Output>,
    /// Ids are drawn even if nothing is exported: a response header tells them.
    shows_ids: bool,
    /// Room for header values: one allocation for many of them.
    values: RefCell<BytesMut>,
}

/// What is exported, and the way there.
struct Output {
    sampler: HeadSampler,
    sample_errors: bool,
    slower_than: Option<Duration>,
    encoder: Encoder,
    export: Rc<Export>,
}

impl Tracer {
    /// The tracer of this worker. Starts the exporter's thread, so never before a fork.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness or no thread, or a certificate file is of no use.
    pub(crate) fn start(config: &Config, seat: Seat) -> std::io::Result<Self> {
        let telemetry = &config.telemetry;
        let ids = Generator::seeded()?;
        let instance = ids.trace().hex();
        let output = telemetry.traces.as_ref().map(|traces| {
            let envelope = Envelope::new(&telemetry.resource, &instance, std::process::id());
            std::io::Result::Ok(Output {
                sampler: HeadSampler::new(traces.sampler),
                sample_errors: traces.sample_errors,
                slower_than: traces.slower_than,
                encoder: Encoder::new(
                    Methods::new(&telemetry.known_methods),
                    traces.limits,
                    &config.driver,
                ),
                export: Rc::new(Export::start(traces, envelope, seat)?),
            })
        });
        Ok(Self {
            ids,
            instance,
            propagators: telemetry.propagators.clone(),
            output: output.transpose()?,
            shows_ids: telemetry.trace_header.is_some(),
            values: RefCell::default(),
        })
    }

    /// What names this worker among those of its service, in all that it exports.
    pub(crate) fn instance(&self) -> [u8; 32] {
        self.instance
    }

    /// The trace of a request that came with these headers: continued where a trusted peer says so,
    /// begun otherwise. `None` where nobody would ever see it. `authority` is that of a target in
    /// absolute form.
    pub(crate) fn begin(
        &self,
        headers: &HeaderMap,
        authority: Option<&str>,
        is_trusted: bool,
    ) -> Option<Trace> {
        let remote = match is_trusted {
            true => context::read(headers, &self.propagators),
            false => Remote::default(),
        };
        let Some(output) = &self.output else {
            let is_shown = self.shows_ids || remote.ids.is_some();
            return is_shown.then(|| self.bystander(remote));
        };
        let id = remote.ids.map_or_else(|| self.ids.trace(), |(id, _)| id);
        let is_sampled = output.sampler.decide(&id, remote.is_sampled);
        Some(Trace {
            id,
            span: Some(self.ids.span()),
            parent: remote.ids.map(|(_, span)| span),
            flags: remote.flags & !SAMPLED | u8::from(is_sampled),
            state: remote.state,
            is_trusted,
            origin: origin::read(headers, authority, is_trusted),
        })
    }

    /// The trace of a request in which we have no span.
    fn bystander(&self, remote: Remote) -> Trace {
        Trace {
            id: remote.ids.map_or_else(|| self.ids.trace(), |(id, _)| id),
            span: None,
            parent: remote.ids.map(|(_, span)| span),
            flags: remote.flags,
            state: None,
            is_trusted: true,
            origin: Origin::default(),
        }
    }

    /// The id of a span that begins now; `None` where there are no spans.
    pub(crate) fn next_span(&self) -> Option<SpanId> {
        self.output.as_ref().map(|_| self.ids.span())
    }

    /// Tells a backend which trace its request belongs to, with this span as its parent.
    pub(crate) fn inject(&self, trace: &Trace, span: SpanId, headers: &mut HeaderMap) {
        let mut values = self.values.borrow_mut();
        inject::set(headers, (trace, span), &self.propagators, &mut values);
    }

    /// Exports the spans of a finished exchange, if they are to leave; whether they are. Never
    /// blocks.
    pub(crate) fn write(&self, record: &Record<'_>) -> bool {
        let output = self.output.as_ref();
        let Some(output) = output.filter(|output| output.is_wanted(record)) else {
            return false;
        };
        let draw = || self.ids.span();
        output
            .export
            .append(|bytes| output.encoder.append(bytes, record, &draw));
        true
    }

    /// Hands over what waits, and waits until it is sent or the limit is over. Blocking: for the end
    /// of a worker.
    pub(crate) fn shutdown(self, limit: Duration) {
        if let Some(output) = self.output {
            output.export.shutdown(limit);
        }
    }
}

impl Output {
    /// Head sampling decided at the beginning; the outcome may still say yes.
    fn is_wanted(&self, record: &Record<'_>) -> bool {
        let Some(trace) = &record.trace else {
            return false;
        };
        let is_error = || record.end != "ok" || record.status >= 500;
        let is_slow = || self.slower_than.is_some_and(|limit| record.total > limit);
        trace.flags & SAMPLED != 0 || (self.sample_errors && is_error()) || is_slow()
    }
}

/// A text as the value of a header; the bytes are cut from a shared block.
fn header_value(values: &mut BytesMut, parts: &[&[u8]]) -> HeaderValue {
    let length = parts.iter().map(|part| part.len()).sum();
    if values.capacity() < length {
        values.reserve(length.max(VALUES_BYTES));
    }
    for part in parts {
        values.extend_from_slice(part);
    }
    let text = values.split().freeze();
    // Never: ids are hexadecimal digits.
    HeaderValue::from_maybe_shared(text).unwrap_or(HeaderValue::from_static("0"))
}

/// A block for so many bytes of header values, some seventy requests.
const VALUES_BYTES: usize = 4096;

#[cfg(test)]
mod tests;
