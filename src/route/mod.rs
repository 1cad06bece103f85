//! Which backends serve a host, and which of them are dead.
//!
//! [`Router`] is the face; behind it stands one [`RouteStore`]: Redis, a file, or the table of
//! `--route`. No answer blocks longer than its limit, and no store ever takes a worker down.

mod lookup;
mod marks;

use std::rc::Rc;
use std::time::Duration;

use crate::balance::BackendSet;
use crate::config::Config;
use crate::scoreboard::Slot;
use crate::vhost::{BackendId, Frontend, Host};

/// The answer to "which backends serve this host".
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The frontend that matched.
    pub(crate) frontend: Rc<Frontend>,
    /// Its dead backends.
    pub(crate) dead: BackendSet,
    /// Where the answer came from.
    pub(crate) source: Source,
    /// How old the answer was when it was used; zero when it was read for this request.
    pub(crate) age: Duration,
    /// What the read that fetched it cost; zero for tables in memory.
    pub(crate) read: Duration,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Redis was asked for this request.
    Redis,
    /// Kept in this worker (`server.lruCache`).
    Cache,
    /// The file of the `file:` driver.
    File,
    /// The table of `--route`.
    Table,
}

impl Source {
    /// The word in logs, traces and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Cache => "cache",
            Self::File => "file",
            Self::Table => "table",
        }
    }
}

/// Why a host has no route.
#[derive(Debug)]
pub(crate) enum RouteError {
    /// No frontend, no wildcard.
    NotFound,
    /// The store gave no usable answer within its limit; `read` is the time spent on it.
    Unavailable {
        /// What the store said, for the log of the process.
        cause: Rc<str>,
    },
}

/// The face of routing: resolve, and report how it went.
pub(crate) struct Router {}

impl Router {
    /// A router for this configuration; starts what it needs on the current runtime (connections,
    /// subscription, file watch), which ends when the last handle is dropped.
    pub(crate) fn start(_config: &Config, _slot: Slot) -> Rc<Self> {
        todo!("router")
    }

    /// The route of a host. Bounded in time.
    pub(crate) async fn resolve(&self, _host: &Host) -> Result<Route, RouteError> {
        todo!("router")
    }

    /// Marks a backend dead for the requested host, here at once and in the store without waiting.
    /// Does nothing for a sole backend. Returns whether a mark was made or announced.
    pub(crate) fn mark_dead(&self, _host: &Host, _frontend: &Frontend, _id: BackendId) -> bool {
        todo!("router")
    }

    /// Whether an active health checker is at work (`hchecker_ping`): only then does status 500
    /// count against a backend.
    pub(crate) fn is_checked(&self) -> bool {
        todo!("router")
    }
}
