//! What every worker tells about itself, in memory shared by all processes.
//!
//! One seat a process, written by it alone with relaxed atomics, read by anyone. A seat is taken by
//! one worker at a time; when that is gone another may take it and goes on counting there, so
//! counters outlive workers. Once a worker is gone the master writes in its place: it zeroes the
//! gauges and counts the log lines and spans that died with it.
//!
//! ```text
//! header: magic, layout version, seats, cells a seat, what the master tells (`master`), the state of
//!         the push of metrics (`pushed`); then, each from a cache line of its own,
//! seat:   life …, counters …, gauges …, counters of each access log …, tallies …, histograms …,
//!         keys of request series …, request series with exemplars …, vhosts …
//! ```
//!
//! A page that nobody wrote takes no memory, so what is never used costs nothing; readers look only
//! into seats that were occupied and series that were begun.

mod counted;
mod histogram;
mod life;
mod logs;
mod master;
mod moves;
mod pushed;
mod requests;
mod vhosts;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;
use tracing::debug;

use crate::sys;
pub(crate) use counted::{Counter, Death, ENDS, Gauge, Reload, Replacement, Tally};
pub(crate) use histogram::{HTTP_BOUNDS, Timing};
use life::Field;
pub(crate) use life::{Estate, Occupant, State, monotonic_millis};
use logs::LOG_CELLS;
pub(crate) use logs::{LOGS, LogCounter, LogSeat};
pub(crate) use pushed::Told;
pub(crate) use requests::{Exemplar, OVERFLOW, Series};
pub(crate) use vhosts::{VHOST_BOUNDS, Vhost, Visit, shown_name};

/// `hipache` and a zero byte.
const MAGIC: u64 = u64::from_le_bytes(*b"hipache\0");
/// Raised with every change of the layout.
const LAYOUT: u64 = 7;
/// Cells in a cache line of 64 bytes.
const LINE: usize = 8;
const HEADER: usize = PUSH + pushed::CELLS;
/// The cells of the header for the vhosts that change places: odd while one does; and whose.
const MOVES: usize = PUSH - 2;
const MOVER: usize = PUSH - 1;
/// Where those of the push of metrics begin.
const PUSH: usize = 8 * LINE;
const FIRST_COUNTER: usize = Field::FirstConnection as usize + 1;
const FIRST_GAUGE: usize = FIRST_COUNTER + Counter::LinesLostAtDeath as usize + 1;
const FIRST_LOG: usize = FIRST_GAUGE + Gauge::RedisLinks as usize + 1;
const FIRST_TALLY: usize = FIRST_LOG + LOGS * LOG_CELLS;
const FIRST_HISTOGRAM: usize = FIRST_TALLY + (Tally::HandshakesFailed as usize + 1) * ENDS;
const FIRST_REQUEST: usize = (FIRST_HISTOGRAM + histogram::CELLS).next_multiple_of(LINE);
const FIRST_VHOST: usize = (FIRST_REQUEST + requests::CELLS).next_multiple_of(LINE);
/// Seats for each slot: its worker, the successor, and two that drain.
pub(crate) const SEATS_PER_SLOT: usize = 4;
/// Seats made at least, so that a reload may add workers without a new mapping.
const MIN_SEATS: usize = 64;

/// The shared mapping; made once by the master, before the first fork.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scoreboard {
    cells: &'static [AtomicU64],
    /// Open as long as the mapping: an image that takes over in place gets the counts through it.
    memory: Option<&'static OwnedFd>,
}

/// The place of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    board: Scoreboard,
    cells: &'static [AtomicU64],
}

/// Keeps a gauge raised by one until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    seat: Seat,
    gauge: Gauge,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seat.shift(self.gauge, -1);
    }
}

impl Scoreboard {
    /// Maps a scoreboard for this many workers, with room for more, and so many vhosts in each.
    pub(crate) fn create(workers: usize, vhosts: usize) -> io::Result<Self> {
        let seats = workers.saturating_mul(SEATS_PER_SLOT).max(MIN_SEATS);
        let seat = seat_cells(vhosts);
        let cells = HEADER + seats * seat;
        let memory = memfd_create(c"hipache-scoreboard", MFdFlags::MFD_CLOEXEC)?;
        let length = cells * size_of::<AtomicU64>();
        ftruncate(&memory, i64::try_from(length).map_err(io::Error::other)?)?;
        let board = Self::map(memory, cells)?;
        for (cell, value) in [MAGIC, LAYOUT, seats as u64, seat as u64]
            .into_iter()
            .enumerate()
        {
            board.cells[cell].store(value, Ordering::Relaxed);
        }
        board.name_master();
        debug!(seats, "scoreboard mapped");
        Ok(board)
    }

