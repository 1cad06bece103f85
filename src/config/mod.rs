//! The configuration in force: checked, complete and immutable.
//!
//! `file` holds what an operator wrote, `resolve` turns it into [`Config`]; only the latter is
//! passed around. Every default stands at the field that it fills.
//!
//! ```text
//! file ──load──→ JSON ──keys──→ unknown and deprecated keys
//!                 └─ file (written, values) ──resolve──→ Config ──check──→ its files
//! ```

mod access_log;
mod backend_tls;
mod check;
mod driver_url;
mod file;
mod findings;
mod forms;
mod https;
mod https_file;
mod identity;
mod keys;
mod legacy;
mod listeners;
mod load;
mod log_file;
mod log_format;
mod log_values;
mod memory;
mod origin;
mod quick;
mod resolve;
mod section;
mod show;
mod show_log;
mod telemetry;
mod tls_files;
mod tls_terms;
mod values;
mod variables;
mod written;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub(crate) use access_log::MAX_LOGS;
pub use access_log::{AccessLog, Filter, Masks, NameSet, Names, Queue, Syslog, Target};
pub use backend_tls::BackendTls;
pub(crate) use check::check;
pub(crate) use findings::Findings;
pub use https::{HttpsBind, Pair};
pub(crate) use load::find;
pub use log_format::{Escape, LogFormat, Piece, Shape, Template};
pub use origin::{Loaded, Origin};
pub use quick::QuickRoute;
pub(crate) use show::{hash, show};
pub use telemetry::{
    Exemplars, ExportQueue, Exporter, Level, Limits, Logs, MetricsPush, Propagator, Sampler,
    Signal, Story, Telemetry, Temporality, Traces,
};
pub use tls_terms::{Suite, TlsTerms, Versions};
pub use variables::Variable;

/// Everything that the proxy was told, after all checks.
#[derive(Clone, Debug)]
pub struct Config {
    /// General settings, and those of every request.
    pub server: Server,
    /// Listeners for plain HTTP.
    pub http: Http,
    /// The listener for operators and scrapers.
    pub admin: Admin,
    /// Listeners for HTTPS.
    pub https: Vec<HttpsBind>,
    /// The port of HTTPS that clients know, where it is not that of a listener.
    pub https_public_port: Option<u16>,
    /// Directory of the certificates of single vhosts.
    pub certificates: Option<PathBuf>,
    /// Where routes come from.
    pub driver: Driver,
    /// Traces.
    pub telemetry: Telemetry,
    /// The user and group to become after the sockets are bound; `None` when not started as root,
    /// or when the file says to stay root.
    pub identity: Option<Identity>,
}

impl Config {
    /// Every address that clients may connect to.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let https = self.https.iter().map(|bind| bind.address);
        self.http.bind.iter().copied().chain(https).collect()
    }

    /// Whether connections to this address of the configuration begin with a PROXY header.
    pub(crate) fn expects_proxy_header(&self, asked: SocketAddr) -> bool {
        let is_asked = |bind: &HttpsBind| bind.proxy_protocol && bind.address == asked;
        self.http.proxy_protocol.contains(&asked) || self.https.iter().any(is_asked)
    }
}

/// General settings, and those of every request.
#[derive(Clone, Debug)]
pub struct Server {
    /// Log at level debug.
    pub debug: bool,
    /// Worker processes, at least 1. Default: one for each core.
    pub workers: usize,
    /// Connections to one backend, per worker, at least 1. Default 100.
    pub max_sockets: usize,
    /// The limits of waiting.
    pub timeouts: Timeouts,
    /// How large a worker may grow.
    pub memory: Memory,
    /// How long a final stop waits for what is in flight. Default 30 s.
    pub graceful_wait: Duration,
    /// How long a worker that is replaced waits for what is in flight. Default: as long as it takes.
    pub drain_wait: Option<Duration>,
    /// Silence of a worker's runtime after which it is killed; `None`: never. Default 10 s.
    pub heartbeat_timeout: Option<Duration>,
    /// How long a draining worker keeps an idle connection for one more request. Default 5 s.
    pub drain_idle: Duration,
    /// Let a worker that crashes leave a core, which holds what clients sent. Default false.
    pub core_dumps: bool,
    /// How long a backend stays dead after a mark. Default 30 s.
    pub dead_backend_ttl: Duration,
    /// Attempts after the first. Default 3.
    pub retry_on_error: u32,
    /// Access logs; empty: none.
    pub access_logs: Vec<AccessLog>,
    /// Keep connections to backends for further requests. Default true (the original: false, for
    /// want of a reliable pool).
    pub http_keep_alive: bool,
    /// While an active checker is at work, status 500 marks a backend dead, too. Default true.
    pub dead_backend_on_500: bool,
    /// Whom to trust among backends that speak TLS.
    pub backend_tls: BackendTls,
    /// Error pages; `None`: those built in.
    pub static_dir: Option<PathBuf>,
    /// Keep lookups in each worker; `None`: ask for every request.
    pub lru_cache: Option<LruCache>,
}

