//! What every worker tells about itself, in memory shared by all processes.
//!
//! One slot a worker, written by it alone with relaxed atomics, read by anyone. Counters outlive
//! the worker: its successor goes on counting in the same slot. Once the worker is gone the master
//! writes in its place: it zeroes the gauges and counts the log lines that died with it.
//!
//! ```text
//! header: magic, layout version, slots, cells a slot; then, each from a cache line of its own,
//! slot:   state, pid, heartbeat, start, counters …, gauges …
//! ```

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::ftruncate;
use tracing::debug;

use crate::sys;

/// `hipache` and a zero byte.
const MAGIC: u64 = u64::from_le_bytes(*b"hipache\0");
/// Raised with every change of the layout.
const LAYOUT: u64 = 2;
/// Cells in a cache line of 64 bytes.
const LINE: usize = 8;
const HEADER: usize = LINE;
const FIRST_COUNTER: usize = Field::Started as usize + 1;
const FIRST_GAUGE: usize = FIRST_COUNTER + Counter::LinesLostAtDeath as usize + 1;
const USED: usize = FIRST_GAUGE + Gauge::OpenTunnels as usize + 1;
const SLOT: usize = USED.next_multiple_of(LINE);
/// Slots made at least, so that a reload may add workers without a new mapping.
const MIN_SLOTS: usize = 64;

/// The shared mapping; made once by the master, before the first fork.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scoreboard {
    cells: &'static [AtomicU64],
}

/// The slot of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    cells: &'static [AtomicU64],
}

/// Keeps a gauge raised by one until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    slot: Slot,
    gauge: Gauge,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.slot.shift(self.gauge, -1);
    }
}

/// In which part of its life a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum State {
    /// Forked, not serving yet. Zero is a slot that was never used.
    Starting = 1,
    /// Accepting.
    Serving = 2,
    /// Finishing what it has.
    Draining = 3,
    /// Dead and reaped.
    Gone = 4,
}

/// The cells before the counters.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
enum Field {
    State,
    Pid,
    Heartbeat,
    Started,
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
    /// Dead marks that could not be written or announced.
    MarksLost,
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
    /// Spans that were to be exported; each ends as exported, dropped or failed.
    SpansQueued,
    /// Spans that the collector took.
    SpansExported,
    /// Spans for which there was no room.
    SpansDropped,
    /// Spans that the collector did not take, or that died with their worker.
    SpansFailed,
    /// Access-log lines that were still unwritten when their worker died; counted by the master.
    /// The last counter: the gauges follow it.
    LinesLostAtDeath,
}

/// What goes up and down. One cell each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(clippy::enum_variant_names, reason = "each counts what is open")]
pub(crate) enum Gauge {
    /// Connections open.
    OpenConnections,
    /// Exchanges in flight.
    OpenExchanges,
    /// Tunnels open. The last gauge: the slot ends with it.
    OpenTunnels,
}

impl Scoreboard {
    /// Maps a scoreboard for this many workers, with room for more.
    pub(crate) fn create(workers: usize) -> io::Result<Self> {
        let slots = workers.saturating_mul(2).max(MIN_SLOTS);
        let cells = HEADER + slots * SLOT;
        let memory = memfd_create(c"hipache-scoreboard", MFdFlags::MFD_CLOEXEC)?;
        let length = cells * size_of::<AtomicU64>();
        ftruncate(&memory, i64::try_from(length).map_err(io::Error::other)?)?;
        let board = Self {
            cells: sys::share_cells(&memory, cells)?,
        };
        for (cell, value) in [MAGIC, LAYOUT, slots as u64, SLOT as u64]
            .into_iter()
            .enumerate()
        {
            board.cells[cell].store(value, Ordering::Relaxed);
        }
        debug!(slots, descriptor = memory.as_raw_fd(), "scoreboard mapped");
        // Left open on purpose, as long as the mapping: an image that takes over in place gets the
        // counts through it.
        let _ = memory.into_raw_fd();
        Ok(board)
    }

    /// The slot of a worker, counted from 0. Panics when there is none: the master forks no worker
    /// beyond those that the board was made for.
    pub(crate) fn slot(&self, index: usize) -> Slot {
        let start = HEADER + index * SLOT;
        Slot {
            cells: &self.cells[start..start + SLOT],
        }
    }
}

