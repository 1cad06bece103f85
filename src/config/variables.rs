//! The variables of log formats: a closed set, named in one table.
//!
//! nginx's names mean what they mean there; ours begin with `hipache_`. What each prints is in
//! `telemetry::access_log::values`, and for people in `config/README.md`.

use http::HeaderName;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};

/// A value of a finished exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below names each")]
pub enum Variable {
    // nginx's.
    Args,
    BodyBytesSent,
    BytesSent,
    Connection,
    ConnectionRequests,
    Host,
    Hostname,
    IsArgs,
    Msec,
    Pid,
    RemoteAddr,
    RemotePort,
    RemoteUser,
    PeerAddr,
    PeerPort,
    ProxiedAddr,
    ProxiedPort,
    ProxiedServerAddr,
    ProxiedServerPort,
    Request,
    RequestCompletion,
    RequestLength,
    RequestMethod,
    RequestTime,
    RequestUri,
    Scheme,
    SslCipher,
    SslProtocol,
    SslServerName,
    SslSessionReused,
    ServerAddr,
    ServerPort,
    ServerProtocol,
    Status,
    TimeIso8601,
    TimeLocal,
    UpstreamAddr,
    UpstreamConnectTime,
    UpstreamHeaderTime,
    UpstreamResponseTime,
    UpstreamStatus,
    Uri,
    Referer,
    UserAgent,
    /// `$http_NAME`
    Header(HeaderName),
    /// `$cookie_NAME`
    Cookie(Box<str>),
    /// `$arg_NAME`
    Argument(Box<str>),
    // Ours.
    Arrived,
    Attempts,
    BackendId,
    BackendTime,
    BackendUrl,
    Client,
    Duration,
    End,
    Frontend,
    LookupTime,
    ProxyTime,
    RedisTime,
    RouteAge,
    RouteSource,
    SpanId,
    TraceId,
    TunnelClosedBy,
    UpstreamEnd,
    UpstreamResolveTime,
    UpstreamWaitTime,
    Vhost,
    WebsocketClose,
    Worker,
}

/// Every variable with a fixed name.
static NAMES: &[(&str, Variable)] = &[
    ("args", Variable::Args),
    ("body_bytes_sent", Variable::BodyBytesSent),
    ("bytes_sent", Variable::BytesSent),
    ("connection", Variable::Connection),
    ("connection_requests", Variable::ConnectionRequests),
    ("content_length", Variable::Header(CONTENT_LENGTH)),
    ("content_type", Variable::Header(CONTENT_TYPE)),
    ("host", Variable::Host),
    ("hostname", Variable::Hostname),
    ("http_host", Variable::Header(HOST)),
    ("http_referer", Variable::Referer),
    ("http_user_agent", Variable::UserAgent),
    ("is_args", Variable::IsArgs),
    ("msec", Variable::Msec),
    ("pid", Variable::Pid),
    ("query_string", Variable::Args),
    ("proxy_protocol_addr", Variable::ProxiedAddr),
    ("proxy_protocol_port", Variable::ProxiedPort),
    ("proxy_protocol_server_addr", Variable::ProxiedServerAddr),
    ("proxy_protocol_server_port", Variable::ProxiedServerPort),
    ("realip_remote_addr", Variable::PeerAddr),
    ("realip_remote_port", Variable::PeerPort),
    ("remote_addr", Variable::RemoteAddr),
    ("remote_port", Variable::RemotePort),
    ("remote_user", Variable::RemoteUser),
    ("request", Variable::Request),
    ("request_completion", Variable::RequestCompletion),
    ("request_length", Variable::RequestLength),
    ("request_method", Variable::RequestMethod),
    ("request_time", Variable::RequestTime),
    ("request_uri", Variable::RequestUri),
    ("scheme", Variable::Scheme),
    ("ssl_cipher", Variable::SslCipher),
    ("ssl_protocol", Variable::SslProtocol),
    ("ssl_server_name", Variable::SslServerName),
    ("ssl_session_reused", Variable::SslSessionReused),
    ("server_addr", Variable::ServerAddr),
    ("server_name", Variable::Frontend),
    ("server_port", Variable::ServerPort),
    ("server_protocol", Variable::ServerProtocol),
    ("status", Variable::Status),
    ("time_iso8601", Variable::TimeIso8601),
    ("time_local", Variable::TimeLocal),
    ("upstream_addr", Variable::UpstreamAddr),
    ("upstream_connect_time", Variable::UpstreamConnectTime),
    ("upstream_header_time", Variable::UpstreamHeaderTime),
    ("upstream_response_time", Variable::UpstreamResponseTime),
    ("upstream_status", Variable::UpstreamStatus),
    ("uri", Variable::Uri),
    ("hipache_arrived", Variable::Arrived),
    ("hipache_attempts", Variable::Attempts),
    ("hipache_backend_id", Variable::BackendId),
    ("hipache_backend_time", Variable::BackendTime),
    ("hipache_backend_url", Variable::BackendUrl),
    ("hipache_client", Variable::Client),
    ("hipache_connection", Variable::Connection),
    ("hipache_duration", Variable::Duration),
    ("hipache_end", Variable::End),
    ("hipache_frontend", Variable::Frontend),
    ("hipache_lookup_time", Variable::LookupTime),
    ("hipache_proxy_time", Variable::ProxyTime),
    ("hipache_redis_time", Variable::RedisTime),
    ("hipache_route_age", Variable::RouteAge),
    ("hipache_route_source", Variable::RouteSource),
    ("hipache_span_id", Variable::SpanId),
    ("hipache_trace_id", Variable::TraceId),
    ("hipache_tunnel_closed_by", Variable::TunnelClosedBy),
    ("hipache_upstream_end", Variable::UpstreamEnd),
    (
        "hipache_upstream_resolve_time",
        Variable::UpstreamResolveTime,
    ),
    ("hipache_upstream_wait_time", Variable::UpstreamWaitTime),
    ("hipache_vhost", Variable::Vhost),
    ("hipache_websocket_close", Variable::WebsocketClose),
    ("hipache_worker", Variable::Worker),
];