/// How large a worker may grow, and when that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of one worker; `None`: no limit. Default: half of what the system lets the process
    /// use, divided by the workers, but at least 200 MiB.
    pub limit: Option<u64>,
    /// Between two looks. Default 10 s.
    pub check_interval: Duration,
    /// Age that a worker must have reached to be replaced. Default 60 s.
    pub min_age: Duration,
}

/// The limits of waiting; `None` is no limit. `tcpTimeout` is the default of all but the tunnel's.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the first byte of a request head to its last.
    pub request_head: Option<Duration>,
    /// Between two requests on a kept connection, and before the first.
    pub keep_alive: Option<Duration>,
    /// Name resolution, TCP connect and TLS handshake of one attempt, waiting for a free
    /// connection included.
    pub connect: Option<Duration>,
    /// From the request being sent to the first byte of the response head.
    pub first_byte: Option<Duration>,
    /// Between two moves of a body, in either direction.
    pub idle_body: Option<Duration>,
    /// Silence in a tunnel. Default: no limit, as the original.
    pub tunnel: Option<Duration>,
}

/// `server.lruCache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LruCache {
    /// Hosts kept, at most.
    pub size: usize,
    /// Age at which a lookup is repeated, whatever was served from it.
    pub ttl: Duration,
}

/// Listeners for plain HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    /// Speak HTTP/2 with clients that begin with it (RFC 9113 §3.3). Default false.
    pub h2c: bool,
    /// Addresses to listen on; port 0 lets the system choose. Default 127.0.0.1:80.
    pub bind: Vec<SocketAddr>,
    /// Those of the addresses where connections begin with a PROXY header. Default: none.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Peers whose PROXY headers are taken, here and for HTTPS. Default: `trusted_proxies`.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Peers whose forwarded headers are believed and whose `X-Debug` is answered.
    /// Default: loopback and private ranges.
    pub trusted_proxies: Vec<IpNet>,
}

/// The listener for operators and scrapers.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Addresses to listen on. Default: none.
    pub bind: Vec<SocketAddr>,
    /// Vhosts with metrics of their own in each worker, at most 1000. Default 100.
    pub vhosts: usize,
}

/// Where routes come from.
#[derive(Clone, Debug)]
pub enum Driver {
    /// Redis, with the keys of the original.
    Redis(RedisDriver),
    /// A JSON file that maps hosts to backends, reread when it changes.
    File(PathBuf),
    /// The table given by `--route`: host and the elements of its list (backends only).
    Routes(Vec<(String, Vec<String>)>),
}

/// One Redis to read from, and perhaps another for writes.
#[derive(Clone, Debug)]
pub struct RedisDriver {
    /// Frontends and dead sets are read here.
    pub read: RedisServer,
    /// Dead marks are written here; `None`: where they are read.
    pub write: Option<RedisServer>,
    /// Stands before `frontend:` and `dead:` keys, not before the channel nor `hchecker_ping`.
    pub prefix: String,
}

/// The address of a Redis and how to log in.
#[derive(Clone, Debug)]
pub struct RedisServer {
    /// Where it listens.
    pub address: RedisAddress,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: i64,
}

impl Default for RedisServer {
    /// `redis:`, as the original: 127.0.0.1:6379.
    fn default() -> Self {
        Self {
            address: RedisAddress::Tcp {
                host: "127.0.0.1".to_owned(),
                port: 6379,
                tls: false,
            },
            username: None,
            password: None,
            database: 0,
        }
    }
}

/// Where a Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// `redis:`, or `rediss:` with `tls`.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port, default 6379.
        port: u16,
        /// Speak TLS.
        tls: bool,
    },
    /// `unix:` or `redis+unix:`.
    Unix(PathBuf),
}

/// The user and group to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name for messages and for the supplementary groups.
    pub user: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A text that no message shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

/// Stands where a secret is not shown.
const MASK: &str = "********";
