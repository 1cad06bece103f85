//! What each variable of a template prints. Pure; appends to the caller's buffer.

mod tls;
mod tunnel;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::Process;
use super::clock::{Clock, since_epoch};
use super::mask::{Veil, split_query};
use super::text::{
    append_address, append_fraction, append_mapped, append_microseconds, append_milliseconds,
    append_number, append_status,
};
use crate::config::Variable;
use crate::telemetry::{AttemptRecord, Record};

/// Everything that a value may be made from.
pub(super) struct Source<'a> {
    pub(super) record: &'a Record<'a>,
    pub(super) process: &'a Process,
    pub(super) veil: Veil<'a>,
}

impl Source<'_> {
    /// Appends the value of a variable; whether there is one. Nothing is appended where not.
    pub(super) fn append(&self, out: &mut Vec<u8>, variable: &Variable, clock: &mut Clock) -> bool {
        let Self {
            record,
            process,
            veil,
        } = *self;
        let ended = record.arrived + record.total;
        match variable {
            Variable::TimeLocal => {
                out.extend_from_slice(clock.common(ended));
                out.extend_from_slice(b" +0000");
            }
            Variable::TimeIso8601 => {
                out.extend_from_slice(clock.iso(ended));
                out.extend_from_slice(b"+00:00");
            }
            Variable::Msec => append_milliseconds(out, since_epoch(ended)),
            Variable::Arrived => append_rfc3339(out, record.arrived, clock),
            Variable::RequestTime => append_milliseconds(out, record.total),
            Variable::Duration => append_microseconds(out, record.total),
            Variable::Status => append_status(out, record.logged_status()),
            Variable::BytesSent => append_number(out, record.bytes_sent),
            Variable::BodyBytesSent => append_number(out, record.body_bytes_sent),
            Variable::RequestLength => append_number(out, record.bytes_received),
            Variable::Connection => append_number(out, record.connection),
            Variable::ConnectionRequests => append_number(out, record.connection_requests),
            Variable::RemoteAddr => append_address(out, record.client.to_canonical()),
            Variable::Client => append_mapped(out, record.client),
            Variable::PeerAddr => append_address(out, record.peer.ip().to_canonical()),
            Variable::PeerPort => append_number(out, record.peer.port().into()),
            Variable::RemotePort => return append_port(out, record.client_port()),
            Variable::ProxiedAddr => return append_ip(out, record.proxied_from),
            Variable::ProxiedPort => return append_port(out, record.proxied_from.map(port)),
            Variable::ProxiedServerAddr => return append_ip(out, record.proxied_to),
            Variable::ProxiedServerPort => return append_port(out, record.proxied_to.map(port)),
            Variable::ServerAddr => append_address(out, record.local.ip().to_canonical()),
            Variable::ServerPort => append_number(out, record.local.port().into()),
            Variable::Hostname => veil.plain(out, process.hostname.as_bytes()),
            Variable::Pid => append_number(out, process.pid.into()),
            Variable::Worker => append_number(out, process.worker as u64),
            Variable::End => out.extend_from_slice(record.end.as_bytes()),
            Variable::TraceId => match record.trace {
                Some(trace) => out.extend_from_slice(&trace.id.hex()),
                None => return false,
            },
            Variable::SpanId => match record.trace.and_then(|trace| trace.span) {
                Some(span) => out.extend_from_slice(&span.hex()),
                None => return false,
            },
            Variable::RequestCompletion if record.end == "ok" => out.extend_from_slice(b"OK"),
            _ => {
                return self.of_tls(out, variable)
                    || self.of_tunnel(out, variable)
                    || self.of_request(out, variable)
                    || self.of_route(out, variable);
            }
        }
        true
    }

    /// Values of the request itself.
    fn of_request(&self, out: &mut Vec<u8>, variable: &Variable) -> bool {
        let Self { record, veil, .. } = *self;
        match variable {
            Variable::Host => return self.text(out, record.host),
            Variable::Referer if record.referer.is_empty() => return false,
            Variable::Referer => return veil.referer(out, record.referer),
            Variable::UserAgent if record.user_agent.is_empty() => return false,
            Variable::UserAgent => return veil.agent(out, record.user_agent),
            Variable::Header(name) => return self.header(out, name),
            Variable::Cookie(name) => {
                let mut cookies = record.header(&http::header::COOKIE);
                return cookies.any(|header| veil.cookie(out, header, name));
            }
            Variable::RemoteUser => {
                let login = record.header(&http::header::AUTHORIZATION).next();
                return login.is_some_and(|login| veil.user(out, login));
            }
            _ => {}
        }
        let Some(request) = record.request else {
            return false;
        };
        let (before, query) = split_query(request.target);
        match variable {
            Variable::Request => {
                veil.plain(out, request.method.as_bytes());
                out.push(b' ');
                veil.url(out, request.target);
                out.extend_from_slice(b" HTTP/");
                veil.plain(out, request.version.as_bytes());
            }
            Variable::RequestMethod => veil.plain(out, request.method.as_bytes()),
            Variable::RequestUri => veil.url(out, request.target),
            Variable::ServerProtocol => {
                out.extend_from_slice(b"HTTP/");
                veil.plain(out, request.version.as_bytes());
            }
            Variable::Uri => veil.url(out, path_of(before)),
            Variable::IsArgs if query.is_some_and(|query| !query.is_empty()) => out.push(b'?'),
            Variable::Args => match query {
                Some(query) => veil.query(out, b"", query),
                None => return false,
            },
            Variable::Argument(name) => return veil.argument(out, request.target, name),
            _ => return false,
        }
        true
    }

    /// Values of the route and of the backends.
    fn of_route(&self, out: &mut Vec<u8>, variable: &Variable) -> bool {
        let Self { record, .. } = *self;
        let last = record.attempts.last();
        match (variable, record.route, last) {
            (Variable::Vhost, route, _) => return self.text(out, route.map(|r| r.vhost)),
            (Variable::Frontend, route, _) => return self.text(out, route.map(|r| r.key)),
            (Variable::RouteSource, Some(route), _) => {
                out.extend_from_slice(route.source.as_bytes())
            }
            (Variable::RouteAge, Some(route), _) => append_microseconds(out, route.age),
            (Variable::RedisTime, Some(route), _) => append_microseconds(out, route.read),
            (Variable::LookupTime, ..) => match record.lookup {
                Some(lookup) => append_microseconds(out, lookup.took),
                None => return false,
            },
            (Variable::ProxyTime, ..) => append_microseconds(out, record.proxy_time()),
            (Variable::BackendTime, ..) => append_milliseconds(out, record.backend_time()),
            (Variable::Attempts, ..) => append_number(out, record.attempts.len() as u64),
            (Variable::BackendId, _, Some(last)) => append_number(out, last.id as u64),
            (Variable::BackendUrl, _, last) => return self.text(out, last.map(|last| last.url)),
            _ => return self.of_attempts(out, variable),
        }
        true
    }

    /// Lists with one value an attempt, as nginx prints them: `, ` between, `-` for none.
    fn of_attempts(&self, out: &mut Vec<u8>, variable: &Variable) -> bool {
        let print: fn(&Self, &mut Vec<u8>, &AttemptRecord<'_>) -> bool = match variable {
            Variable::UpstreamAddr => Self::upstream_addr,
            Variable::UpstreamStatus => |_, out, attempt| {
                attempt
                    .status
                    .map(|status| append_status(out, status))
                    .is_some()
            },
            Variable::UpstreamConnectTime => |_, out, attempt| {
                let time = attempt.connect_time();
                time.map(|time| append_milliseconds(out, time)).is_some()
            },
            Variable::UpstreamHeaderTime => |_, out, attempt| {
                let time = attempt.headed;
                time.map(|time| append_milliseconds(out, time)).is_some()
            },
            Variable::UpstreamEnd => |this, out, attempt| {
                let failure = Some(this.record.end_of(attempt)).filter(|end| *end != "ok");
                this.text(out, failure)
            },
            Variable::UpstreamResolveTime => |_, out, attempt| {
                let time = attempt.resolved;
                time.map(|time| append_microseconds(out, time)).is_some()
            },
            Variable::UpstreamWaitTime => |_, out, attempt| {
                append_microseconds(out, attempt.waited);
                true
            },
            Variable::UpstreamResponseTime => |_, out, attempt| {
                append_milliseconds(out, attempt.took);
                true
            },
            _ => return false,
        };
        for (index, attempt) in self.record.attempts.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            if !print(self, out, attempt) {
                out.push(b'-');
            }
        }
        !self.record.attempts.is_empty()
    }

    /// The address; that of the URL where none was found for its name.
    fn upstream_addr(&self, out: &mut Vec<u8>, attempt: &AttemptRecord<'_>) -> bool {
        match attempt.peer {
            // A write to a vector cannot fail.
            Some(peer) => write!(out, "{peer}").is_ok(),
            None => {
                let (_, rest) = attempt.url.split_once("://").unwrap_or(("", attempt.url));
                self.veil.plain(out, rest.trim_end_matches('/').as_bytes());
                true
            }
        }
    }

    /// All lines of a header, joined (RFC 9110 §5.3).
    fn header(&self, out: &mut Vec<u8>, name: &http::HeaderName) -> bool {
        let between: &[u8] = if *name == http::header::COOKIE {
            b"; "
        } else {
            b", "
        };
        let mut is_there = false;
        for value in self.record.header(name) {
            if is_there {
                out.extend_from_slice(between);
            }
            is_there |= self.veil.header(out, name, value);
        }
        is_there
    }

    fn text(&self, out: &mut Vec<u8>, text: Option<&str>) -> bool {
        text.map(|text| self.veil.plain(out, text.as_bytes()))
            .is_some()
    }
}

