//! Tests of `telemetry::access_log::format`.

use serde_json::{Value as Json, json};

use super::*;
use crate::config::{Escape, Syslog};
use crate::telemetry::RequestLine;
use crate::telemetry::record::samples::{record, route};

fn process() -> Process {
    Process {
        hostname: "box".to_owned(),
        pid: 77,
        worker: 3,
    }
}

fn line_of(format: &str, change: impl FnOnce(&mut AccessLog), record: &Record<'_>) -> String {
    let mut log = AccessLog::plain(Target::Stdout);
    log.format = LogFormat::compile(format).unwrap();
    change(&mut log);
    let mut out = Vec::new();
    Formatter::new(&log, &process()).append(&mut out, record, &process());
    String::from_utf8(out).unwrap()
}

fn line(format: &str, record: &Record<'_>) -> String {
    line_of(format, |_| {}, record)
}

/// A head that was refused.
fn refused<'a>() -> Record<'a> {
    Record {
        request: None,
        host: None,
        route: None,
        lookup: None,
        attempts: &[],
        referer: b"",
        user_agent: b"",
        status: 0,
        end: "bad_request",
        ..record()
    }
}

#[test]
fn named_formats_are_those_of_their_products() {
    let time = "[22/Nov/2026:05:01:23 +0000]";
    let table = [
        (
            "hipache",
            format!(
                "::ffff:127.0.0.1 - - {time} \"GET /x?y=1 HTTP/1.1\" 200 101 \"http://ref/\" \"UA/1\" \"id-a.test\" 0.012 0.006\n"
            ),
            format!("::ffff:127.0.0.1 - - {time} \"-\" 000 101 \"\" \"\" \"-\" 0.012 0\n"),
        ),
        (
            "combined",
            format!(
                "127.0.0.1 - - {time} \"GET /x?y=1 HTTP/1.1\" 200 4 \"http://ref/\" \"UA/1\"\n"
            ),
            format!("127.0.0.1 - - {time} \"-\" 000 4 \"-\" \"-\"\n"),
        ),
        (
            "planb",
            format!(
                "::ffff:127.0.0.1 - - {time} \"GET /x HTTP/1.1\" 200 4 \"http://ref/\" \"UA/1\" \"X-Request-ID:\" \"a.test\" \"\" 0.012 0.006\n"
            ),
            format!(
                "::ffff:127.0.0.1 - - {time} \"  \" 000 4 \"\" \"\" \"X-Request-ID:\" \"\" \"\" 0.012 0.000\n"
            ),
        ),
    ];
    for (format, whole, bare) in table {
        assert_eq!(line(format, &record()), whole, "{format}");
        assert_eq!(line(format, &refused()), bare, "{format}");
    }
}

#[test]
fn json_is_flat_with_numbers_text_and_null() {
    let read = |record: &Record<'_>| -> Json {
        let line = line("json", record);
        assert_eq!(line.matches('\n').count(), 1);
        serde_json::from_str(&line).unwrap()
    };
    let whole = read(&record());
    let bare = read(&refused());
    let table = [
        (
            "time",
            json!("2026-11-22T05:01:23.000Z"),
            json!("2026-11-22T05:01:23.000Z"),
        ),
        ("status", json!(200), json!(0)),
        ("target", json!("/x?y=1"), Json::Null),
        ("duration", json!(0.012), json!(0.012)),
        ("backend_id", json!(0), Json::Null),
        ("upstream_status", json!("200"), Json::Null),
        ("redis_time", json!(0.0003), Json::Null),
        ("end", json!("ok"), json!("bad_request")),
        ("pid", json!(77), json!(77)),
    ];
    for (field, of_whole, of_bare) in table {
        assert_eq!(whole[field], of_whole, "{field}");
        assert_eq!(bare[field], of_bare, "{field}");
    }
    let fields = whole.as_object().unwrap();
    assert!(
        fields
            .values()
            .all(|value| !value.is_object() && !value.is_array())
    );
    assert_eq!(fields.len(), bare.as_object().unwrap().len());
}

#[test]
fn arbitrary_bytes_of_a_peer_leave_every_line_whole() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..1_000 {
        let mut field = || -> Vec<u8> { (0..random.usize(..30)).map(|_| random.u8(..)).collect() };
        let (target, referer, agent) = (field(), field(), field());
        let vhost = String::from_utf8_lossy(&field()).into_owned();
        let hostile = Record {
            request: Some(RequestLine {
                method: "GET",
                target: &target,
                version: "1.1",
            }),
            referer: &referer,
            user_agent: &agent,
            route: Some(route(&vhost)),
            ..record()
        };
        let json = line("json", &hostile);
        let read: Json = serde_json::from_str(&json).unwrap();
        assert_eq!(read["vhost"], json!(vhost));
        for format in ["hipache", "planb", "combined", "json"] {
            let line = line(format, &hostile);
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{format}: {line}");
        }
    }
}

#[test]
fn the_escape_decides_what_stands_for_nothing() {
    let table = [
        (Escape::Default, "[-]\n"),
        (Escape::Json, "[]\n"),
        (Escape::None, "[]\n"),
    ];
    for (escape, expected) in table {
        let told = |log: &mut AccessLog| assert!(log.format.escape_as(escape));
        assert_eq!(
            line_of("[$http_referer]", told, &refused()),
            expected,
            "{escape:?}"
        );
    }
}

#[test]
fn a_message_to_syslog_has_its_header() {
    let syslog = |log: &mut AccessLog| log.target = Target::Syslog(Syslog::Local("/x".into()));
    assert_eq!(
        line_of("$status", syslog, &record()),
        "<190>1 2026-11-22T05:01:23.012Z box hipache 77 - - 200\n"
    );
}
