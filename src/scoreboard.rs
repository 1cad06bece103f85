//! What every worker tells about itself, in memory shared by all processes.
//!
//! One slot a worker, written by it alone with relaxed atomics, read by anyone. Counters outlive
//! the worker: its successor goes on counting in the same slot.

/// The shared mapping; made once by the master, before the first fork.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scoreboard {
    _cells: &'static [std::sync::atomic::AtomicU64],
}

/// The slot of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    _cells: &'static [std::sync::atomic::AtomicU64],
}

/// What is counted. One cell each; only ever added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Counter {
    /// Connections accepted.
    Connections,
    /// Connections that ended without a single byte.
    SilentConnections,
    /// Exchanges finished, each owed one access-log line.
    Exchanges,
    /// Access-log lines written.
    LinesWritten,
    /// Access-log lines lost because the queue was full.
    LinesDropped,
    /// Access-log lines lost to a write error.
    LinesFailed,
    /// Bytes of access log written.
    LogBytes,
    /// Attempts started.
    Attempts,
    /// Retries (attempts after the first).
    Retries,
    /// Retries refused by the budget.
    RetriesRefused,
    /// Backends marked dead.
    DeadMarks,
    /// Connections to backends opened.
    UpstreamConnects,
    /// Requests sent on a kept connection.
    UpstreamReuses,
    /// Requests that had to wait for a free connection (`maxSockets`).
    UpstreamWaits,
    /// Lookups answered by the store.
    Lookups,
    /// Lookups that the store failed to answer.
    LookupFailures,
    /// Tunnels opened.
    Tunnels,
}

/// What goes up and down. One cell each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Gauge {
    /// Connections open.
    OpenConnections,
    /// Exchanges in flight.
    OpenExchanges,
    /// Tunnels open.
    OpenTunnels,
}

impl Scoreboard {
    /// Maps a scoreboard with this many slots.
    pub(crate) fn create(_slots: usize) -> std::io::Result<Self> {
        todo!("scoreboard")
    }

    /// The slot of a worker.
    pub(crate) fn slot(&self, _index: usize) -> Slot {
        todo!("scoreboard")
    }
}

impl Slot {
    /// Adds to a counter.
    pub(crate) fn add(&self, _counter: Counter, _count: u64) {
        todo!("scoreboard")
    }

    /// Reads a counter.
    pub(crate) fn count(&self, _counter: Counter) -> u64 {
        todo!("scoreboard")
    }

    /// Moves a gauge up or down.
    pub(crate) fn shift(&self, _gauge: Gauge, _by: i64) {
        todo!("scoreboard")
    }

    /// A slot of its own, for tests: nothing shared.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        todo!("scoreboard")
    }
}
