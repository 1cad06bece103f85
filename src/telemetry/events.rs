//! The process's own story: each event's text, level and fields, in one place.
//!
//! Logic says what happened; how loud it is and which words are used is decided here alone. What a
//! peer can cause is throttled, and what the throttle held back is told as a number.

mod memory;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

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
    /// A worker was forked.
    WorkerStarted {
        /// Its slot.
        slot: usize,
        /// Its process id.
        pid: i32,
    },
    /// A worker accepts connections.
    WorkerReady {
        /// Its slot.
        slot: usize,
        /// Its process id.
        pid: i32,
    },
    /// A worker ended unasked.
    WorkerDied {
        /// Its slot.
        slot: usize,
        /// Its process id.
        pid: i32,
        /// How it ended: exit status or signal.
        status: &'a str,
        /// How long it lived.
        uptime: Duration,
        /// Access-log lines that it had not written yet.
        lost_lines: u64,
    },
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
        /// How long it waits.
        limit: Duration,
    },
    /// A drain is over.
    Drained {
        /// How long it took.
        took: Duration,
        /// Exchanges and tunnels that were cut off by the limit.
        forced: usize,
    },
    /// What a worker found out about its memory.
    Memory(&'a MemoryEvent),
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
        tell_process(event);
    }
}

/// Whether the throttle lets this one through; tells when it begins to hold back, and how many it
/// held back before this one.
fn passes(throttle: &Throttle, kind: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match throttle.judge(now.unwrap_or_default().as_secs()) {
        Verdict::Tell { held_back: 0 } => true,
        Verdict::Tell { held_back } => {
            warn!(kind, count = held_back, "events were not shown");
            true
        }
        Verdict::HoldBack { is_first } => {
            if is_first {
                warn!(
                    kind,
                    limit = EVENTS_PER_SECOND,
                    "too many events a second, counting the others"
                );
            }
            false
        }
    }
}

/// The life of master and workers.
fn tell_process(event: &Event<'_>) {
    match event {
        Event::Listening { address } => info!(%address, "listening"),
        Event::AdminListening { address } => info!(%address, "admin listens"),
        Event::Started { pid, workers } => info!(pid, workers, "started"),
        Event::WorkerStarted { slot, pid } => info!(slot, pid, "worker started"),
        Event::WorkerReady { slot, pid } => info!(slot, pid, "worker ready"),
        Event::WorkerDied {
            slot,
            pid,
            status,
            uptime,
            lost_lines,
        } => {
            let uptime = whole_milliseconds(*uptime);
            warn!(slot, pid, status, ?uptime, lost_lines, "worker died");
        }
        Event::Stopping { signal } => info!(signal, "stopping"),
        Event::Stopped { uptime } => info!(uptime = ?whole_milliseconds(*uptime), "stopped"),
        Event::Draining { limit } => info!(?limit, "draining"),
        Event::Drained { took, forced: 0 } => {
            info!(took = ?whole_milliseconds(*took), forced = 0, "drained");
        }
        Event::Drained { took, forced } => {
            warn!(took = ?whole_milliseconds(*took), forced, "drained, not everything was finished");
        }
        _ => tell_surroundings(event),
    }
}

/// What the process depends on: files, Redis, backends.
fn tell_surroundings(event: &Event<'_>) {
    match event {
        Event::Reopened { path } => info!(path = ?path, "access log reopened"),
        Event::RedisLost { server, error } => {
            warn!(server, error = error.to_string(), "redis does not answer");
        }
        Event::RedisBack { server, after } => {
            info!(server, after = ?whole_milliseconds(*after), "redis answers again");
        }
        Event::RoutesReloaded { path, hosts } => info!(path = ?path, hosts, "routes reloaded"),
        Event::MarkedDead {
            host,
            backend,
            id,
            announced_only,
        } => {
            warn!(host, backend, id, announced_only, "backend marked dead");
        }
        Event::AttemptFailed {
            host,
            backend,
            id,
            end,
            detail,
        } => {
            info!(
                host,
                backend,
                id,
                end,
                detail = detail.to_string(),
                "attempt failed"
            );
        }
        Event::LogLosses {
            log,
            dropped,
            failed,
        } => {
            warn!(log, dropped, failed, "access-log lines were lost");
        }
        Event::Memory(event) => memory::tell(event),
        Event::ConfigurationNotice { finding } => {
            warn!(finding = finding.to_string(), "configuration notice");
        }
        Event::Problem { doing, error } => error!(doing, error = error.to_string(), "problem"),
        Event::Listening { .. }
        | Event::AdminListening { .. }
        | Event::Started { .. }
        | Event::WorkerStarted { .. }
        | Event::WorkerReady { .. }
        | Event::WorkerDied { .. }
        | Event::Stopping { .. }
        | Event::Stopped { .. }
        | Event::Draining { .. }
        | Event::Drained { .. } => {}
    }
}

/// Nobody reads nanoseconds in a log.
fn whole_milliseconds(duration: Duration) -> Duration {
    Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000)
}

#[cfg(test)]
mod tests;