impl Slot {
    /// Adds to a counter.
    pub(crate) fn add(&self, counter: Counter, count: u64) {
        self.cells[FIRST_COUNTER + counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Reads a counter.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.cells[FIRST_COUNTER + counter as usize].load(Ordering::Relaxed)
    }

    /// Raises a gauge for as long as what is returned lives.
    pub(crate) fn hold(self, gauge: Gauge) -> Held {
        self.shift(gauge, 1);
        Held { slot: self, gauge }
    }

    /// Moves a gauge up or down.
    pub(crate) fn shift(&self, gauge: Gauge, by: i64) {
        // Two's complement: adding the bits of a negative number takes away.
        self.cells[FIRST_GAUGE + gauge as usize].fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    /// Reads a gauge.
    pub(crate) fn level(&self, gauge: Gauge) -> i64 {
        self.cells[FIRST_GAUGE + gauge as usize]
            .load(Ordering::Relaxed)
            .cast_signed()
    }

    /// Takes the slot for a worker that has just been forked.
    pub(crate) fn occupy(&self, pid: u32) {
        self.set(Field::Pid, u64::from(pid));
        self.set(Field::Started, uptime_millis());
        self.enter(State::Starting);
        self.beat();
    }

    /// Tells in which part of its life the worker is.
    pub(crate) fn enter(&self, state: State) {
        self.set(Field::State, state as u64);
    }

    /// Shows that the worker's runtime still turns: writes the time.
    pub(crate) fn beat(&self) {
        self.set(Field::Heartbeat, uptime_millis());
    }

    /// Closes the books of a dead worker and gives the lines that died with it, for the master.
    /// From here on exchanges equal lines written, dropped, failed and lost.
    pub(crate) fn bury(&self, owes_lines: bool) -> u64 {
        self.enter(State::Gone);
        for gauge in &self.cells[FIRST_GAUGE..USED] {
            gauge.store(0, Ordering::Relaxed);
        }
        self.settle_spans();
        if !owes_lines {
            return 0;
        }
        let settled = [
            Counter::LinesWritten,
            Counter::LinesDropped,
            Counter::LinesFailed,
            Counter::LinesLostAtDeath,
        ];
        let settled: u64 = settled.into_iter().map(|counter| self.count(counter)).sum();
        let lost = self.count(Counter::Exchanges).saturating_sub(settled);
        self.add(Counter::LinesLostAtDeath, lost);
        lost
    }

    /// Counts the spans that died with the worker as failed.
    fn settle_spans(&self) {
        let ends = [
            Counter::SpansExported,
            Counter::SpansDropped,
            Counter::SpansFailed,
        ];
        let settled: u64 = ends.into_iter().map(|counter| self.count(counter)).sum();
        let lost = self.count(Counter::SpansQueued).saturating_sub(settled);
        self.add(Counter::SpansFailed, lost);
    }

    fn set(&self, field: Field, value: u64) {
        self.cells[field as usize].store(value, Ordering::Relaxed);
    }

    /// A slot of its own, for tests: nothing shared.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        let cells: Vec<AtomicU64> = (0..SLOT).map(|_| AtomicU64::new(0)).collect();
        Self {
            cells: cells.leak(),
        }
    }
}

/// Milliseconds of the monotonic clock, which all processes share.
fn uptime_millis() -> u64 {
    // Cannot fail for a clock that every Linux has; 0 reads as "never" rather than ending a worker.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(slot: &Slot, field: Field) -> u64 {
        slot.cells[field as usize].load(Ordering::Relaxed)
    }

    #[test]
    fn slots_start_on_their_own_cache_line_and_do_not_touch_each_other() {
        let board = Scoreboard::create(2).unwrap();
        assert_eq!(board.cells[0].load(Ordering::Relaxed), MAGIC);
        assert_eq!(board.cells[2].load(Ordering::Relaxed), MIN_SLOTS as u64);
        let [first, second] = [board.slot(0), board.slot(1)];
        for slot in [first, second, board.slot(MIN_SLOTS - 1)] {
            assert_eq!(slot.cells.as_ptr().addr() % 64, 0);
        }
        first.add(Counter::LinesLostAtDeath, 3);
        first.shift(Gauge::OpenTunnels, 4);
        second.add(Counter::Connections, 5);
        assert_eq!(first.count(Counter::LinesLostAtDeath), 3);
        assert_eq!(first.level(Gauge::OpenConnections), 0);
        assert_eq!(second.count(Counter::Connections), 5);
        assert_eq!(read(&second, Field::State), 0);
    }

    #[test]
    fn more_workers_than_the_minimum_have_room_to_double() {
        let board = Scoreboard::create(100).unwrap();
        assert_eq!(board.cells[2].load(Ordering::Relaxed), 200);
        board.slot(199).add(Counter::Tunnels, 1);
    }

    #[test]
    fn a_gauge_goes_down_as_well_as_up() {
        let slot = Slot::detached();
        slot.shift(Gauge::OpenExchanges, 2);
        slot.shift(Gauge::OpenExchanges, -3);
        assert_eq!(slot.level(Gauge::OpenExchanges), -1);
    }

    #[test]
    fn a_death_closes_the_books_and_is_counted_once() {
        let slot = Slot::detached();
        slot.occupy(77);
        assert_eq!(read(&slot, Field::Pid), 77);
        assert!(read(&slot, Field::Heartbeat) >= read(&slot, Field::Started));
        slot.shift(Gauge::OpenConnections, 9);
        for (counter, count) in [
            (Counter::Exchanges, 100),
            (Counter::LinesWritten, 80),
            (Counter::LinesDropped, 10),
            (Counter::LinesFailed, 3),
        ] {
            slot.add(counter, count);
        }
        assert_eq!(slot.bury(true), 7);
        assert_eq!(slot.bury(true), 0);
        assert_eq!(slot.level(Gauge::OpenConnections), 0);
        assert_eq!(read(&slot, Field::State), State::Gone as u64);
        assert_eq!(slot.count(Counter::LinesLostAtDeath), 7);
        slot.add(Counter::Exchanges, 5);
        assert_eq!(slot.bury(false), 0, "nothing is owed while the log is off");
        assert_eq!(slot.bury(true), 5);
    }
}
