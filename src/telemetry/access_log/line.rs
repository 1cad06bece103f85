//! The text of one access-log line, byte for byte in the shape of the original.
//!
//! Pure and without allocation: everything is appended to the caller's buffer. Whatever the fields
//! hold, a line has exactly one line break, at its end, and every quote that is not escaped is one
//! of ours: a client cannot forge a field.

use std::time::Duration;

use super::clock::Clock;
use super::mask::Veil;
use super::text::{append_default, append_mapped, append_number, append_status, digit};
use crate::config::{Escape, Masks};
use crate::telemetry::Record;

/// Appends the line of a record (hipache.md §8, the original's `lib/accesslog.js`).
pub(super) fn append(out: &mut Vec<u8>, record: &Record<'_>, masks: &Masks, clock: &mut Clock) {
    let veil = Veil {
        masks,
        escape: Escape::Default,
    };
    append_mapped(out, record.client);
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(clock.common(record.arrived));
    out.extend_from_slice(b" +0000] \"");
    match record.request {
        None => out.push(b'-'),
        Some(request) => {
            append_default(out, request.method.as_bytes());
            out.push(b' ');
            veil.url(out, request.target);
            out.extend_from_slice(b" HTTP/");
            out.extend_from_slice(request.version.as_bytes());
        }
    }
    out.extend_from_slice(b"\" ");
    append_status(out, record.logged_status());
    out.push(b' ');
    append_number(out, record.bytes_sent);
    out.extend_from_slice(b" \"");
    veil.referer(out, record.referer);
    out.extend_from_slice(b"\" \"");
    veil.agent(out, record.user_agent);
    out.extend_from_slice(b"\" \"");
    append_default(out, record.vhost().as_bytes());
    out.extend_from_slice(b"\" ");
    append_seconds(out, record.total);
    out.push(b' ');
    append_seconds(out, record.backend_time());
}

/// Seconds as JavaScript prints whole milliseconds divided by 1000: at most three decimals, no
/// padding. Rounded to the nearest millisecond, half of one upwards, so that a time below half a
/// millisecond is `0`.
fn append_seconds(out: &mut Vec<u8>, duration: Duration) {
    let milliseconds = (duration.subsec_micros() + 500) / 1_000;
    let carried = u64::from(milliseconds / 1_000);
    append_number(out, duration.as_secs().saturating_add(carried));
    let fraction = u64::from(milliseconds % 1_000);
    if fraction == 0 {
        return;
    }
    let decimals = [
        b'.',
        digit(fraction / 100),
        digit(fraction / 10),
        digit(fraction),
    ];
    let used = match fraction {
        _ if fraction % 100 == 0 => 2,
        _ if fraction % 10 == 0 => 3,
        _ => 4,
    };
    out.extend_from_slice(&decimals[..used]);
}

#[cfg(test)]
mod tests;
