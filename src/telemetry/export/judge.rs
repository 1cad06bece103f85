//! What a collector's answer means. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};

use super::super::base64;
use super::super::otlp::{rejected, retry_delay};

/// An answer, over HTTP or gRPC.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Where gRPC says how it went; over HTTP nothing counts here.
    pub(super) trailers: HeaderMap,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken, but for so many spans.
    Taken {
        /// Spans that it did not take.
        rejected: u64,
        /// Why, or what it says besides.
        reason: String,
    },
    /// To be repeated, after so long if it says.
    Repeat {
        after: Option<Duration>,
        reason: String,
    },
    /// Never to be repeated.
    Refused { reason: String },
}

/// OTLP §"OTLP/HTTP Response" and §"OTLP/gRPC Response".
pub(super) fn judge(reply: &Reply, is_grpc: bool, now: SystemTime) -> Verdict {
    let status = reply.status.as_u16();
    match status {
        200..=299 if is_grpc => judge_grpc(reply),
        200..=299 => taken(&reply.body),
        429 | 502 | 503 | 504 => Verdict::Repeat {
            after: retry_after(&reply.headers, now),
            reason: format!("collector answered {status}"),
        },
        _ => Verdict::Refused {
            reason: format!("collector answered {status}"),
        },
    }
}

fn taken(message: &[u8]) -> Verdict {
    let (rejected, reason) = rejected(message).unwrap_or_default();
    Verdict::Taken { rejected, reason }
}

fn judge_grpc(reply: &Reply) -> Verdict {
    // Trailers-only: an answer without a message says it in its head.
    let field = |name| reply.trailers.get(name).or_else(|| reply.headers.get(name));
    let text = |name| field(name).and_then(|value| value.to_str().ok());
    let code = text("grpc-status").and_then(|code| code.parse::<u32>().ok());
    let reason = match (code, text("grpc-message")) {
        (Some(code), Some(said)) => format!("collector answered gRPC status {code}: {said}"),
        (Some(code), None) => format!("collector answered gRPC status {code}"),
        (None, _) => "collector answered without a gRPC status".to_owned(),
    };
    let details = field("grpc-status-details-bin");
    let after = details
        .and_then(|text| base64::decode(text.as_bytes()))
        .and_then(|status| retry_delay(&status));
    match code {
        // A message follows its flag and its length.
        Some(0) => taken(reply.body.get(5..).unwrap_or_default()),
        // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss; and resource
        // exhausted where the collector says when it is worth another try.
        Some(1 | 4 | 10 | 11 | 14 | 15) => Verdict::Repeat { after, reason },
        Some(8) if after.is_some() => Verdict::Repeat { after, reason },
        _ => Verdict::Refused { reason },
    }
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, fields: &[(&'static str, &'static str)], body: &[u8]) -> Reply {
        let pair = |(name, value): &(&'static str, &'static str)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        };
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: fields.iter().map(pair).collect(),
            body: body.to_vec(),
            trailers: HeaderMap::new(),
        }
    }

    /// `taken 2 bad`, `repeat 5`, `repeat`, `refused`.
    fn told(verdict: Verdict) -> String {
        match verdict {
            Verdict::Taken { rejected, reason } => format!("taken {rejected} {reason}"),
            Verdict::Repeat { after, .. } => format!("repeat {:?}", after.map(|d| d.as_secs())),
            Verdict::Refused { .. } => "refused".to_owned(),
        }
    }

    /// A `google.rpc.Status` with two details, the second a `RetryInfo` of 7.5 s, of no delay, of
    /// -3 s, and no `RetryInfo` but a `DebugInfo`.
    const DETAILS: [&str; 4] = [
        "CA4SBGJ1c3kaJQojdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkhlbHAaNgoodHlwZS5nb29nbGVhcGlz\
         LmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIBxCAyrXuAQ",
        "CA4SBGJ1c3kaJQojdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkhlbHAaLAoodHlwZS5nb29nbGVhcGlz\
         LmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIA",
        "CA4SBGJ1c3kaJQojdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkhlbHAaOQoodHlwZS5nb29nbGVhcGlz\
         LmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxINCgsI/f//////////AQ",
        "CA4SBGJ1c3kaJQojdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkhlbHAaMAoodHlwZS5nb29nbGVhcGlz\
         LmNvbS9nb29nbGUucnBjLkRlYnVnSW5mbxIECgIIBw",
    ];

    #[test]
    fn a_collector_over_grpc_says_when_to_come_again() {
        let [some, zero, negative, none] = DETAILS;
        let cases = [
            ("14", some, "repeat Some(7)"),
            ("8", some, "repeat Some(7)"),
            ("8", zero, "repeat Some(0)"),
            ("8", negative, "repeat Some(0)"),
            ("8", none, "refused"),
            ("8", "?", "refused"),
            ("8", "", "refused"),
            ("14", "?", "repeat None"),
            ("3", some, "refused"),
        ];
        for (at, (status, details, expected)) in cases.into_iter().enumerate() {
            let fields = [
                ("grpc-status", status),
                ("grpc-status-details-bin", details),
            ];
            let verdict = judge(&reply(200, &fields, &[]), true, SystemTime::UNIX_EPOCH);
            assert_eq!(told(verdict), expected, "case {at}");
        }
    }

    #[test]
    fn answers_over_http_and_grpc_are_understood() {
        let partial = [0x0a, 7, 0x08, 2, 0x12, 3, b'b', b'a', b'd'];
        let message = [&[0, 0, 0, 0, 9][..], &partial].concat();
        let date = "Thu, 01 Jan 1970 00:00:09 GMT";
        let cases = [
            (false, reply(200, &[], &[]), "taken 0 "),
            (false, reply(202, &[], &partial), "taken 2 bad"),
            (
                false,
                reply(503, &[("retry-after", "5")], &[]),
                "repeat Some(5)",
            ),
            (
                false,
                reply(429, &[("retry-after", date)], &[]),
                "repeat Some(9)",
            ),
            (
                false,
                reply(502, &[("retry-after", "soon")], &[]),
                "repeat None",
            ),
            (false, reply(504, &[], &[]), "repeat None"),
            (false, reply(500, &[], &[]), "refused"),
            (false, reply(400, &[], &[]), "refused"),
            (
                true,
                reply(200, &[("grpc-status", "0")], &message),
                "taken 2 bad",
            ),
            (true, reply(200, &[("grpc-status", "0")], &[]), "taken 0 "),
            (
                true,
                reply(200, &[("grpc-status", "14")], &[]),
                "repeat None",
            ),
            (true, reply(200, &[("grpc-status", "8")], &[]), "refused"),
            (true, reply(200, &[("grpc-status", "3")], &[]), "refused"),
            (true, reply(200, &[], &[]), "refused"),
            (true, reply(503, &[], &[]), "repeat None"),
        ];
        for (at, (is_grpc, reply, expected)) in cases.into_iter().enumerate() {
            let verdict = judge(&reply, is_grpc, SystemTime::UNIX_EPOCH);
            assert_eq!(told(verdict), expected, "case {at}");
        }
    }
}