    /// Maps the scoreboard that the image before this one has made; `None` when it is another kind.
    pub(crate) fn take_over(memory: OwnedFd) -> io::Result<Option<Self>> {
        let length = fstat(&memory)?.st_size;
        let cells = usize::try_from(length).unwrap_or(0) / size_of::<AtomicU64>();
        if cells < HEADER {
            return Ok(None);
        }
        let board = Self::map(memory, cells)?;
        let [magic, layout, seats, seat] =
            [0, 1, 2, 3].map(|cell| board.cells[cell].load(Ordering::Relaxed));
        let whole = (HEADER as u64).checked_add(seats.saturating_mul(seat));
        let is_ours = (magic, layout) == (MAGIC, LAYOUT)
            && seat >= seat_cells(0) as u64
            && whole.is_some_and(|whole| whole <= cells as u64);
        Ok(is_ours.then_some(board))
    }

    fn map(memory: OwnedFd, cells: usize) -> io::Result<Self> {
        Ok(Self {
            cells: sys::share_cells(&memory, cells)?,
            memory: Some(Box::leak(Box::new(memory))),
        })
    }

    /// The memory, to be handed over.
    pub(crate) fn memory(self) -> Option<BorrowedFd<'static>> {
        self.memory.map(OwnedFd::as_fd)
    }

    /// A board with so many seats of two vhosts, for tests: nothing shared.
    #[cfg(test)]
    pub(crate) fn detached(seats: usize) -> Self {
        let seat = seat_cells(2);
        let cells = (0..HEADER + seats * seat).map(|_| AtomicU64::new(0));
        let cells: Vec<_> = cells.collect();
        cells[2].store(seats as u64, Ordering::Relaxed);
        cells[3].store(seat as u64, Ordering::Relaxed);
        Self {
            cells: cells.leak(),
            memory: None,
        }
    }

    /// How many processes have room.
    pub(crate) fn seats(self) -> usize {
        usize::try_from(self.cells[2].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The seats that ever had a worker, with their numbers: what they counted is true for ever.
    pub(crate) fn used(self) -> impl Iterator<Item = (usize, Seat)> {
        let numbered = (0..self.seats()).map(move |index| (index, self.seat(index)));
        numbered.filter(|(_, seat)| seat.read(Field::State) != 0)
    }

    /// The seats that have a worker, with their numbers.
    pub(crate) fn living(self) -> impl Iterator<Item = (usize, Seat)> {
        self.used()
            .filter(|(_, seat)| seat.life().state != State::Gone)
    }

    /// A seat, counted from 0. Panics when there is none: the master forks no worker beyond those
    /// that the board was made for.
    pub(crate) fn seat(&self, index: usize) -> Seat {
        let seat = usize::try_from(self.cells[3].load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let start = HEADER + index * seat;
        Seat {
            board: *self,
            cells: &self.cells[start..start + seat],
        }
    }
}

impl Seat {
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
        Held { seat: self, gauge }
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

    /// Counts by a word: the number of the word, below [`ENDS`].
    pub(crate) fn tally(&self, tally: Tally, end: usize) {
        self.tally_cell(tally, end).fetch_add(1, Ordering::Relaxed);
    }

    /// How much was counted by this word.
    pub(crate) fn tallied(&self, tally: Tally, end: usize) -> u64 {
        self.tally_cell(tally, end).load(Ordering::Relaxed)
    }

    fn tally_cell(&self, tally: Tally, end: usize) -> &AtomicU64 {
        &self.cells[FIRST_TALLY + tally as usize * ENDS + end.min(ENDS - 1)]
    }

    /// A seat of its own, for tests: nothing shared.
    #[cfg(test)]
    pub(crate) fn detached() -> Self {
        Scoreboard::detached(1).seat(0)
    }
}

fn seat_cells(vhosts: usize) -> usize {
    (FIRST_VHOST + vhosts::cells(vhosts)).next_multiple_of(LINE)
}

#[cfg(test)]
mod tests;
