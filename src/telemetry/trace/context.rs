//! The trace that a request says it belongs to: W3C Trace Context, or B3. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::TraceRecord;
use super::b3;
use super::ids::{SpanId, TraceId, parse_hex};
use super::origin::Origin;
use crate::config::Propagator;

/// The flag `sampled`.
pub(super) const SAMPLED: u8 = 1;
/// Bytes of a version 00 `traceparent`.
const TRACEPARENT_BYTES: usize = 55;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The trace of one request.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The trace.
    pub(crate) id: TraceId,
    /// Our own span; `None` where nothing is exported.
    pub(crate) span: Option<SpanId>,
    /// The span of the peer.
    pub(crate) parent: Option<SpanId>,
    /// Those of `traceparent`.
    pub(crate) flags: u8,
    /// `tracestate` as it came.
    pub(crate) state: Option<HeaderValue>,
    /// Whether what the peer says about traces is believed.
    pub(super) is_trusted: bool,
    /// What the client asked for.
    pub(super) origin: Origin,
}

impl Trace {
    /// As the sinks see it, with the spans of the attempts.
    pub(crate) fn as_record<'a>(&'a self, attempts: &'a [SpanId]) -> TraceRecord<'a> {
        TraceRecord {
            id: self.id,
            span: self.span,
            parent: self.parent,
            flags: self.flags,
            state: self.state.as_ref().map_or(b"", HeaderValue::as_bytes),
            is_https: self.origin.is_https,
            host: self.origin.host.as_deref(),
            port: self.origin.port,
            attempts,
        }
    }
}

/// What a peer says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Remote {
    pub(super) ids: Option<(TraceId, SpanId)>,
    /// `None`: it leaves the decision to us.
    pub(super) is_sampled: Option<bool>,
    pub(super) flags: u8,
    pub(super) state: Option<HeaderValue>,
}

/// What these headers say, in the order of the propagators: the first that has a trace counts.
pub(super) fn read(headers: &HeaderMap, propagators: &[Propagator]) -> Remote {
    let read = |propagator: &Propagator| match propagator {
        Propagator::TraceContext => trace_context(headers),
        Propagator::Baggage => None,
        // Either form is understood, whichever is set.
        Propagator::B3 | Propagator::B3Multi => b3::read(headers),
    };
    propagators.iter().find_map(read).unwrap_or_default()
}

/// W3C Trace Context §3.2: whatever is malformed is as good as nothing.
fn trace_context(headers: &HeaderMap) -> Option<Remote> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (ids, flags) = traceparent(value.as_bytes())?;
    Some(Remote {
        ids: Some(ids),
        is_sampled: Some(flags & SAMPLED != 0),
        flags,
        state: tracestate(headers),
    })
}

fn traceparent(text: &[u8]) -> Option<((TraceId, SpanId), u8)> {
    let (known, rest) = text.split_at_checked(TRACEPARENT_BYTES)?;
    let [version] = parse_hex(&known[..2], false)?;
    // §3.2.2.3: 255 is no version; later ones may have more, after a dash.
    let is_whole = match version {
        0 => rest.is_empty(),
        255 => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let is_dashed = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    if !is_whole || !is_dashed {
        return None;
    }
    let trace = parse_hex(&known[3..35], false)?;
    let span = parse_hex(&known[36..52], false)?;
    let [flags] = parse_hex(&known[53..], false)?;
    // Of later versions only the flag that is known counts (§4.3).
    let flags = if version == 0 { flags } else { flags & SAMPLED };
    ids(trace, span).map(|ids| (ids, flags))
}

/// Neither id may be zero (§3.2.2.3, §3.2.2.4).
pub(super) fn ids(trace: [u8; 16], span: [u8; 8]) -> Option<(TraceId, SpanId)> {
    (trace != [0; 16] && span != [0; 8]).then_some((TraceId(trace), SpanId(span)))
}

/// §3.3: several lines are one list.
fn tracestate(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(TRACESTATE).iter();
    let first = lines.next()?;
    if lines.next().is_none() {
        return Some(first.clone());
    }
    let lines: Vec<_> = headers
        .get_all(TRACESTATE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    HeaderValue::from_bytes(&lines.join(&b","[..])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_traceparent_is_read_to_the_letter() {
        let good = format!("00-{TRACE}-{SPAN}-01");
        let zero_trace = format!("00-{}-{SPAN}-01", "0".repeat(32));
        let zero_span = format!("00-{TRACE}-{}-01", "0".repeat(16));
        let cases = [
            (good.clone(), Some(1)),
            (good.replace("-01", "-00"), Some(0)),
            (good.replace("-01", "-03"), Some(3)),
            (good.replace("-01", "-0A"), None),
            (format!("{good}-x"), None),
            (format!("cc{}", &good[2..]), Some(1)),
            (format!("cc{}-x", &good[2..]), Some(1)),
            (format!("cc{}.x", &good[2..]), None),
            (format!("cc{}ff", &good[2..53]), Some(1)),
            (format!("ff{}", &good[2..]), None),
            (good.to_uppercase(), None),
            (good[..54].to_owned(), None),
            (good.replace('-', "_"), None),
            (zero_trace, None),
            (zero_span, None),
            (String::new(), None),
        ];
        for (text, flags) in cases {
            let read = traceparent(text.as_bytes());
            assert_eq!(read.map(|(_, flags)| flags), flags, "{text}");
            if let Some(((trace, span), _)) = read {
                assert_eq!(
                    (format!("{trace:?}"), format!("{span:?}")),
                    (TRACE.into(), SPAN.into())
                );
            }
        }
    }

    #[test]
    fn two_traceparents_are_none_and_two_tracestates_are_one_list() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(format!("00-{TRACE}-{SPAN}-01")).unwrap();
        headers.append(TRACEPARENT, value.clone());
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let remote = read(&headers, &[Propagator::Baggage, Propagator::TraceContext]);
        assert_eq!(remote.state.unwrap(), "a=1,b=2");
        assert_eq!(remote.is_sampled, Some(true));
        assert_eq!(read(&headers, &[Propagator::B3]), Remote::default());
        headers.append(TRACEPARENT, value);
        assert_eq!(
            read(&headers, &[Propagator::TraceContext]),
            Remote::default()
        );
    }
}
