//! Access logs in force: where lines go, what they look like, and which are written.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, SET_COOKIE};

use super::log_format::LogFormat;

/// Logs at most; the scoreboard has room for so many.
pub(crate) const MAX_LOGS: usize = 8;
/// Bytes that may wait for the writer by default.
const QUEUE_BYTES: u64 = 16 * 1024 * 1024;
/// How long a full queue is waited for by default, where it is.
pub(super) const QUEUE_WAIT: Duration = Duration::from_millis(100);

/// One access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where it stands in the configuration, for messages.
    pub place: String,
    /// Where lines go.
    pub target: Target,
    /// What they look like.
    pub format: LogFormat,
    /// Which are written.
    pub filter: Filter,
    /// Of normal lines, one of so many is written, at least 1. Default 1.
    pub sample: u32,
    /// What is not shown of them.
    pub masks: Masks,
    /// How many may wait for the writer.
    pub queue: Queue,
}

/// Where access-log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Appended to this file, which is reopened on SIGUSR1.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A syslog daemon (RFC 5424), a line a datagram.
    Syslog(Syslog),
}

/// Where a syslog daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Syslog {
    /// At this UNIX socket.
    Local(PathBuf),
    /// At this host and port, by UDP (RFC 5426).
    Udp(String, u16),
}

/// Which lines are written: those that pass every filter; an empty list passes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Status as logged.
    pub status: Vec<RangeInclusive<u16>>,
    /// Exchanges that took at least so long.
    pub min_duration: Duration,
    /// How they ended: words of `error::End`.
    pub ends: Vec<String>,
    /// Identifiers of frontends; `-` is none.
    pub vhosts: Vec<String>,
    /// Only status 400 and above, or an end other than `ok`.
    pub errors_only: bool,
}

/// What is not shown, by name. What is dropped is not masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masks {
    /// The value is replaced.
    pub mask: Names,
    /// Name and value are left out.
    pub drop: Names,
    /// User and password in URLs are replaced.
    pub credentials: bool,
}

/// Names of what a request carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Query parameters, in the target and in `Referer`. Case matters.
    pub query: NameSet<String>,
    /// Cookies. Case matters.
    pub cookies: NameSet<String>,
    /// Request headers.
    pub headers: NameSet<HeaderName>,
}

/// Some names, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameSet<T> {
    /// Every name: `*`.
    All,
    /// These.
    Some(Vec<T>),
}

/// How many lines may wait for the writer, and what happens beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Bytes that may wait.
    pub bytes: u64,
    /// How long a worker waits for room before it drops lines; zero: not at all.
    pub wait: Duration,
}

impl AccessLog {
    /// A log in the format of the original, with all lines in it.
    pub(crate) fn plain(target: Target) -> Self {
        Self {
            place: "server.accessLog".to_owned(),
            target,
            format: LogFormat::default(),
            filter: Filter::default(),
            sample: 1,
            masks: Masks::default(),
            queue: Queue::default(),
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            bytes: QUEUE_BYTES,
            wait: Duration::ZERO,
        }
    }
}

impl Default for Masks {
    /// What is known to be secret: signatures of URLs as OpenTelemetry lists them (semantic
    /// conventions, `url.query`), and headers that are a login.
    fn default() -> Self {
        let query = [
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "AWSAccessKeyId",
            "Signature",
            "sig",
            "X-Goog-Signature",
        ];
        let headers = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE];
        Self {
            mask: Names {
                query: NameSet::Some(query.map(str::to_owned).to_vec()),
                cookies: NameSet::default(),
                headers: NameSet::Some(headers.to_vec()),
            },
            drop: Names::default(),
            credentials: true,
        }
    }
}

impl<T> Default for NameSet<T> {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl<T: PartialEq> NameSet<T> {
    /// Whether a name is in it that satisfies this.
    pub(crate) fn any(&self, is_it: impl FnMut(&T) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(is_it),
        }
    }
}
