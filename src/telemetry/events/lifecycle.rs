//! The part of the story that is about workers coming and going: text, level and fields.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use tracing::{error, info, warn};

use super::tell::milliseconds;

/// Something in the life of workers, generations or the program.
#[derive(Clone, Copy)]
pub(crate) enum Lifecycle<'a> {
    /// A worker was forked.
    WorkerStarted { seat: usize, slot: usize, pid: i32 },
    /// A worker accepts connections.
    WorkerReady {
        seat: usize,
        slot: usize,
        pid: i32,
        /// From its fork until now.
        took: Duration,
    },
    /// A worker ended unasked.
    WorkerDied(DeathReport<'a>),
    /// A worker's heartbeat is late; others accept for its slot.
    WorkerSilent { seat: usize },
    /// The heart of a worker that was silent beats again.
    WorkerBack { seat: usize },
    /// A worker is killed.
    Killing { seat: usize, why: &'a str },
    /// A worker asked to be replaced.
    Replacing {
        seat: usize,
        slot: usize,
        why: &'a str,
    },
    /// A worker is told to leave; `limit` is how long it may take.
    Retiring {
        seat: usize,
        slot: usize,
        why: &'a str,
        limit: Option<Duration>,
    },
    /// The workers of a new configuration start.
    Reloading { generation: u64, workers: usize },
    /// They all serve: it is in force.
    Reloaded {
        generation: u64,
        /// Its hash.
        configuration: &'a str,
    },
    /// The program at this path is tried, to take over.
    Upgrading { program: &'a Path },
    /// This program goes on with the workers of another; its own start.
    TookOver {
        version: &'a str,
        generation: u64,
        workers: usize,
    },
    /// They all serve: the upgrade is done.
    Upgraded {
        version: &'a str,
        generation: u64,
        configuration: &'a str,
    },
    /// It is not, and the program stays that it was.
    UpgradeFailed {
        /// Refused, or abandoned half-way.
        result: &'a str,
        reason: &'a dyn Display,
    },
    /// The configuration is not in force, and the old one stays.
    ReloadFailed {
        /// Refused, or abandoned half-way.
        result: &'a str,
        reason: &'a dyn Display,
    },
}

/// What is told of a worker at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) uptime: Duration,
    /// Exchanges finished.
    pub(crate) requests: u64,
    pub(crate) connections: u64,
    /// Bytes, as jemalloc counted them last.
    pub(crate) allocated: u64,
    pub(crate) active: u64,
    pub(crate) resident: u64,
}

/// The closing report of a worker that left as it was told to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing<'a> {
    pub(crate) why: &'a str,
    /// From the order to leave.
    pub(crate) took: Duration,
    /// Connections that the limit cut.
    pub(crate) forced: u64,
    pub(crate) figures: Figures,
}

/// The closing report of a worker that could not give it: the last that is known.
#[derive(Clone, Copy)]
pub(crate) struct DeathReport<'a> {
    pub(crate) seat: usize,
    pub(crate) slot: usize,
    pub(crate) pid: i32,
    /// How it ended: exit status or signal.
    pub(crate) status: &'a dyn Display,
    pub(crate) figures: Figures,
    /// Connections and requests that it held.
    pub(crate) held_connections: u64,
    pub(crate) held_requests: u64,
    /// Access-log lines and spans that it had not written yet.
    pub(crate) lost_lines: u64,
    pub(crate) lost_spans: u64,
}