/// Near names told at most.
const NEAR: usize = 3;

impl Variable {
    /// The variable of this name.
    ///
    /// # Errors
    ///
    /// What names it may have been meant for, perhaps none.
    pub(super) fn named(name: &str) -> Result<Self, Vec<&'static str>> {
        if let Some((_, variable)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(variable.clone());
        }
        let after = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(cookie) = after("cookie_") {
            return Ok(Self::Cookie(cookie.into()));
        }
        if let Some(argument) = after("arg_") {
            return Ok(Self::Argument(argument.into()));
        }
        // As nginx: lower case, and an underscore for the hyphen of the header.
        after("http_")
            .and_then(|header| header.replace('_', "-").parse().ok())
            .map(Self::Header)
            .ok_or_else(|| near(name))
    }

    /// Whether it prints a number, which JSON takes without quotes.
    pub(crate) fn is_number(&self) -> bool {
        matches!(
            self,
            Self::Attempts
                | Self::BackendId
                | Self::BackendTime
                | Self::BodyBytesSent
                | Self::BytesSent
                | Self::Connection
                | Self::ConnectionRequests
                | Self::Duration
                | Self::LookupTime
                | Self::Msec
                | Self::PeerPort
                | Self::Pid
                | Self::ProxiedPort
                | Self::ProxiedServerPort
                | Self::ProxyTime
                | Self::RedisTime
                | Self::RemotePort
                | Self::RequestLength
                | Self::RequestTime
                | Self::RouteAge
                | Self::ServerPort
                | Self::Status
                | Self::WebsocketClose
                | Self::Worker
        )
    }

    /// The request header that it is made from, if the record does not hold it anyway.
    pub(crate) fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Header(name) => Some(name.clone()),
            Self::Cookie(_) => Some(http::header::COOKIE),
            Self::RemoteUser => Some(http::header::AUTHORIZATION),
            _ => None,
        }
    }
}

/// The known names that look like this one, the nearest first.
fn near(name: &str) -> Vec<&'static str> {
    let limit = (name.len() / 3).max(2);
    let mut near: Vec<_> = NAMES
        .iter()
        .map(|(known, _)| {
            // A name of ours without its prefix is meant for ours.
            let bare = known.strip_prefix("hipache_").unwrap_or(known);
            let distance = [known, bare].map(|form| strsim::damerau_levenshtein(name, form));
            (distance[0].min(distance[1]), *known)
        })
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    near.sort_unstable();
    near.into_iter()
        .map(|(_, known)| known)
        .take(NEAR)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, (name, variable)) in NAMES.iter().enumerate() {
            assert_eq!(Variable::named(name).as_ref(), Ok(variable), "{name}");
            assert!(
                !NAMES[..index].iter().any(|(known, _)| known == name),
                "{name}"
            );
        }
    }

    #[test]
    fn parts_of_the_request_are_named_by_prefix() {
        let table = [
            (
                "http_x_forwarded_for",
                Variable::Header("x-forwarded-for".parse().unwrap()),
            ),
            ("cookie_session", Variable::Cookie("session".into())),
            ("arg_q", Variable::Argument("q".into())),
        ];
        for (name, expected) in table {
            assert_eq!(Variable::named(name), Ok(expected), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_near_ones() {
        let table: [(&str, &[&str]); 5] = [
            ("reqest", &["request"]),
            ("vhost", &["host", "hipache_vhost"]),
            ("remote_adr", &["remote_addr"]),
            ("http_", &[]),
            ("zzzzzzzzz", &[]),
        ];
        for (name, expected) in table {
            let found = Variable::named(name).unwrap_err();
            assert!(
                expected.iter().all(|near| found.contains(near)),
                "{name}: {found:?}"
            );
            assert!(found.len() <= NEAR, "{name}: {found:?}");
        }
        assert!(near("zzzzzzzzz").is_empty());
    }

    #[test]
    fn every_variable_is_explained_in_the_readme() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        for (name, _) in NAMES {
            assert!(readme.contains(&format!("`${name}`")), "{name}");
        }
    }
}
