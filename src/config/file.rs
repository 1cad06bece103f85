//! The configuration as an operator wrote it: the sections of the file and their keys.
//!
//! The one place where keys are named (those of a log in `log_file`). Reading, the paths in messages, the schema, the list of
//! known keys and the deprecations all follow from these types; defaults and meaning are in
//! `resolve`. Times are in seconds, fractions allowed where not said otherwise.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::driver_url::DriverUrl;
use super::forms::{Bind, OneOrMany};
use super::https_file::Https;
use super::legacy::OldRedis;
use super::log_file::{Log, LogEntry, LogFilter, LogMask, LogNames, LogQueue};
use super::memory::WrittenMemory;
use super::section::section;
use super::telemetry::WrittenTelemetry;
use super::values::{Account, Address, Count, PathText, Port, Range, Seconds, Whole, WholeSeconds};
use super::written::Written;

/// The file, `config.json`. Times are in seconds.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(title = "Configuration of hipache")]
pub(super) struct File {
    /// For editors: where this schema is. Not read.
    #[serde(rename = "$schema")]
    pub(super) schema: Written<String>,
    /// General settings, and those of every request.
    pub(super) server: Written<Server>,
    /// Listeners for plain HTTP.
    pub(super) http: Written<Http>,
    /// The listener for operators and scrapers.
    pub(super) admin: Written<Admin>,
    /// Listeners for HTTPS.
    pub(super) https: Written<Https>,
    /// Where routes come from: `redis://:password@host:port/database#prefix`, every part optional,
    /// or `file:routes.json`. Of two URLs the first is read from, the last written to.
    /// Default `redis:`.
    pub(super) driver: Written<OneOrMany<DriverUrl>>,
    /// Traces. The variables `OTEL_*` of OpenTelemetry's specification say the same, and win.
    pub(super) telemetry: Written<WrittenTelemetry>,
    /// The user to become when started as root, by name or number; `root` stays root.
    /// Default `www-data`.
    pub(super) user: Written<Account>,
    /// The group to become when started as root, by name or number. Default: named as the user,
    /// or else the user's own.
    pub(super) group: Written<Account>,
    /// The spelling of 0.3.
    #[serde(flatten)]
    pub(super) redis: OldRedis,
}

/// General settings, and those of every request.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Server {
    /// Log at level debug. Default false.
    pub(super) debug: Written<bool>,
    /// Worker processes, at least 1. Default: one for each core.
    pub(super) workers: Written<Count>,
    /// Connections to one backend, per worker, at least 1. Default 100.
    pub(super) max_sockets: Written<Count>,
    /// Default of the limits of waiting, except `tunnelTimeout`; 0 is no limit. Default 30.
    pub(super) tcp_timeout: Written<Seconds>,
    /// From the first byte of a request head to its last; 0 is no limit. Default `tcpTimeout`.
    pub(super) request_head_timeout: Written<Seconds>,
    /// Silence on a kept connection between requests; 0 is no limit. Default `tcpTimeout`.
    pub(super) keep_alive_timeout: Written<Seconds>,
    /// To get a connection to a backend; 0 is no limit. Default `tcpTimeout`.
    pub(super) connect_timeout: Written<Seconds>,
    /// From the request to the first byte of the response; 0 is no limit. Default `tcpTimeout`.
    pub(super) first_byte_timeout: Written<Seconds>,
    /// Between two moves of a body, either way; 0 is no limit. Default `tcpTimeout`.
    pub(super) idle_body_timeout: Written<Seconds>,
    /// Silence in a tunnel (WebSocket); 0 is no limit. Default 0.
    pub(super) tunnel_timeout: Written<Seconds>,
    /// How long a final stop waits for what is in flight. Default 30.
    pub(super) graceful_wait: Written<Seconds>,
    /// How large a worker may grow.
    #[serde(flatten)]
    pub(super) memory: WrittenMemory,
    /// How long a worker that is replaced waits for what is in flight; 0 is no limit. Default 0.
    pub(super) drain_wait: Written<Seconds>,
    /// Silence of a worker after which it is killed and replaced; 0 is never. Default 10.
    pub(super) heartbeat_timeout: Written<Seconds>,
    /// How long a draining worker keeps an idle connection for one more request. Default 5.
    pub(super) drain_idle: Written<Seconds>,
    /// Let a worker that crashes leave a core, which holds what clients sent. Default false.
    pub(super) core_dumps: Written<bool>,
    /// How long a backend stays dead after a mark, in whole seconds. Default 30.
    #[serde(rename = "deadBackendTTL")]
    pub(super) dead_backend_ttl: Written<WholeSeconds>,
    /// Attempts after the first. Default 3.
    pub(super) retry_on_error: Written<Whole>,
    /// Access logs: one, or an array. Each is a target (a path, `stdout`, `stderr`, `syslog:…`,
    /// `off`) or an object. Default `/var/log/hipache/access.log`.
    pub(super) access_log: Written<OneOrMany<LogEntry>>,
    /// Keep connections to backends for further requests. Default true.
    pub(super) http_keep_alive: Written<bool>,
    /// While an active checker is at work, status 500 marks a backend dead, too. Default true.
    #[serde(rename = "deadBackendOn500")]
    pub(super) dead_backend_on_500: Written<bool>,
    /// PEM file, or files, of authorities that vouch for backends, beside the system's. Default: none.
    pub(super) backend_ca: Written<OneOrMany<PathText>>,
    /// Verify the certificates of backends. Default true.
    pub(super) backend_verify: Written<bool>,
    /// Directory of error pages. Default: those built in.
    pub(super) static_dir: Written<PathText>,
    /// Keep lookups in each worker. Default: ask for every request.
    pub(super) lru_cache: Written<LruCache>,
    /// Port for HTTP.
    #[schemars(extend("deprecated" = true, "x-instead" = "http.port"))]
    pub(super) port: Written<Port>,
    /// Addresses for HTTP and HTTPS.
    #[schemars(extend("deprecated" = true, "x-instead" = "http.bind"))]
    pub(super) address: Written<OneOrMany<Address>>,
    /// IPv6 addresses for HTTP and HTTPS.
    #[schemars(extend("deprecated" = true, "x-instead" = "http.bind"))]
    pub(super) address6: Written<OneOrMany<Address>>,
    /// Listeners for HTTPS.
    #[schemars(extend("deprecated" = true, "x-instead" = "https"))]
    pub(super) https: Written<Https>,
    /// The spelling of 0.3.
    #[serde(flatten)]
    pub(super) redis: OldRedis,
}

