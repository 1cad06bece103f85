//! The process's own story: what can happen, in one place.
//!
//! Logic says what happened; how loud it is and which words are used is decided in `tell` alone.
//! What a peer can cause is throttled, and what the throttle held back is told as a number.

mod tell;

mod lifecycle;
mod memory;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

pub(crate) use lifecycle::{Closing, DeathReport, Figures, Lifecycle};

use super::throttle::{Throttle, Verdict};
pub(crate) use memory::{MemoryEvent, MemoryFigures};

/// Something that happened to the process, not to a request; or the news of a backend.
pub(crate) enum Event<'a> {
    /// A listening socket is bound.
    Listening {
        /// Address with the port in force.
        address: SocketAddr,
    },
    /// The admin socket is bound.
    AdminListening {
        /// Address with the port in force.
        address: SocketAddr,
    },
    /// The master is ready to fork.
    Started {
        /// Process id of the master.
        pid: i32,
        /// Workers to come.
        workers: usize,
    },
    /// Something in the life of workers, generations or the program.
    Lifecycle(Lifecycle<'a>),
    /// The process was told to stop.
    Stopping {
        /// The signal that told it.
        signal: &'a str,
    },
    /// The process ends.
    Stopped {
        /// How long it ran.
        uptime: Duration,
    },
    /// The access log was opened again.
    Reopened {
        /// The file.
        path: &'a Path,
    },
    /// A worker finishes what it has and accepts no more.
    Draining {
        /// Why it leaves.
        why: &'a str,
        /// How long it waits, if not as long as it takes.
        limit: Option<Duration>,
    },
    /// What a worker found out about its memory.
    Memory(&'a MemoryEvent),
    /// A drain is over, and its worker: the closing report.
    Drained(Closing<'a>),
    /// Redis does not answer.
    RedisLost {
        /// Which one, without password.
        server: &'a str,
        /// What is wrong.
        error: &'a dyn Display,
    },
    /// Redis answers again.
    RedisBack {
        /// Which one, without password.
        server: &'a str,
        /// For how long it was away.
        after: Duration,
    },
    /// The file of routes was read again.
    RoutesReloaded {
        /// The file.
        path: &'a Path,
        /// Hosts in it.
        hosts: usize,
    },
    /// A backend was marked dead.
    MarkedDead {
        /// The host that was asked for.
        host: &'a str,
        /// URL of the backend.
        backend: &'a str,
        /// Its place in the list.
        id: usize,
        /// An active checker is at work: announced to it, not marked in the store.
        announced_only: bool,
    },
    /// An attempt failed; the request may still succeed.
    AttemptFailed {
        /// The host that was asked for.
        host: &'a str,
        /// URL of the backend.
        backend: &'a str,
        /// Its place in the list.
        id: usize,
        /// The word of `error::End`.
        end: &'a str,
        /// The cause.
        detail: &'a dyn Display,
    },
    /// Access-log lines were lost since the last such event; told at most once a minute.
    LogLosses {
        /// Which log: its place in the configuration.
        log: &'a str,
        /// Lines that found the queue full.
        dropped: u64,
        /// Lines that could not be written.
        failed: u64,
    },
    /// The configuration holds something that an operator should mend; it works all the same.
    ConfigurationNotice {
        /// Where, what, and what was expected.
        finding: &'a dyn Display,
    },
    /// Something went wrong that an operator should read.
    Problem {
        /// What was being done.
        doing: &'a str,
        /// What is wrong and what follows.
        error: &'a dyn Display,
    },
}

/// Events a second, of each throttled kind, that a process tells.
const EVENTS_PER_SECOND: u64 = 100;
static MARKS: Throttle = Throttle::new(EVENTS_PER_SECOND);
static ATTEMPTS: Throttle = Throttle::new(EVENTS_PER_SECOND);
static PROBLEMS: Throttle = Throttle::new(EVENTS_PER_SECOND);

/// Tells an event.
pub(crate) fn emit(event: &Event<'_>) {
    let may_be_told = match event {
        Event::MarkedDead { .. } => passes(&MARKS, "dead mark"),
        Event::AttemptFailed { .. } => passes(&ATTEMPTS, "attempt"),
        Event::Problem { .. } => passes(&PROBLEMS, "problem"),
        _ => true,
    };
    if may_be_told {
        tell::tell(event);
    }
}

/// Whether the throttle lets this one through; tells when it begins to hold back, and how many it
/// held back before this one.
fn passes(throttle: &Throttle, kind: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match throttle.judge(now.unwrap_or_default().as_secs()) {
        Verdict::Tell { held_back: 0 } => true,
        Verdict::Tell { held_back } => {
            warn!(name: tell::HELD_BACK, kind, count = held_back, "events were not shown");
            true
        }
        Verdict::HoldBack { is_first } => {
            if is_first {
                warn!(
                    name: tell::TOO_MANY,
                    kind,
                    limit = EVENTS_PER_SECOND,
                    "too many events a second, counting the others"
                );
            }
            false
        }
    }
}

#[cfg(test)]
mod tests;
