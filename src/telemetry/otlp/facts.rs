//! What the conventions want to be told of a request, an attempt and their ends.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use super::super::{AttemptRecord, Record};
use super::attributes::Attributes;
use super::redact;
use super::wire::Writer;

/// Fields of `Span`, of `Span.Event` and of `Status`.
const EVENT: u8 = 11;
const STATUS: u8 = 15;
const EVENT_TIME: u8 = 1;
const EVENT_NAME: u8 = 2;
const STATUS_CODE: u8 = 3;
/// `Status.StatusCode`.
const ERROR: u64 = 2;

/// The name of a span: there is no route with a low number of values, so the method alone, and
/// `HTTP` for one that is not known.
pub(super) fn name_of(method: &str) -> &str {
    if method == "_OTHER" { "HTTP" } else { method }
}

/// Nanoseconds since 1970 of a moment after the arrival.
pub(super) fn nanoseconds(record: &Record<'_>, after: Duration) -> u64 {
    let since = record
        .arrived
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        + after;
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Why a span counts as failed.
pub(super) enum ErrorType {
    /// A word of `error::End`.
    Word(&'static str),
    /// The status says it.
    Status(u16),
}

/// The request failed: its end says so, or a status of the server's. Not for a tunnel, whose end is
/// told by `hipache.end`.
pub(super) fn server_error(record: &Record<'_>) -> Option<ErrorType> {
    match (record.status, record.end) {
        _ if record.tunnel.is_some() => None,
        (500.., "ok") => Some(ErrorType::Status(record.status)),
        (_, "ok") => None,
        (_, end) => Some(ErrorType::Word(end)),
    }
}

/// Whether a failed request is a failure of the server's: of a 4xx, and of a client that left, the
/// status of a SERVER span stays unset.
pub(super) fn is_server_failure(record: &Record<'_>) -> bool {
    !matches!(record.status, 400..=499) && !is_clients_choice(record.end)
}

/// Ends that the client brought about.
fn is_clients_choice(end: &str) -> bool {
    matches!(end, "client_gone" | "client_timeout")
}

/// Why an attempt failed. When our client leaves, its attempt is cancelled and not an error.
pub(super) fn attempt_error(
    record: &Record<'_>,
    attempt: &AttemptRecord<'_>,
    index: usize,
) -> Option<ErrorType> {
    if let Some(word) = attempt.failure {
        return (!is_clients_choice(word)).then_some(ErrorType::Word(word));
    }
    let is_last = index + 1 == record.attempts.len();
    let broke_off = is_last && record.end != "ok" && !is_clients_choice(record.end);
    match attempt.status {
        _ if is_last && record.tunnel.is_some() => None,
        _ if broke_off => Some(ErrorType::Word(record.end)),
        Some(status @ 400..) => Some(ErrorType::Status(status)),
        _ => None,
    }
}

pub(super) fn put_error(put: &mut Attributes<'_, '_>, error: &ErrorType) {
    match error {
        ErrorType::Word(word) => put.text("error.type", word),
        ErrorType::Status(status) => put.text("error.type", &status.to_string()),
    }
}

/// The status of a failed span. No description: `error.type` or the code says it.
pub(super) fn put_failed(span: &mut Writer<'_>) {
    span.nested(STATUS, |status| status.number(STATUS_CODE, ERROR));
}

pub(super) fn put_event(span: &mut Writer<'_>, record: &Record<'_>, name: &str, at: Duration) {
    span.nested(EVENT, |event| {
        event.fixed64(EVENT_TIME, nanoseconds(record, at));
        event.bytes(EVENT_NAME, name.as_bytes());
    });
}

/// The other end of a connection.
pub(super) fn put_peer(put: &mut Attributes<'_, '_>, peer: SocketAddr) {
    put.address("network.peer.address", peer.ip().to_canonical());
    put.number("network.peer.port", peer.port().into());
}

/// What was agreed on with the client, with the handshake's time where the request was the first.
/// `is_told_https`: a trusted proxy said that its client spoke HTTPS.
pub(super) fn put_tls(put: &mut Attributes<'_, '_>, record: &Record<'_>, is_told_https: bool) {
    let is_https = is_told_https || record.tls.is_some();
    put.text("url.scheme", if is_https { "https" } else { "http" });
    let Some(tls) = record.tls else { return };
    put.text("tls.protocol.version", tls.version);
    put.text("tls.cipher", tls.cipher);
    put.flag("tls.resumed", tls.is_resumed);
    if let Some(name) = tls.name {
        put.text("tls.client.server_name", name);
    }
    if record.connection_requests == 1 {
        put.seconds("hipache.client.tls_time", tls.took);
    }
}

/// How it ended; of a tunnel also who closed it, and what a WebSocket said at that.
pub(super) fn put_end(put: &mut Attributes<'_, '_>, record: &Record<'_>) {
    put.text("hipache.end", record.end);
    let Some(tunnel) = record.tunnel else { return };
    if let Some(side) = tunnel.closed_by {
        put.text("hipache.tunnel.closed_by", side);
    }
    if let Some(status) = tunnel.close_status {
        put.number("hipache.websocket.close_status", status.into());
    }
}

/// Where the route came from: with a span of its own when Redis was asked, in attributes otherwise.
pub(super) fn put_route(put: &mut Attributes<'_, '_>, record: &Record<'_>) {
    if let Some(route) = &record.route {
        put.text("hipache.vhost", route.vhost);
        put.text("hipache.frontend", route.key);
        put.text("hipache.route.source", route.source);
        if record.lookup.is_none_or(|lookup| lookup.batch.is_none()) {
            put.seconds("hipache.route.age", route.age);
            put.seconds("hipache.route.read_time", route.read);
        }
    }
}

/// Where an attempt went.
pub(super) fn put_backend(
    put: &mut Attributes<'_, '_>,
    record: &Record<'_>,
    attempt: &AttemptRecord<'_>,
) {
    let (scheme, authority) = redact::scheme(attempt.url).unwrap_or(("http", attempt.url));
    let authority = authority.trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    let is_tls = matches!(scheme, "https" | "h2");
    let default = if is_tls { 443 } else { 80 };
    put.text("server.address", host.trim_matches(['[', ']']));
    put.number("server.port", port.unwrap_or(default));
    put.text("url.full", &full_url(record, attempt));
    if let Some(peer) = attempt.peer {
        put_peer(put, peer);
    }
    let version = match scheme {
        "h2" | "h2c" => "2",
        _ => "1.1",
    };
    put.text("network.protocol.version", version);
    put.number("hipache.backend.id", attempt.id as u64);
}

/// The backend's URL with the target as it was sent on; what its query hides stays hidden.
fn full_url(record: &Record<'_>, attempt: &AttemptRecord<'_>) -> String {
    let base = attempt.url.trim_end_matches('/');
    let target = record.request.map_or(&b""[..], |line| line.target);
    let target: Cow<'_, str> = String::from_utf8_lossy(target);
    let (path, query) = redact::split(&target);
    let mut full = String::with_capacity(base.len() + target.len() + 1);
    full.push_str(base);
    if !path.starts_with('/') {
        full.push('/');
    }
    full.push_str(path);
    if let Some(query) = query {
        full.push('?');
        full.push_str(&redact::query(query));
    }
    full
}

/// How the connection of an attempt was come by.
pub(super) fn put_connection(put: &mut Attributes<'_, '_>, attempt: &AttemptRecord<'_>) {
    put.flag("hipache.connection.reused", attempt.is_reused);
    if !attempt.waited.is_zero() {
        put.seconds("hipache.connection.wait_time", attempt.waited);
    }
    for (key, time) in [
        ("hipache.connection.resolve_time", attempt.resolved),
        ("hipache.connection.connect_time", attempt.connected),
        ("hipache.connection.tls_time", attempt.handshaken),
    ] {
        if let Some(time) = time {
            put.seconds(key, time);
        }
    }
}

/// The code that an error of Redis begins with, such as `LOADING`.
pub(super) fn error_prefix(cause: &str) -> Option<&str> {
    let first = cause.split(' ').next()?;
    let is_code = first.len() > 2 && first.bytes().all(|byte| byte.is_ascii_uppercase());
    is_code.then_some(first)
}
