//! Values as text, and what makes bytes of peers harmless. Appends; allocates nothing else.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::Escape;

pub(super) const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The last decimal digit of a number.
pub(super) fn digit(value: u64) -> u8 {
    DIGITS[(value % 10) as usize]
}

/// An address, as RFC 5952 writes those of IPv6.
pub(in super::super) fn append_address(out: &mut Vec<u8>, address: IpAddr) {
    let address = match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => {
            // A write to a vector cannot fail.
            let _ = write!(out, "{address}");
            return;
        }
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        if octet > 99 {
            out.push(digit((octet / 100).into()));
        }
        if octet > 9 {
            out.push(digit((octet / 10).into()));
        }
        out.push(digit(octet.into()));
    }
}

/// IPv4 with `::ffff:` in front, as people's parsers of the original's log expect it.
pub(super) fn append_mapped(out: &mut Vec<u8>, address: IpAddr) {
    if address.is_ipv4() {
        out.extend_from_slice(b"::ffff:");
    }
    append_address(out, address);
}

/// Three digits; `000`, as nginx writes it, where no status was sent.
pub(super) fn append_status(out: &mut Vec<u8>, status: u16) {
    let status = u64::from(status);
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status)]);
}

/// A decimal number.
pub(super) fn append_number(out: &mut Vec<u8>, mut number: u64) {
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

/// Seconds with three decimals, as nginx prints them: what is beyond is cut off.
pub(super) fn append_milliseconds(out: &mut Vec<u8>, duration: Duration) {
    append_number(out, duration.as_secs());
    append_fraction(out, duration.subsec_millis().into(), 100);
}

/// Seconds with six decimals.
pub(super) fn append_microseconds(out: &mut Vec<u8>, duration: Duration) {
    append_number(out, duration.as_secs());
    append_fraction(out, duration.subsec_micros().into(), 100_000);
}

/// A point and the decimals, of which the first counts so much.
pub(super) fn append_fraction(out: &mut Vec<u8>, fraction: u64, mut unit: u64) {
    out.push(b'.');
    while unit > 0 {
        out.push(digit(fraction / unit));
        unit /= 10;
    }
}

/// Bytes of a peer.
pub(super) fn append_escaped(out: &mut Vec<u8>, bytes: &[u8], escape: Escape) {
    match escape {
        Escape::Default => append_default(out, bytes),
        Escape::Json => append_json(out, bytes),
        // A line is one line, whatever stands in it.
        Escape::None => append_hex_where(out, bytes, |byte| byte == b'\n'),
    }
}

/// Escapes as nginx does by default (`log_format`, `escape=default`): quote, backslash, and bytes
/// below 32 or above 126 become `\xHH`.
pub(super) fn append_default(out: &mut Vec<u8>, bytes: &[u8]) {
    append_hex_where(
        out,
        bytes,
        |byte| matches!(byte, 0..=31 | 127..=255 | b'"' | b'\\'),
    );
}

fn append_hex_where(out: &mut Vec<u8>, mut bytes: &[u8], needs_escape: impl Fn(u8) -> bool) {
    // Nearly always there is nothing to escape, and a look at all bytes looks at many at a time.
    let is_plain = bytes
        .iter()
        .fold(true, |plain, &byte| plain & !needs_escape(byte));
    if is_plain {
        return out.extend_from_slice(bytes);
    }
    while let Some(at) = bytes.iter().position(|&byte| needs_escape(byte)) {
        out.extend_from_slice(&bytes[..at]);
        append_hex(out, b"\\x", bytes[at]);
        bytes = &bytes[at + 1..];
    }
    out.extend_from_slice(bytes);
}

/// The inside of a JSON string (RFC 8259 §7), always valid: a byte that is no UTF-8 becomes the
/// four characters `\xHH`, so that it can be told from its neighbours.
fn append_json(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        append_json_text(out, chunk.valid().as_bytes());
        for &byte in chunk.invalid() {
            append_hex(out, b"\\\\x", byte);
        }
    }
}

fn append_json_text(out: &mut Vec<u8>, mut text: &[u8]) {
    let needs_escape = |byte: &u8| matches!(byte, 0..=31 | 127 | b'"' | b'\\');
    while let Some(at) = text.iter().position(needs_escape) {
        out.extend_from_slice(&text[..at]);
        match text[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => append_hex(out, b"\\u00", byte),
        }
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

fn append_hex(out: &mut Vec<u8>, before: &[u8], byte: u8) {
    out.extend_from_slice(before);
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8], escape: Escape) -> String {
        let mut out = Vec::new();
        append_escaped(&mut out, bytes, escape);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_escape_makes_bytes_harmless_in_its_way() {
        let table: [(&[u8], &str, &str, &str); 4] = [
            (b"plain", "plain", "plain", "plain"),
            (b"a\"b\\c", "a\\x22b\\x5Cc", "a\\\"b\\\\c", "a\"b\\c"),
            (
                b"\n\t\x01",
                "\\x0A\\x09\\x01",
                "\\n\\t\\u0001",
                "\\x0A\t\x01",
            ),
            ("ü".as_bytes(), "\\xC3\\xBC", "ü", "ü"),
        ];
        for (bytes, default, json, none) in table {
            assert_eq!(escaped(bytes, Escape::Default), default);
            assert_eq!(escaped(bytes, Escape::Json), json);
            assert_eq!(escaped(bytes, Escape::None), none);
        }
    }

    #[test]
    fn arbitrary_bytes_are_valid_json_and_keep_what_is_text() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..random.usize(..30)).map(|_| random.u8(..)).collect();
            let quoted = format!("\"{}\"", escaped(&bytes, Escape::Json));
            let read: String = serde_json::from_str(&quoted).unwrap();
            let mut expected = String::new();
            for chunk in bytes.utf8_chunks() {
                expected += chunk.valid();
                for byte in chunk.invalid() {
                    expected += &format!("\\x{byte:02X}");
                }
            }
            assert_eq!(read, expected, "{bytes:?}");
        }
    }

    #[test]
    fn addresses_are_written_as_the_library_writes_them() {
        for text in [
            "0.9.10.99",
            "100.101.199.255",
            "2001:db8::1",
            "::ffff:1.2.3.4",
        ] {
            let mut out = Vec::new();
            append_address(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn seconds_have_their_decimals() {
        let table = [
            (0, "0.000", "0.000000"),
            (999, "0.000", "0.000999"),
            (12_345_678, "12.345", "12.345678"),
        ];
        for (micros, millis, all) in table {
            let duration = Duration::from_micros(micros);
            let mut out = Vec::new();
            append_milliseconds(&mut out, duration);
            assert_eq!(out, millis.as_bytes());
            out.clear();
            append_microseconds(&mut out, duration);
            assert_eq!(out, all.as_bytes());
        }
    }
}
