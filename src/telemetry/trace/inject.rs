//! Telling a backend which trace its request belongs to.
//!
//! What the peer said is replaced. Where it is not believed, what travels beside the ids goes, too:
//! it would be taken for ours.

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};

use super::context::{BAGGAGE, SAMPLED, TRACEPARENT, TRACESTATE, Trace};
use super::ids::{HEX, SpanId};
use super::{b3, header_value};
use crate::config::Propagator;

/// Sets the headers of these propagators, with this span as the parent.
pub(super) fn set(
    headers: &mut HeaderMap,
    (trace, span): (&Trace, SpanId),
    propagators: &[Propagator],
    values: &mut BytesMut,
) {
    let is_sampled = trace.flags & SAMPLED != 0;
    let digit: &[u8] = if is_sampled { b"1" } else { b"0" };
    let (id, span) = (trace.id.hex(), span.hex());
    let is_b3 = |one: &Propagator| matches!(one, Propagator::B3 | Propagator::B3Multi);
    if propagators.iter().any(is_b3) {
        for name in &b3::ALL {
            headers.remove(name);
        }
    }
    for propagator in propagators {
        match propagator {
            Propagator::TraceContext => {
                let flags = HEX[usize::from(trace.flags)];
                let parts: [&[u8]; 6] = [b"00-", &id, b"-", &span, b"-", &flags];
                headers.insert(TRACEPARENT, header_value(values, &parts));
                // A state without the trace that it belongs to says nothing (§3.3).
                if trace.state.is_none() {
                    headers.remove(TRACESTATE);
                }
            }
            Propagator::Baggage if trace.is_trusted => {}
            Propagator::Baggage => {
                headers.remove(BAGGAGE);
            }
            Propagator::B3 => {
                let parts: [&[u8]; 5] = [&id, b"-", &span, b"-", digit];
                headers.insert(b3::SINGLE, header_value(values, &parts));
            }
            Propagator::B3Multi => {
                headers.insert(b3::TRACE_ID, header_value(values, &[&id]));
                headers.insert(b3::SPAN_ID, header_value(values, &[&span]));
                let sampled = HeaderValue::from_static(if is_sampled { "1" } else { "0" });
                headers.insert(b3::IS_SAMPLED, sampled);
            }
        }
    }
}
