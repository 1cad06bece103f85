//! B3, the headers of Zipkin: one `b3`, or several `X-B3-…`. Pure.

use http::{HeaderMap, HeaderName};

use super::context::{Remote, SAMPLED, ids};
use super::ids::parse_hex;

pub(super) const SINGLE: HeaderName = HeaderName::from_static("b3");
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
pub(super) const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
pub(super) const PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
pub(super) const IS_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
pub(super) const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// All names, to remove them.
pub(super) static ALL: [HeaderName; 6] =
    [SINGLE, TRACE_ID, SPAN_ID, PARENT_SPAN_ID, IS_SAMPLED, FLAGS];

/// What either form says; the single header first, as its specification wants.
pub(super) fn read(headers: &HeaderMap) -> Option<Remote> {
    single(headers).or_else(|| multi(headers))
}

/// `{trace}-{span}-{state}-{parent}`, the last two optional; or the state alone.
fn single(headers: &HeaderMap) -> Option<Remote> {
    let text = headers.get(SINGLE)?.as_bytes();
    let mut parts = text.split(|byte| *byte == b'-');
    let first = parts.next()?;
    match parts.next() {
        None => remote(None, Some(state(first)?)),
        Some(span) => {
            let told = parts.next().map(state);
            remote(
                Some((first, span)),
                told.map_or(Some(None), |told| told.map(Some))?,
            )
        }
    }
}

fn multi(headers: &HeaderMap) -> Option<Remote> {
    let bytes = |name| headers.get(name).map(http::HeaderValue::as_bytes);
    let is_debug = bytes(FLAGS) == Some(b"1");
    let told = match bytes(IS_SAMPLED) {
        _ if is_debug => Some(true),
        Some(b"true") => Some(true),
        Some(b"false") => Some(false),
        Some(text) => state(text),
        None => None,
    };
    match (bytes(TRACE_ID), bytes(SPAN_ID)) {
        (Some(trace), Some(span)) => remote(Some((trace, span)), told),
        _ => remote(None, Some(told?)),
    }
}

/// Sampled, debug (which implies it), or not.
fn state(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

fn remote(told: Option<(&[u8], &[u8])>, is_sampled: Option<bool>) -> Option<Remote> {
    let ids = match told {
        None => None,
        Some((trace, span)) => {
            let trace = match trace.len() {
                // A short id is the end of a long one.
                16 => {
                    let mut long = [0; 16];
                    long[8..].copy_from_slice(&parse_hex::<8>(trace, true)?);
                    long
                }
                _ => parse_hex(trace, true)?,
            };
            Some(ids(trace, parse_hex(span, true)?)?)
        }
    };
    Some(Remote {
        ids,
        is_sampled,
        flags: if is_sampled == Some(true) { SAMPLED } else { 0 },
        state: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    type Told = Option<(bool, Option<bool>)>;

    fn headers(lines: &[(HeaderName, String)]) -> Told {
        let pairs = lines
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let headers: HeaderMap = pairs.collect();
        read(&headers).map(|remote| (remote.ids.is_some(), remote.is_sampled))
    }

    #[test]
    fn either_form_is_read() {
        let one = |text: String| vec![(SINGLE, text)];
        let more = |lines: &[(HeaderName, &str)]| {
            let ids = [(TRACE_ID, TRACE), (SPAN_ID, SPAN)];
            let all = ids.iter().chain(lines);
            all.map(|(name, value)| (name.clone(), (*value).to_owned()))
                .collect()
        };
        let cases: [(Vec<(HeaderName, String)>, Told); 14] = [
            (vec![], None),
            (one(format!("{TRACE}-{SPAN}")), Some((true, None))),
            (one(format!("{TRACE}-{SPAN}-1")), Some((true, Some(true)))),
            (
                one(format!("{TRACE}-{SPAN}-d-{SPAN}")),
                Some((true, Some(true))),
            ),
            (
                one(format!("{}-{SPAN}-0", &TRACE[16..])),
                Some((true, Some(false))),
            ),
            (one("0".to_owned()), Some((false, Some(false)))),
            (one("x".to_owned()), None),
            (one(format!("{TRACE}-{SPAN}-x")), None),
            (one(format!("{TRACE}-{}", "0".repeat(16))), None),
            (more(&[]), Some((true, None))),
            (more(&[(IS_SAMPLED, "0")]), Some((true, Some(false)))),
            (more(&[(IS_SAMPLED, "true")]), Some((true, Some(true)))),
            (
                more(&[(FLAGS, "1"), (IS_SAMPLED, "0")]),
                Some((true, Some(true))),
            ),
            (
                vec![(IS_SAMPLED, "0".to_owned())],
                Some((false, Some(false))),
            ),
        ];
        for (lines, expected) in cases {
            assert_eq!(headers(&lines), expected, "{lines:?}");
        }
    }
}
