//! The counts of each access log of a worker.
//!
//! Each count is added to the cell of its log and to the total of the seat, so that they agree.

use std::sync::atomic::Ordering;

use super::{Counter, FIRST_LOG, Seat};

/// Access logs that a seat has room for.
pub(crate) const LOGS: usize = 8;
/// Exchanges of earlier workers in the seat that are owed no line in this log: they wrote others.
const FORGIVEN: usize = LogCounter::LostAtDeath as usize + 1;
/// Cells of a log.
pub(super) const LOG_CELLS: usize = FORGIVEN + 1;

/// What becomes of the lines of one log: each exchange is in exactly one count but `Bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum LogCounter {
    /// Lines written.
    Written,
    /// Lines lost because the queue was full.
    Dropped,
    /// Lines lost to a write error.
    Failed,
    /// Exchanges without a line: filtered out, or not in the sample.
    Filtered,
    /// Bytes written.
    Bytes,
    /// Lines that were still unwritten when their worker died; counted by the master. The last.
    LostAtDeath,
}

/// The counts of one log of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSeat {
    seat: Seat,
    first: usize,
}

impl Seat {
    /// The counts of a log, by its place in the configuration. Panics beyond [`LOGS`]: the
    /// configuration allows no more.
    pub(crate) fn log(self, index: usize) -> LogSeat {
        assert!(index < LOGS, "the configuration allows {LOGS} logs");
        LogSeat {
            seat: self,
            first: FIRST_LOG + index * LOG_CELLS,
        }
    }

    /// Starts the books of every log for a new worker: its logs may be others in number and meaning
    /// than those of the worker before it.
    pub(super) fn open_books(self) {
        let exchanges = self.count(Counter::Exchanges);
        for index in 0..LOGS {
            let log = self.log(index);
            let forgiven = exchanges.saturating_sub(log.settled());
            self.cells[log.first + FORGIVEN].store(forgiven, Ordering::Relaxed);
        }
    }

    /// Counts the lines of so many logs that died with their worker; how many there were.
    pub(super) fn bury_lines(self, logs: usize) -> u64 {
        let lost =
            (0..logs.min(LOGS)).map(|index| self.log(index).bury(self.count(Counter::Exchanges)));
        lost.sum()
    }
}

impl LogSeat {
    /// Adds to a count.
    pub(crate) fn add(self, counter: LogCounter, count: u64) {
        let cell = &self.seat.cells[self.first + counter as usize];
        cell.fetch_add(count, Ordering::Relaxed);
        self.seat.add(counter.total(), count);
    }

    /// Reads a count.
    pub(crate) fn count(self, counter: LogCounter) -> u64 {
        self.seat.cells[self.first + counter as usize].load(Ordering::Relaxed)
    }

    /// Exchanges whose line in this log needs nothing more.
    fn settled(self) -> u64 {
        let ends = [
            LogCounter::Written,
            LogCounter::Dropped,
            LogCounter::Failed,
            LogCounter::Filtered,
            LogCounter::LostAtDeath,
        ];
        ends.into_iter().map(|counter| self.count(counter)).sum()
    }

    fn bury(self, exchanges: u64) -> u64 {
        let forgiven = self.seat.cells[self.first + FORGIVEN].load(Ordering::Relaxed);
        let lost = exchanges.saturating_sub(self.settled() + forgiven);
        self.add(LogCounter::LostAtDeath, lost);
        lost
    }
}

impl LogCounter {
    /// The count over all logs.
    fn total(self) -> Counter {
        match self {
            Self::Written => Counter::LinesWritten,
            Self::Dropped => Counter::LinesDropped,
            Self::Failed => Counter::LinesFailed,
            Self::Filtered => Counter::LinesFiltered,
            Self::Bytes => Counter::LogBytes,
            Self::LostAtDeath => Counter::LinesLostAtDeath,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_has_its_own_counts_and_the_seat_their_totals() {
        let seat = Seat::detached();
        seat.add(Counter::Exchanges, 10);
        let table = [
            (0, LogCounter::Written, 10),
            (1, LogCounter::Written, 2),
            (1, LogCounter::Filtered, 5),
            (1, LogCounter::Failed, 1),
            (LOGS - 1, LogCounter::Bytes, 7),
        ];
        for (index, counter, count) in table {
            seat.log(index).add(counter, count);
            assert_eq!(seat.log(index).count(counter), count);
        }
        assert_eq!(seat.count(Counter::LinesWritten), 12);
        assert_eq!(seat.bury_lines(2), 2);
        assert_eq!(seat.log(0).count(LogCounter::LostAtDeath), 0);
        assert_eq!(seat.log(1).count(LogCounter::LostAtDeath), 2);
        assert_eq!(seat.bury_lines(2), 0);
        assert_eq!(seat.log(LOGS - 1).count(LogCounter::Bytes), 7);
    }
}
