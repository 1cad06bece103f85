//! What every worker tells about itself, in memory shared by all processes.
//!
//! One slot a worker, written by it alone with relaxed atomics, read by anyone. Counters outlive
//! the worker: its successor goes on counting in the same slot. Once the worker is gone the master
//! writes in its place: it zeroes the gauges and counts the log lines that died with it.
//!
//! ```text
//! header: magic, layout version, slots, cells a slot, master, its start, deaths by reason, moves
//!         of vhosts; then,
//!         each from a cache line of its own,
//! slot:   state, pid, heartbeat, start, counters …, gauges …, counters of each access log …, tallies …, histograms …,
//!         keys of request series …, request series with exemplars …, vhosts …
//! ```
//!
//! A page that nobody wrote takes no memory, so what is never used costs nothing; readers look only
//! into slots that were occupied and series that were begun.

mod counted;
mod histogram;
mod life;
mod logs;
mod moves;
mod requests;
mod vhosts;

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;
use tracing::debug;

use crate::sys;
pub(crate) use counted::{Counter, Death, ENDS, Gauge, Tally};
pub(crate) use histogram::{HTTP_BOUNDS, Timing};
use life::Field;
pub(crate) use life::State;
use logs::LOG_CELLS;
pub(crate) use logs::{LOGS, LogCounter, LogSlot};
pub(crate) use requests::{Exemplar, OVERFLOW, Series};
pub(crate) use vhosts::{VHOST_BOUNDS, Vhost, Visit, shown_name};

/// `hipache` and a zero byte.
const MAGIC: u64 = u64::from_le_bytes(*b"hipache\0");
/// Raised with every change of the layout.
const LAYOUT: u64 = 3;
/// Cells in a cache line of 64 bytes.
const LINE: usize = 8;
const HEADER: usize = 2 * LINE;
/// Cells of the header that the master writes.
const MASTER_PID: usize = 4;
const MASTER_STARTED: usize = 5;
const DEATHS: usize = 6;
/// Cells of the header for the vhosts that change places: odd while one does; and which slot's.
const MOVES: usize = DEATHS + Death::ALL.len();
const MOVER: usize = MOVES + 1;
const FIRST_COUNTER: usize = Field::Started as usize + 1;
const FIRST_GAUGE: usize = FIRST_COUNTER + Counter::LinesLostAtDeath as usize + 1;
const FIRST_LOG: usize = FIRST_GAUGE + Gauge::RedisLinks as usize + 1;
const FIRST_TALLY: usize = FIRST_LOG + LOGS * LOG_CELLS;
const FIRST_HISTOGRAM: usize = FIRST_TALLY + (Tally::Attempts as usize + 1) * ENDS;
const FIRST_REQUEST: usize = (FIRST_HISTOGRAM + histogram::CELLS).next_multiple_of(LINE);
const FIRST_VHOST: usize = (FIRST_REQUEST + requests::CELLS).next_multiple_of(LINE);
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
    board: Scoreboard,
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

impl Scoreboard {
    /// Maps a scoreboard for this many workers, with room for more, and so many vhosts in each.
    pub(crate) fn create(workers: usize, vhosts: usize) -> io::Result<Self> {
        let slots = workers.saturating_mul(2).max(MIN_SLOTS);
        let slot = slot_cells(vhosts);
        let cells = HEADER + slots * slot;
        let memory = memfd_create(c"hipache-scoreboard", MFdFlags::MFD_CLOEXEC)?;
        let length = cells * size_of::<AtomicU64>();
        ftruncate(&memory, i64::try_from(length).map_err(io::Error::other)?)?;
        let board = Self {
            cells: sys::share_cells(&memory, cells)?,
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = u64::try_from(started.unwrap_or_default().as_millis()).unwrap_or(0);
        let master = u64::from(std::process::id());
        for (cell, value) in [MAGIC, LAYOUT, slots as u64, slot as u64, master, started]
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

    /// A board with so many slots of two vhosts, for tests: nothing shared.
    #[cfg(test)]
    pub(crate) fn detached(slots: usize) -> Self {
        let slot = slot_cells(2);
        let cells = (0..HEADER + slots * slot).map(|_| AtomicU64::new(0));
        let cells: Vec<_> = cells.collect();
        cells[2].store(slots as u64, Ordering::Relaxed);
        cells[3].store(slot as u64, Ordering::Relaxed);
        Self {
            cells: cells.leak(),
        }
    }

    /// The slots that ever had a worker, with their numbers.
    pub(crate) fn used(self) -> impl Iterator<Item = (usize, Slot)> {
        let slots = self.cells[2].load(Ordering::Relaxed);
        let slots = usize::try_from(slots).unwrap_or(0);
        let numbered = (0..slots).map(move |index| (index, self.slot(index)));
        numbered.filter(|(_, slot)| slot.read(Field::State) != 0)
    }

    /// The master's process id.
    pub(crate) fn master(self) -> u32 {
        u32::try_from(self.cells[MASTER_PID].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// When the master started, by the wall clock.
    pub(crate) fn started(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.cells[MASTER_STARTED].load(Ordering::Relaxed))
    }

    /// Counts the death of a worker, for the master.
    pub(crate) fn count_death(self, death: Death) {
        self.cells[DEATHS + death as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many workers died so.
    pub(crate) fn deaths(self, death: Death) -> u64 {
        self.cells[DEATHS + death as usize].load(Ordering::Relaxed)
    }

    /// The slot of a worker, counted from 0. Panics when there is none: the master forks no worker
    /// beyond those that the board was made for.
    pub(crate) fn slot(&self, index: usize) -> Slot {
        let slot = usize::try_from(self.cells[3].load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let start = HEADER + index * slot;
        Slot {
            board: *self,
            cells: &self.cells[start..start + slot],
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

    /// Puts a gauge where it is now.
    pub(crate) fn put(&self, gauge: Gauge, level: u64) {
        self.cells[FIRST_GAUGE + gauge as usize].store(level, Ordering::Relaxed);
    }

    /// Counts what this word ended: the number of the word, below [`ENDS`].
    pub(crate) fn tally(&self, tally: Tally, end: usize) {
        self.tally_cell(tally, end).fetch_add(1, Ordering::Relaxed);
    }

    /// How much this word ended.
    pub(crate) fn tallied(&self, tally: Tally, end: usize) -> u64 {
        self.tally_cell(tally, end).load(Ordering::Relaxed)
    }

    fn tally_cell(&self, tally: Tally, end: usize) -> &AtomicU64 {
        &self.cells[FIRST_TALLY + tally as usize * ENDS + end.min(ENDS - 1)]
    }

    /// Closes the books of a dead worker with so many access logs and gives the lines that died
    /// with it, for the master. From here on exchanges equal, in each log, the lines written,
    /// dropped, failed, filtered and lost.
    pub(crate) fn bury(&self, logs: usize) -> u64 {
        self.enter(State::Gone);
        for gauge in &self.cells[FIRST_GAUGE..FIRST_LOG] {
            gauge.store(0, Ordering::Relaxed);
        }
        self.settle_spans();
        self.end_move();
        self.bury_lines(logs)
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

    /// A slot of its own, for tests: nothing shared.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Scoreboard::detached(1).slot(0)
    }
}

fn slot_cells(vhosts: usize) -> usize {
    (FIRST_VHOST + vhosts::cells(vhosts)).next_multiple_of(LINE)
}

#[cfg(test)]
mod tests;
