//! A line of each log as it would look, for who checks a configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use super::Process;
use super::format::Formatter;
use crate::config;
use crate::telemetry::{
    AttemptRecord, Lookup, Record, RequestLine, RouteRecord, SpanId, TraceId, TraceRecord,
};

/// The line of an invented request, retried once, in the format of this log.
pub(crate) fn example_line(log: &config::AccessLog) -> String {
    let process = Process::here(0);
    let mut out = Vec::new();
    let attempts = [refused(), answered()];
    Formatter::new(log, &process).append(&mut out, &record(&attempts), &process);
    String::from_utf8_lossy(out.trim_ascii_end()).into_owned()
}

fn record<'a>(attempts: &'a [AttemptRecord<'a>]) -> Record<'a> {
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    Record {
        peer: SocketAddr::new(client, 51_234),
        local: SocketAddr::from(([198, 51, 100, 1], 80)),
        proxied_from: None,
        proxied_to: None,
        client,
        connection: 42,
        connection_requests: 1,
        // 22 November 2026, 05:01:23.
        arrived: UNIX_EPOCH + Duration::from_millis(1_795_323_683_250),
        total: Duration::from_micros(12_345),
        request: Some(RequestLine {
            method: "GET",
            target: b"/path?q=1&sig=secret",
            version: "1.1",
        }),
        host: Some("www.example.com"),
        referer: b"http://example.com/",
        user_agent: b"curl/8.5.0",
        headers: &[],
        route: Some(RouteRecord {
            key: "*.example.com",
            vhost: "example",
            source: "redis",
            age: Duration::ZERO,
            read: Duration::from_micros(310),
        }),
        lookup: Some(Lookup {
            began: Duration::from_micros(20),
            took: Duration::from_micros(330),
            batch: Some(6),
            peer: None,
            error: None,
        }),
        attempts,
        status: 200,
        responded: Some(Duration::from_micros(12_000)),
        bytes_sent: 1_360,
        body_bytes_sent: 1_204,
        bytes_received: 180,
        end: "ok",
        tls: None,
        tunnel: None,
        trace: Some(TraceRecord {
            id: TraceId(*b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c"),
            span: Some(SpanId(*b"\xb7\xad\x6b\x71\x69\x20\x33\x31")),
            parent: None,
            flags: 1,
            state: b"",
            is_https: false,
            host: None,
            port: None,
            attempts: &[],
        }),
    }
}

fn refused() -> AttemptRecord<'static> {
    AttemptRecord {
        id: 1,
        url: "http://10.0.0.2:8080/",
        peer: Some(SocketAddr::from(([10, 0, 0, 2], 8_080))),
        began: Duration::from_micros(360),
        waited: Duration::ZERO,
        resolved: None,
        connected: None,
        handshaken: None,
        is_reused: false,
        headed: None,
        took: Duration::from_micros(240),
        status: None,
        failure: Some("connection_refused"),
    }
}

fn answered() -> AttemptRecord<'static> {
    AttemptRecord {
        id: 0,
        url: "http://10.0.0.1:8080/",
        peer: Some(SocketAddr::from(([10, 0, 0, 1], 8_080))),
        began: Duration::from_micros(620),
        connected: Some(Duration::from_micros(410)),
        headed: Some(Duration::from_micros(11_200)),
        took: Duration::from_micros(11_700),
        status: Some(200),
        failure: None,
        ..refused()
    }
}