/// Lookups kept in each worker.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LruCache {
    /// Hosts kept, at most. Default 10000.
    pub(super) size: Written<Count>,
    /// Age at which a lookup is repeated, more than 0. Default 10.
    pub(super) ttl: Written<Seconds>,
}

/// Listeners for plain HTTP.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Http {
    /// Port of the addresses that name none; 0 lets the system choose. Default 80.
    pub(super) port: Written<Port>,
    /// Addresses to listen on: one, or an array of addresses and `{address, port}`.
    /// Default 127.0.0.1.
    pub(super) bind: Written<OneOrMany<Bind<HttpListener>>>,
    /// Speak HTTP/2 with clients that begin with it, without TLS. Default false.
    pub(super) h2c: Written<bool>,
    /// Connections begin with a PROXY header, version 1 or 2, at addresses that say nothing else.
    /// Default false.
    pub(super) proxy_protocol: Written<bool>,
    /// Addresses and ranges that PROXY headers are taken from; connections of others to such an
    /// address are closed. For `https`, too. Default: `trustedProxies`.
    pub(super) proxy_protocol_from: Written<OneOrMany<Range>>,
    /// Addresses and ranges whose forwarded headers are believed and whose `X-Debug` is answered.
    /// Default: loopback and private ranges.
    pub(super) trusted_proxies: Written<OneOrMany<Range>>,
}

/// The listener for operators and scrapers: `/metrics`, `/healthz`, `/readyz`, `/status`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Admin {
    /// Port of the addresses that name none; 0 lets the system choose. Default 9180.
    pub(super) port: Written<Port>,
    /// Addresses to listen on, in the forms of `http.bind`. Default: none.
    pub(super) bind: Written<OneOrMany<Bind<AdminListener>>>,
    /// Vhosts with metrics of their own in each worker, 0 to 1000; all others share one label.
    /// Default 100.
    pub(super) vhosts: Written<Whole>,
}

/// One address for plain HTTP.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HttpListener {
    /// Address to listen on.
    pub(super) address: Written<Address>,
    /// Port. Default `http.port`.
    pub(super) port: Written<Port>,
    /// Connections begin with a PROXY header. Default `http.proxyProtocol`.
    pub(super) proxy_protocol: Written<bool>,
}

/// One address for operators and scrapers.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AdminListener {
    /// Address to listen on.
    pub(super) address: Written<Address>,
    /// Port. Default `admin.port`.
    pub(super) port: Written<Port>,
}

section!(
    File,
    Server,
    LruCache,
    Http,
    Admin,
    HttpListener,
    AdminListener,
    Log,
    LogFilter,
    LogMask,
    LogNames,
    LogQueue
);
