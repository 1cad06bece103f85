//! What an answer tells about its exchange: `X-Debug`, `Proxy-Status`, the trace id.

use std::time::Instant;

use http::{HeaderMap, HeaderValue};

use super::Exchange;
use super::reply::{self, DebugFacts};
use crate::error::End;
use crate::telemetry::Trace;

/// Adds the answer to `X-Debug`.
pub(super) fn add_debug(headers: &mut HeaderMap, exchange: &Exchange, error: Option<&str>) {
    let now = Instant::now();
    let attempt = exchange.attempts.last();
    reply::add_debug(
        headers,
        &DebugFacts {
            backend_url: attempt.map(|attempt| &*attempt.backend.url),
            backend_id: attempt.map(|attempt| attempt.id),
            vhost: exchange
                .routed
                .as_ref()
                .map(|routed| &*routed.frontend.vhost),
            frontend_key: exchange.host(),
            total: Some(now.saturating_duration_since(exchange.began)),
            backend: attempt.map(|attempt| now.saturating_duration_since(attempt.began)),
            error,
        },
    );
}

/// RFC 9209 §2: what went wrong in between, in the words of the log; and, as a parameter of our own
/// (§2.4), the trace to look it up in.
pub(super) fn proxy_status(end: End, trace: Option<&Trace>) -> Option<HeaderValue> {
    let end = end.as_str();
    let text = match trace {
        Some(trace) => format!("hipache; error={end}; trace-id=\"{:?}\"", trace.id),
        None => format!("hipache; error={end}"),
    };
    text.try_into().ok()
}

/// The id of a trace as the value of a header.
pub(super) fn trace_id(trace: &Trace) -> HeaderValue {
    let id = trace.id.hex();
    // Never: hexadecimal digits.
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("0"))
}