pub(super) fn tell(event: &Lifecycle<'_>) {
    match event {
        Lifecycle::WorkerStarted { seat, slot, pid } => {
            info!(name: "hipache.worker.started", seat, slot, pid, "worker started");
        }
        Lifecycle::WorkerReady {
            seat,
            slot,
            pid,
            took,
        } => {
            let took = milliseconds(*took);
            info!(name: "hipache.worker.ready", span = "worker start", seat, slot, pid, took, "worker ready");
        }
        Lifecycle::WorkerDied(death) => tell_death(death),
        Lifecycle::WorkerSilent { seat } => {
            warn!(name: "hipache.worker.silent", seat, "worker is silent, others accept for it");
        }
        Lifecycle::WorkerBack { seat } => {
            info!(name: "hipache.worker.back", seat, "worker is back");
        }
        Lifecycle::Killing { seat, why } => {
            warn!(name: "hipache.worker.killing", seat, why, "killing worker");
        }
        Lifecycle::Replacing { seat, slot, why } => {
            info!(name: "hipache.worker.replacing", seat, slot, why, "replacing worker");
        }
        Lifecycle::Retiring {
            seat,
            slot,
            why,
            limit,
        } => {
            let limit = limit.map(|limit| limit.as_secs_f64());
            info!(name: "hipache.worker.retiring", seat, slot, why, limit, "worker is told to leave");
        }
        _ => tell_reload(event),
    }
}

/// The life of a configuration.
fn tell_reload(event: &Lifecycle<'_>) {
    match event {
        Lifecycle::Reloading {
            generation,
            workers,
        } => info!(name: "hipache.reloading", generation, workers, "reloading"),
        Lifecycle::Reloaded {
            generation,
            configuration,
        } => info!(name: "hipache.reloaded", generation, configuration, "reloaded"),
        Lifecycle::Upgrading { .. }
        | Lifecycle::TookOver { .. }
        | Lifecycle::Upgraded { .. }
        | Lifecycle::UpgradeFailed { .. } => tell_upgrade(event),
        Lifecycle::ReloadFailed { result, reason } => {
            let reason = reason.to_string();
            error!(
                name: "hipache.reload.failed",
                result,
                reason,
                "reload failed, the old configuration stays"
            );
        }
        _ => {}
    }
}

fn tell_upgrade(event: &Lifecycle<'_>) {
    match event {
        Lifecycle::Upgrading { program } => {
            let program = program.display().to_string();
            info!(name: "hipache.upgrading", program, "upgrading");
        }
        Lifecycle::TookOver {
            version,
            generation,
            workers,
        } => info!(name: "hipache.took_over", version, generation, workers, "took over"),
        Lifecycle::Upgraded {
            version,
            generation,
            configuration,
        } => info!(name: "hipache.upgraded", version, generation, configuration, "upgraded"),
        Lifecycle::UpgradeFailed { result, reason } => {
            let reason = reason.to_string();
            error!(
                name: "hipache.upgrade.failed",
                result,
                reason,
                "upgrade failed, the old program stays"
            );
        }
        _ => {}
    }
}

/// A worker begins to leave.
pub(super) fn tell_draining(why: &str, limit: Option<Duration>) {
    let limit = limit.map(|limit| limit.as_secs_f64());
    info!(name: "hipache.worker.draining", why, limit, "draining");
}

fn tell_death(death: &DeathReport<'_>) {
    let figures = &death.figures;
    warn!(
        name: "hipache.worker.died",
        seat = death.seat,
        slot = death.slot,
        pid = death.pid,
        status = death.status.to_string(),
        uptime = milliseconds(figures.uptime),
        requests = figures.requests,
        connections = figures.connections,
        held_requests = death.held_requests,
        held_connections = death.held_connections,
        lost_lines = death.lost_lines,
        lost_spans = death.lost_spans,
        allocated = figures.allocated,
        active = figures.active,
        resident = figures.resident,
        "worker died"
    );
}

pub(super) fn tell_closing(closing: &Closing<'_>) {
    let took = milliseconds(closing.took);
    let (why, forced, figures) = (closing.why, closing.forced, &closing.figures);
    let uptime = milliseconds(figures.uptime);
    let (requests, connections) = (figures.requests, figures.connections);
    let (allocated, active, resident) = (figures.allocated, figures.active, figures.resident);
    if forced == 0 {
        info!(
            name: "hipache.worker.drained",
            why,
            took,
            forced,
            uptime,
            requests,
            connections,
            allocated,
            active,
            resident,
            "drained"
        );
    } else {
        warn!(
            name: "hipache.worker.drained",
            why,
            took,
            forced,
            uptime,
            requests,
            connections,
            allocated,
            active,
            resident,
            "drained, not everything was finished"
        );
    }
}
