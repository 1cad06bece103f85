//! Tests of `telemetry::access_log::line`.

use super::*;
use crate::telemetry::RequestLine;
use crate::telemetry::record::samples::{self, record};

fn line(record: &Record<'_>) -> String {
    let mut out = Vec::new();
    append(&mut out, record, &Masks::default(), &mut Clock::new());
    out.push(b'\n');
    String::from_utf8(out).unwrap()
}

#[test]
fn lines_are_those_of_the_original() {
    let head = "- - [22/Nov/2026:05:01:23 +0000]";
    let plain = record();
    let cases = [
        (
            plain,
            format!(
                "::ffff:127.0.0.1 {head} \"GET /x?y=1 HTTP/1.1\" 200 101 \"http://ref/\" \"UA/1\" \"id-a.test\" 0.012 0.006\n"
            ),
        ),
        (
            Record {
                client: "::1".parse().unwrap(),
                referer: b"",
                user_agent: b"",
                bytes_sent: u64::MAX,
                ..plain
            },
            format!(
                "::1 {head} \"GET /x?y=1 HTTP/1.1\" 200 18446744073709551615 \"\" \"\" \"id-a.test\" 0.012 0.006\n"
            ),
        ),
        (
            Record {
                client: "2001:db8:0:0:0:0:0:1".parse().unwrap(),
                request: None,
                status: 400,
                route: None,
                total: Duration::ZERO,
                attempts: &[],
                ..plain
            },
            format!("2001:db8::1 {head} \"-\" 400 101 \"http://ref/\" \"UA/1\" \"-\" 0 0\n"),
        ),
        (
            Record {
                client: "::ffff:10.1.2.3".parse().unwrap(),
                status: 0,
                route: Some(samples::route("a\"b\\c\n\x7fü ~")),
                ..plain
            },
            format!(
                "::ffff:10.1.2.3 {head} \"GET /x?y=1 HTTP/1.1\" 000 101 \"http://ref/\" \"UA/1\" \"a\\x22b\\x5Cc\\x0A\\x7F\\xC3\\xBC ~\" 0.012 0.006\n"
            ),
        ),
    ];
    for (record, expected) in cases {
        assert_eq!(line(&record), expected);
    }
}

#[test]
fn seconds_are_javascript_numbers_of_whole_milliseconds() {
    let cases = [
        (0, "0"),
        (499, "0"),
        (500, "0.001"),
        (1_000, "0.001"),
        (1_499, "0.001"),
        (12_000, "0.012"),
        (10_000, "0.01"),
        (100_000, "0.1"),
        (500_000, "0.5"),
        (510_000, "0.51"),
        (999_499, "0.999"),
        (999_500, "1"),
        (1_000_000, "1"),
        (1_001_000, "1.001"),
        (61_050_000, "61.05"),
        (86_400_000_000, "86400"),
    ];
    for (micros, expected) in cases {
        let mut out = Vec::new();
        append_seconds(&mut out, Duration::from_micros(micros));
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{micros} µs");
    }
    let mut out = Vec::new();
    append_seconds(&mut out, Duration::MAX);
    assert!(
        out.iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.')
    );
}

/// Takes a quoted field off the front and undoes its escapes.
fn quoted<'a>(rest: &'a str, end: &str) -> (Vec<u8>, &'a str) {
    let rest = rest.strip_prefix('"').expect("an opening quote");
    let (field, rest) = rest.split_once(end).expect("a closing quote");
    let mut bytes = Vec::new();
    let mut parts = field.split("\\x");
    bytes.extend_from_slice(parts.next().unwrap().as_bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    (bytes, rest)
}

#[test]
fn every_field_of_a_hostile_record_can_be_split_back() {
    let mut random = fastrand::Rng::with_seed(7);
    let favourites = b"\"\\ \n\r\0x[]-HTTP/1.1";
    for round in 0..2_000 {
        let mut field = || -> Vec<u8> {
            let length = random.usize(..40);
            let any = |random: &mut fastrand::Rng| match random.bool() {
                true => random.u8(..),
                false => favourites[random.usize(..favourites.len())],
            };
            (0..length).map(|_| any(&mut random)).collect()
        };
        let (target, referer, agent) = (field(), field(), field());
        // An identifier has become text before it gets here.
        let vhost = String::from_utf8_lossy(&field()).into_owned();
        let record = Record {
            request: Some(RequestLine {
                method: "GET",
                target: &target,
                version: "1.0",
            }),
            referer: &referer,
            user_agent: &agent,
            route: Some(samples::route(&vhost)),
            ..record()
        };
        let line = line(&record);
        let line = line.strip_suffix('\n').expect("a line break at the end");
        assert!(
            line.bytes().all(|byte| (32..127).contains(&byte)),
            "{line:?}"
        );
        let (_, rest) = line.split_once("] ").unwrap();
        let (request, rest) = quoted(rest, "\" ");
        assert_eq!(
            request,
            [b"GET ", &target[..], b" HTTP/1.0"].concat(),
            "round {round}"
        );
        let (numbers, rest) = rest.split_at(rest.find('"').unwrap());
        assert_eq!(numbers, "200 101 ");
        let (found_referer, rest) = quoted(rest, "\" ");
        let (found_agent, rest) = quoted(rest, "\" ");
        let (found_vhost, rest) = quoted(rest, "\" ");
        assert_eq!(
            (found_referer, found_agent, found_vhost),
            (referer, agent, vhost.into_bytes())
        );
        assert_eq!(rest, "0.012 0.006");
    }
}
