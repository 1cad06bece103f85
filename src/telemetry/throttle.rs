//! A bound for events that a peer can cause: so many a second, the others counted.
//!
//! One `static` for each bounded event; a process has one of each. Relaxed atomics are enough: an
//! event more or less at the turn of a second harms nobody, and no count is lost.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Lets a limited number of events a second through.
pub(super) struct Throttle {
    /// Events a second that pass.
    limit: u64,
    /// The second that is being counted.
    second: AtomicU64,
    /// Events seen in it.
    seen: AtomicU64,
    /// Events held back since the last one that passed.
    held_back: AtomicU64,
}

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Tell it; so many before it were held back.
    Tell {
        /// Events held back since the last one that was told.
        held_back: u64,
    },
    /// Hold it back. `is_first`: the first of its second, so that the gap itself is told.
    HoldBack {
        /// Whether it is the first of its second.
        is_first: bool,
    },
}

impl Throttle {
    /// A throttle that lets `limit` events a second through.
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            second: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Judges one event that happens in this second, counted from any fixed moment.
    pub(super) fn judge(&self, second: u64) -> Verdict {
        if self.second.swap(second, Relaxed) != second {
            self.seen.store(0, Relaxed);
        }
        let seen = self.seen.fetch_add(1, Relaxed);
        if seen < self.limit {
            return Verdict::Tell {
                held_back: self.held_back.swap(0, Relaxed),
            };
        }
        self.held_back.fetch_add(1, Relaxed);
        Verdict::HoldBack {
            is_first: seen == self.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_bounded_and_what_it_held_back_is_counted() {
        let throttle = Throttle::new(2);
        let tell = |held_back| Verdict::Tell { held_back };
        let hold = |is_first| Verdict::HoldBack { is_first };
        let cases = [
            (7, tell(0)),
            (7, tell(0)),
            (7, hold(true)),
            (7, hold(false)),
            (8, tell(2)),
            (8, tell(0)),
            (8, hold(true)),
            (60, tell(1)),
        ];
        for (index, (second, expected)) in cases.into_iter().enumerate() {
            assert_eq!(throttle.judge(second), expected, "event {index}");
        }
    }
}
