//! Tests of `telemetry::access_log::values`.

use std::time::Duration;

use super::*;
use crate::config::{Escape, LogFormat, Masks};
use crate::telemetry::RequestLine;
use crate::telemetry::record::samples::{ANSWERED, record};

/// The value of the one variable of a template; `None` where there is none.
fn value(record: &Record<'_>, template: &str) -> Option<String> {
    let format = LogFormat::compile(template).unwrap();
    let variable = format.variables().next().unwrap().clone();
    let process = Process {
        hostname: "box".to_owned(),
        pid: 77,
        worker: 3,
    };
    let source = Source {
        record,
        process: &process,
        veil: Veil {
            masks: &Masks::default(),
            escape: Escape::Default,
        },
    };
    let mut out = Vec::new();
    let is_there = source.append(&mut out, &variable, &mut Clock::new());
    assert!(is_there || out.is_empty(), "{template}");
    is_there.then(|| String::from_utf8(out).unwrap())
}

fn check(record: &Record<'_>, table: &[(&str, Option<&str>)]) {
    for (template, expected) in table {
        assert_eq!(value(record, template).as_deref(), *expected, "{template}");
    }
}

#[test]
fn values_of_the_request_are_those_of_nginx() {
    let headers = [
        ("x-two", "a"),
        ("x-two", "b"),
        ("cookie", "s=1; t=2"),
        ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ];
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let plain = Record {
        headers: &headers,
        ..record()
    };
    check(
        &plain,
        &[
            ("$request", Some("GET /x?y=1 HTTP/1.1")),
            ("$request_method", Some("GET")),
            ("$request_uri", Some("/x?y=1")),
            ("$uri", Some("/x")),
            ("$args", Some("y=1")),
            ("$is_args", Some("?")),
            ("$arg_Y", Some("1")),
            ("$arg_z", None),
            ("$server_protocol", Some("HTTP/1.1")),
            ("$status", Some("200")),
            ("$bytes_sent", Some("101")),
            ("$body_bytes_sent", Some("4")),
            ("$request_length", Some("80")),
            ("$request_time", Some("0.012")),
            ("$time_local", Some("22/Nov/2026:05:01:23 +0000")),
            ("$time_iso8601", Some("2026-11-22T05:01:23+00:00")),
            ("$msec", Some("1795323683.012")),
            ("$remote_addr", Some("127.0.0.1")),
            ("$remote_port", Some("40000")),
            ("$remote_user", Some("Aladdin")),
            ("$server_addr", Some("127.0.0.1")),
            ("$server_port", Some("80")),
            ("$server_name", Some("a.test")),
            ("$host", Some("a.test")),
            ("$scheme", Some("http")),
            ("$connection", Some("1")),
            ("$connection_requests", Some("1")),
            ("$pid", Some("77")),
            ("$hostname", Some("box")),
            ("$request_completion", Some("OK")),
            ("$http_referer", Some("http://ref/")),
            ("$http_user_agent", Some("UA/1")),
            ("$http_x_two", Some("a, b")),
            ("$http_x_three", None),
            ("$http_cookie", Some("REDACTED")),
            ("$cookie_s", Some("REDACTED")),
            ("$cookie_u", None),
        ],
    );
}

#[test]
fn values_of_ours_tell_where_the_time_went() {
    check(
        &record(),
        &[
            ("$hipache_arrived", Some("2026-11-22T05:01:23.000Z")),
            ("$hipache_duration", Some("0.012000")),
            ("$hipache_client", Some("::ffff:127.0.0.1")),
            ("$hipache_vhost", Some("id-a.test")),
            ("$hipache_frontend", Some("a.test")),
            ("$hipache_backend_id", Some("0")),
            ("$hipache_backend_url", Some("http://127.0.0.1:8080/")),
            ("$hipache_backend_time", Some("0.006")),
            ("$hipache_attempts", Some("1")),
            ("$hipache_route_source", Some("redis")),
            ("$hipache_route_age", Some("0.000000")),
            ("$hipache_redis_time", Some("0.000300")),
            ("$hipache_lookup_time", Some("0.000300")),
            // Ready after 11 ms, of which the backend took 5.
            ("$hipache_proxy_time", Some("0.006000")),
            ("$hipache_end", Some("ok")),
            ("$hipache_worker", Some("3")),
            ("$hipache_connection", Some("1")),
        ],
    );
}

#[test]
fn what_a_refused_head_does_not_have_is_absent() {
    let refused = Record {
        request: None,
        host: None,
        route: None,
        lookup: None,
        attempts: &[],
        referer: b"",
        user_agent: b"",
        end: "bad_request",
        client: [10, 0, 0, 1].into(),
        ..record()
    };
    let absent = [
        "$request",
        "$uri",
        "$args",
        "$host",
        "$http_referer",
        "$http_user_agent",
        "$remote_user",
        "$upstream_addr",
        "$upstream_status",
        "$hipache_vhost",
        "$hipache_backend_id",
        "$hipache_backend_url",
        "$hipache_route_age",
        "$hipache_lookup_time",
        "$remote_port",
        "$request_completion",
    ];
    check(&refused, &absent.map(|template| (template, None)));
    check(
        &refused,
        &[
            ("$realip_remote_addr", Some("127.0.0.1")),
            ("$hipache_attempts", Some("0")),
        ],
    );
}

#[test]
fn attempts_are_listed_as_nginx_lists_them() {
    let refused = AttemptRecord {
        id: 1,
        url: "http://10.0.0.2:81/",
        connected: Some(Duration::from_millis(1)),
        headed: None,
        took: Duration::from_micros(1_999),
        status: None,
        failure: Some("connection_refused"),
        ..ANSWERED
    };
    let reused = AttemptRecord {
        peer: Some(([10, 0, 0, 1], 80).into()),
        connected: None,
        is_reused: true,
        resolved: Some(Duration::from_micros(7)),
        ..ANSWERED
    };
    let attempts = [refused, ANSWERED, reused];
    let retried = Record {
        attempts: &attempts,
        ..record()
    };
    check(
        &retried,
        &[
            (
                "$upstream_addr",
                Some("10.0.0.2:81, 127.0.0.1:8080, 10.0.0.1:80"),
            ),
            ("$upstream_status", Some("-, 200, 200")),
            ("$upstream_connect_time", Some("-, 0.000, 0.000")),
            ("$upstream_header_time", Some("-, 0.005, 0.005")),
            ("$upstream_response_time", Some("0.001, 0.006, 0.006")),
            ("$hipache_upstream_end", Some("connection_refused, -, -")),
            ("$hipache_upstream_resolve_time", Some("-, -, 0.000007")),
            (
                "$hipache_upstream_wait_time",
                Some("0.000000, 0.000000, 0.000000"),
            ),
            ("$hipache_attempts", Some("3")),
        ],
    );
}

#[test]
fn the_path_is_found_in_every_form_of_target() {
    let table = [
        ("/a?b", "/a"),
        ("http://h/a?b", "/a"),
        ("http://h?b", "/"),
        ("http://u:p@h", "/"),
        ("*", "*"),
        ("h:443", "h:443"),
    ];
    for (target, expected) in table {
        let request = RequestLine {
            method: "GET",
            target: target.as_bytes(),
            version: "1.1",
        };
        let record = Record {
            request: Some(request),
            ..record()
        };
        assert_eq!(
            value(&record, "$uri").as_deref(),
            Some(expected),
            "{target}"
        );
    }
}
