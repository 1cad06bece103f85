//! What ended an exchange, on which side, and what follows from it: status, page, dead mark.
//!
//! [`End`] is the one vocabulary: the same word stands in the access log, in `error.type` of the
//! span, in metric labels and in `Proxy-Status`. Tokens of RFC 9209 §2.3 are used where one fits.

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// The last byte of the response was handed to the kernel.
    Ok,
    /// The client left before the response was complete.
    ClientGone,
    /// The client stopped reading or sending for longer than its limit.
    ClientTimeout,
    /// The request could not be understood, or breaks a rule of HTTP.
    BadRequest,
    /// The request head was larger than the limit.
    HeadTooLarge,
    /// The request head took longer than its limit.
    HeadTimeout,
    /// The request has no `Host`.
    NoHost,
    /// No frontend serves the host.
    NoSuchHost,
    /// The frontend has no backend, or all are dead.
    NoLiveBackend,
    /// The picked entry is no URL.
    InvalidBackend,
    /// The store of routes gave no answer.
    RedisUnavailable,
    /// All connections to the backend were busy for longer than the limit (`maxSockets`).
    ConnectionLimitReached,
    /// The backend's name could not be resolved.
    DnsError,
    /// Resolving the backend's name took too long.
    DnsTimeout,
    /// The backend refused the connection.
    ConnectionRefused,
    /// The backend could not be reached.
    DestinationUnavailable,
    /// Connecting took too long.
    ConnectionTimeout,
    /// The TLS handshake with the backend failed, its certificate included.
    TlsProtocolError,
    /// The backend closed or reset the connection before its response was complete.
    ConnectionTerminated,
    /// The backend kept silent for longer than the limit.
    ReadTimeout,
    /// A tunnel in which nothing moved for longer than its limit.
    TunnelIdle,
    /// The backend's answer is not HTTP.
    HttpProtocolError,
    /// The worker had to end before the exchange did.
    Shutdown,
    /// A fault of our own.
    InternalError,
}

impl End {
    /// Every end.
    pub(crate) const ALL: [Self; 24] = [
        Self::Ok,
        Self::ClientGone,
        Self::ClientTimeout,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::NoHost,
        Self::NoSuchHost,
        Self::NoLiveBackend,
        Self::InvalidBackend,
        Self::RedisUnavailable,
        Self::ConnectionLimitReached,
        Self::DnsError,
        Self::DnsTimeout,
        Self::ConnectionRefused,
        Self::DestinationUnavailable,
        Self::ConnectionTimeout,
        Self::TlsProtocolError,
        Self::ConnectionTerminated,
        Self::ReadTimeout,
        Self::TunnelIdle,
        Self::HttpProtocolError,
        Self::Shutdown,
        Self::InternalError,
    ];

    /// The word in logs, traces, metrics and `Proxy-Status`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientGone => "client_gone",
            Self::ClientTimeout => "client_timeout",
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::NoHost => "no_host",
            Self::NoSuchHost => "no_such_host",
            Self::NoLiveBackend => "no_live_backend",
            Self::InvalidBackend => "invalid_backend",
            Self::RedisUnavailable => "redis_unavailable",
            Self::ConnectionLimitReached => "connection_limit_reached",
            Self::DnsError => "dns_error",
            Self::DnsTimeout => "dns_timeout",
            Self::ConnectionRefused => "connection_refused",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::ConnectionTimeout => "connection_timeout",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ReadTimeout => "connection_read_timeout",
            Self::TunnelIdle => "tunnel_idle",
            Self::HttpProtocolError => "http_protocol_error",
            Self::Shutdown => "shutdown",
            Self::InternalError => "proxy_internal_error",
        }
    }
}
