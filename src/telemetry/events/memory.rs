//! What a worker finds out about its memory: texts, levels and fields.

use std::time::Duration;

use tracing::{info, warn};

use super::tell::milliseconds;

/// What the watchdog found or did.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MemoryEvent {
    /// No worker can keep this limit: one that has just started is over it.
    LimitTooSmall {
        /// The limit in bytes.
        limit: u64,
        /// What a worker uses that serves nothing.
        idle: u64,
    },
    /// Over the limit, and too young to be replaced.
    TooYoung {
        /// The limit in bytes.
        limit: u64,
        /// What it uses.
        resident: u64,
        /// How old it is.
        age: Duration,
        /// How old it must be.
        min_age: Duration,
    },
    /// Gave unused memory back and is within its limit again.
    Purged {
        /// The limit in bytes.
        limit: u64,
        /// What it used.
        before: u64,
        /// What it uses now.
        after: u64,
    },
    /// Gave unused memory back and is still over its limit.
    StillOver {
        /// The limit in bytes.
        limit: u64,
        /// What it used.
        before: u64,
        /// What it uses now.
        after: u64,
    },
    /// Asks to be replaced.
    WantsReplacement {
        /// `leak` or `fragmentation`.
        cause: &'static str,
        /// The limit in bytes.
        limit: u64,
        /// What it uses, after what was unused was given back.
        figures: MemoryFigures,
        /// How old it is.
        age: Duration,
        /// How often it has asked, this time included.
        times: u32,
    },
}

/// The memory of a worker, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryFigures {
    /// Handed out by jemalloc.
    pub(crate) allocated: u64,
    /// In pages of jemalloc's that hold something.
    pub(crate) active: u64,
    /// jemalloc's own books.
    pub(crate) metadata: u64,
    /// Of jemalloc's in memory, at most: these two, and what is unused and not given back yet.
    pub(crate) resident: u64,
    /// Mapped by jemalloc without memory behind it.
    pub(crate) retained: u64,
    /// Of the process in memory, as the kernel counts; 0 where it does not tell.
    pub(crate) resident_set: u64,
    /// Of the control group, page cache included; 0 where there is none.
    pub(crate) cgroup: u64,
}

/// Writes it.
pub(super) fn tell(event: &MemoryEvent) {
    match *event {
        MemoryEvent::LimitTooSmall { limit, idle } => warn!(
            name: "hipache.memory.limit_too_small",
            limit,
            idle,
            "memory limit is below what an idle worker needs, so it is not kept; raise server.memoryLimit"
        ),
        MemoryEvent::TooYoung {
            limit,
            resident,
            age,
            min_age,
        } => warn!(
            name: "hipache.memory.too_young",
            limit,
            resident,
            age = milliseconds(age),
            min_age = min_age.as_secs_f64(),
            "over the memory limit soon after the start; if that happens again, raise server.memoryLimit"
        ),
        MemoryEvent::Purged {
            limit,
            before,
            after,
        } => info!(
            name: "hipache.memory.purged",
            limit,
            before, after, "memory given back, within the limit again"
        ),
        MemoryEvent::StillOver {
            limit,
            before,
            after,
        } => warn!(
            name: "hipache.memory.still_over",
            limit,
            before, after, "memory given back, still over the limit"
        ),
        MemoryEvent::WantsReplacement {
            cause,
            limit,
            figures,
            age,
            times,
        } => warn!(
            name: "hipache.memory.wants_replacement",
            cause,
            limit,
            resident = figures.resident,
            allocated = figures.allocated,
            active = figures.active,
            metadata = figures.metadata,
            retained = figures.retained,
            resident_set = figures.resident_set,
            cgroup = figures.cgroup,
            age = milliseconds(age),
            times,
            "over the memory limit, wants to be replaced"
        ),
    }
}
