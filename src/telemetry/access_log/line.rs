//! The text of one access-log line, byte for byte in the shape of the original.
//!
//! Pure and without allocation: everything is appended to the caller's buffer. Whatever the fields
//! hold, a line has exactly one line break, at its end, and every quote that is not escaped is one
//! of ours: a client cannot forge a field.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::telemetry::Record;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
/// 31 December 9999, 23:59:59: the last second that a year of four digits can tell.
const LAST_SECOND: u64 = 253_402_300_799;

/// Formats lines and keeps the text of the last second, which most lines share.
#[derive(Debug)]
pub(super) struct Format {
    second: u64,
    /// `22/Nov/2026:05:01:23`
    text: [u8; 20],
}

impl Format {
    /// A format that remembers nothing but the epoch.
    pub(super) fn new() -> Self {
        Self {
            second: 0,
            text: second_text(0),
        }
    }

    /// Appends the line of a record (hipache.md §8, the original's `lib/accesslog.js`).
    pub(super) fn append(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        append_address(out, record.client);
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(self.time(record.arrived));
        out.extend_from_slice(b" +0000] \"");
        match record.request {
            None => out.push(b'-'),
            Some(request) => {
                append_escaped(out, request.method.as_bytes());
                out.push(b' ');
                append_escaped(out, request.target);
                out.extend_from_slice(b" HTTP/");
                append_escaped(out, request.version.as_bytes());
            }
        }
        out.extend_from_slice(b"\" ");
        append_status(out, record.logged_status());
        out.push(b' ');
        append_number(out, record.bytes_sent);
        for field in [record.referer, record.user_agent, record.vhost().as_bytes()] {
            out.extend_from_slice(b" \"");
            append_escaped(out, field);
            out.push(b'"');
        }
        out.push(b' ');
        append_seconds(out, record.total);
        out.push(b' ');
        append_seconds(out, record.backend_time());
        out.push(b'\n');
    }

    /// The text of a moment. Lines come in order of completion, so the second may jump either way.
    fn time(&mut self, moment: SystemTime) -> &[u8; 20] {
        let second = moment
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().min(LAST_SECOND));
        if second != self.second {
            self.second = second;
            self.text = second_text(second);
        }
        &self.text
    }
}

/// `22/Nov/2026:05:01:23` in UTC.
fn second_text(second: u64) -> [u8; 20] {
    let (year, month, day) = civil_date(second / 86_400);
    let of_day = second % 86_400;
    let mut text = *b"00/Jan/0000:00:00:00";
    let mut put = |at: usize, value: u64| {
        text[at] = digit(value / 10);
        text[at + 1] = digit(value);
    };
    put(0, day);
    put(7, year / 100);
    put(9, year);
    put(12, of_day / 3_600);
    put(15, of_day / 60 % 60);
    put(18, of_day % 60);
    text[3..6].copy_from_slice(MONTHS[month]);
    text
}

/// Year, month from 0 and day from 1 of a number of days since 1970. Counted in years that begin in
/// March, so that the leap day is the last of its year.
fn civil_date(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468; // from 1 March of the year 0
    let era = days / 146_097; // 400 years
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, month as usize, day)
}

/// The last decimal digit of a number.
fn digit(value: u64) -> u8 {
    DIGITS[(value % 10) as usize]
}

/// IPv4 with `::ffff:` in front, as people's parsers expect it; IPv6 as RFC 5952 writes it.
fn append_address(out: &mut Vec<u8>, address: IpAddr) {
    let address = match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => {
            // A write to a vector cannot fail.
            let _ = write!(out, "{address}");
            return;
        }
    };
    out.extend_from_slice(b"::ffff");
    let mut separator = b':';
    for octet in address.octets() {
        out.push(separator);
        append_number(out, octet.into());
        separator = b'.';
    }
}

/// Three digits; `000`, as nginx writes it, where no status was sent.
fn append_status(out: &mut Vec<u8>, status: u16) {
    if status < 100 {
        out.extend_from_slice(if status < 10 { b"00" } else { b"0" });
    }
    append_number(out, status.into());
}

/// A decimal number.
fn append_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = digit(number);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Seconds as JavaScript prints whole milliseconds divided by 1000: at most three decimals, no
/// padding. Rounded to the nearest millisecond, half of one upwards, so that a time below half a
/// millisecond is `0`.
fn append_seconds(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX - 500);
    let milliseconds = micros.saturating_add(500) / 1_000;
    append_number(out, milliseconds / 1_000);
    let fraction = milliseconds % 1_000;
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

/// Escapes as nginx does by default (`log_format`, `escape=default`): quote, backslash, and bytes
/// below 32 or above 126 become `\xHH`.
fn append_escaped(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while let Some(at) = bytes.iter().position(|&byte| needs_escape(byte)) {
        let byte = bytes[at];
        out.extend_from_slice(&bytes[..at]);
        let high = DIGITS[usize::from(byte >> 4)];
        let low = DIGITS[usize::from(byte & 15)];
        out.extend_from_slice(&[b'\\', b'x', high, low]);
        bytes = &bytes[at + 1..];
    }
    out.extend_from_slice(bytes);
}

/// Whether a byte may not stand in a quoted field as it is.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, 0..=31 | 127..=255 | b'"' | b'\\')
}

#[cfg(test)]
mod tests;