fn port(address: SocketAddr) -> u16 {
    address.port()
}

fn append_port(out: &mut Vec<u8>, port: Option<u16>) -> bool {
    port.map(|port| append_number(out, port.into())).is_some()
}

fn append_ip(out: &mut Vec<u8>, address: Option<SocketAddr>) -> bool {
    let ip = address.map(|address| address.ip().to_canonical());
    ip.map(|ip| append_address(out, ip)).is_some()
}

/// The path of a target in origin or absolute form (RFC 9112 §3.2).
fn path_of(target: &[u8]) -> &[u8] {
    if target.starts_with(b"/") {
        return target;
    }
    let Some(scheme) = target.windows(3).position(|window| window == b"://") else {
        return target;
    };
    let rest = &target[scheme + 3..];
    match rest.iter().position(|&byte| byte == b'/') {
        Some(at) => &rest[at..],
        None => b"/",
    }
}

/// `2026-11-22T05:01:23.456Z` (RFC 3339)
pub(super) fn append_rfc3339(out: &mut Vec<u8>, moment: SystemTime, clock: &mut Clock) {
    out.extend_from_slice(clock.iso(moment));
    append_fraction(out, since_epoch(moment).subsec_millis().into(), 100);
    out.push(b'Z');
}

#[cfg(test)]
mod tests;
