//! Sums over all workers, dead ones included.

use crate::scoreboard::{Counter, Gauge, Scoreboard, Seat, Tally, Timing};

/// All seats that ever had a worker.
pub(crate) struct Snapshot {
    pub(super) seats: Vec<(usize, Seat)>,
}

impl Snapshot {
    /// Those of this board.
    pub(crate) fn of(board: Scoreboard) -> Self {
        Self {
            seats: board.used().collect(),
        }
    }

    /// The sum of a counter.
    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.seats.iter().map(|(_, seat)| seat.count(counter)).sum()
    }

    /// The sum of a tally's word.
    pub(super) fn tallied(&self, tally: Tally, word: usize) -> u64 {
        let seats = self.seats.iter();
        seats.map(|(_, seat)| seat.tallied(tally, word)).sum()
    }

    /// The sum of a gauge.
    pub(super) fn level(&self, gauge: Gauge) -> i64 {
        self.seats.iter().map(|(_, seat)| seat.level(gauge)).sum()
    }

    /// The sum of a histogram: counts by bucket, and of what was measured.
    pub(super) fn timed(&self, timing: Timing) -> (Vec<u64>, u64) {
        let mut total = (vec![0; timing.bounds().len() + 1], 0_u64);
        for (_, seat) in &self.seats {
            let (buckets, sum) = seat.timed(timing);
            total
                .0
                .iter_mut()
                .zip(buckets)
                .for_each(|(all, more)| *all += more);
            total.1 = total.1.wrapping_add(sum);
        }
        total
    }
}
