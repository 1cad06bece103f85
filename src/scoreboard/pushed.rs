//! What workers agree on to push the metrics of all: who is asked, what was pushed, who is the last.
//!
//! Nobody talks to anybody: each worker reads the same cells and comes to the same conclusion.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{PUSH, Scoreboard, Seat, State};

/// Series whose new beginning is remembered, at most.
const RESET_PLACES: usize = 16_384;
const INSTANCE: usize = PUSH;
const PUSHED: usize = INSTANCE + 1;
const SENT: usize = PUSHED + 2;
const FAREWELL: usize = SENT + 2;
/// Each has its key and its beginning.
const RESETS: usize = PUSH + 8;
/// A multiple of those in a cache line.
pub(super) const CELLS: usize = 8 + RESET_PLACES * 2;
/// Places that are looked at for a key.
const PROBES: usize = 16;

/// A push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// When its turn began, in milliseconds of a clock that all workers share; never 0.
    pub(crate) turn: u64,
    /// The time of its values, in nanoseconds since 1970.
    pub(crate) at: u64,
}

impl Told {
    /// Before the first.
    pub(crate) const NOTHING: Self = Self { turn: 0, at: 0 };
}

impl Scoreboard {
    /// When a series that is less than it was began anew, in nanoseconds since 1970; `None` where
    /// it never did. `key` stands for it, and is not 0.
    pub(crate) fn beginning(self, key: u64) -> Option<u64> {
        let (_, since) = self.probe(key).find(|(held, _)| load(held) == key)?;
        Some(load(since)).filter(|since| *since > 0)
    }

    /// Remembers that a series began anew. Where there is no place left, it goes on as if nothing
    /// had been.
    pub(crate) fn begin_anew(self, key: u64, at: u64) {
        let relaxed = Ordering::Relaxed;
        for (held, since) in self.probe(key) {
            let taken = held.compare_exchange(0, key, relaxed, relaxed);
            if taken.is_ok() || taken == Err(key) {
                return since.store(at, relaxed);
            }
        }
    }

    /// The places where a key may be, with their beginnings.
    fn probe(self, key: u64) -> impl Iterator<Item = (&'static AtomicU64, &'static AtomicU64)> {
        let start = usize::try_from(key % RESET_PLACES as u64).unwrap_or(0);
        let places = (0..PROBES).map(move |step| RESETS + (start + step) % RESET_PLACES * 2);
        places.map(move |cell| (&self.cells[cell], &self.cells[cell + 1]))
    }

    /// A number of this proxy as a whole, the same for all its workers: drawn by the first that
    /// asks. Not 0.
    pub(crate) fn instance(self, draw: impl FnOnce() -> u64) -> u64 {
        let (cell, drawn) = (&self.cells[INSTANCE], draw() | 1);
        let relaxed = Ordering::Relaxed;
        cell.compare_exchange(0, drawn, relaxed, relaxed)
            .map_or_else(|known| known, |_| drawn)
    }

    /// The last push that a collector took; `Told::NOTHING` before the first.
    pub(crate) fn pushed(self) -> Told {
        self.told(PUSHED)
    }

    /// The last push that was sent: one whose sender died may have been taken or not.
    pub(crate) fn sent(self) -> Told {
        self.told(SENT)
    }

    /// This push is about to be sent.
    pub(crate) fn set_sent(self, told: Told) {
        self.tell(SENT, told);
    }

    /// What became of the push that was sent.
    pub(crate) fn settle_sent(self, is_taken: bool) {
        match is_taken {
            true => self.tell(PUSHED, self.sent()),
            false => self.tell(SENT, self.pushed()),
        }
    }

    fn told(self, first: usize) -> Told {
        let turn = self.cells[first].load(Ordering::Acquire);
        Told {
            turn,
            at: load(&self.cells[first + 1]),
        }
    }

    /// Between two turns is time enough for readers.
    fn tell(self, first: usize, told: Told) {
        self.cells[first + 1].store(told.at, Ordering::Relaxed);
        self.cells[first].store(told.turn, Ordering::Release);
    }

    /// A worker begins that will have to be waited for.
    pub(crate) fn expect_farewell(self) {
        self.cells[FAREWELL].store(0, Ordering::Relaxed);
    }

    /// Whether the worker of this seat, which has nothing left to do, is the last one: all others
    /// have nothing left either, or are gone. At most one is told so.
    pub(crate) fn is_last(self, seat: Seat) -> bool {
        seat.enter(State::Leaving);
        // All workers take the same steps: enter, then look. So of two that leave at the same
        // moment at least one sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        let is_over = |state| matches!(state, State::Leaving | State::Gone);
        let relaxed = Ordering::Relaxed;
        self.used().all(|(_, seat)| is_over(seat.life().state))
            && self.cells[FAREWELL]
                .compare_exchange(0, 1, relaxed, relaxed)
                .is_ok()
    }

    /// Who pushes metrics and tells the master's events for all: of the workers that serve, or else of
    /// those that drain, the one that has run the longest, so that a newcomer takes nothing over. One
    /// whose runtime does not turn is passed over.
    pub(crate) fn elected(self) -> Option<usize> {
        let lives = || self.used().map(|(number, slot)| (number, slot.life()));
        let oldest = |state| {
            let able = lives().filter(|(_, life)| life.state == state && life.turns());
            able.min_by_key(|(number, life)| (life.started, *number))
        };
        let elected = oldest(State::Serving).or_else(|| oldest(State::Draining));
        elected.map(|(number, _)| number)
    }
}

fn load(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Field, Occupant};
    use super::*;

    /// A board whose workers are in these states and have run for so many milliseconds.
    fn board(workers: &[(State, u64)]) -> Scoreboard {
        let board = Scoreboard::create(workers.len(), 1).unwrap();
        for (number, (state, age)) in workers.iter().enumerate() {
            let seat = board.seat(number);
            seat.occupy(Occupant {
                slot: number,
                generation: 1,
                logs: 1,
            });
            let started = seat.read(Field::Started);
            // Ages in seconds: the seats are taken at different milliseconds.
            seat.set(Field::Started, started.saturating_sub(*age * 1_000));
            seat.enter(*state);
        }
        board
    }

    #[test]
    fn the_oldest_that_serves_is_elected() {
        use State::{Draining, Gone, Leaving, Serving, Starting};
        type Case = (&'static [(State, u64)], Option<usize>);
        let cases: [Case; 7] = [
            (&[], None),
            (&[(Starting, 9), (Serving, 5), (Serving, 7)], Some(2)),
            (&[(Serving, 5), (Serving, 5)], Some(0)),
            (&[(Draining, 9), (Serving, 1)], Some(1)),
            (&[(Gone, 9), (Draining, 1), (Draining, 2)], Some(2)),
            (&[(Leaving, 9), (Draining, 1)], Some(1)),
            (&[(Gone, 9), (Leaving, 1)], None),
        ];
        for (workers, expected) in cases {
            assert_eq!(board(workers).elected(), expected, "{workers:?}");
        }
    }

    #[test]
    fn a_worker_that_hangs_is_passed_over() {
        let board = board(&[(State::Serving, 9), (State::Serving, 1)]);
        let hung = board.seat(0);
        let late = Duration::from_secs(60).as_millis() as u64;
        hung.set(
            Field::Heartbeat,
            hung.read(Field::Heartbeat).saturating_sub(late),
        );
        assert_eq!(board.elected(), Some(1));
    }

    #[test]
    fn one_is_the_last_and_only_one() {
        let board = board(&[(State::Draining, 1), (State::Gone, 1), (State::Draining, 1)]);
        assert!(!board.is_last(board.seat(0)));
        assert!(board.is_last(board.seat(2)));
        assert!(!board.is_last(board.seat(0)), "told already");
        board.expect_farewell();
        assert!(board.is_last(board.seat(0)));
    }

    #[test]
    fn beginnings_are_known_to_all() {
        let board = board(&[]);
        let crowd = RESET_PLACES as u64;
        assert_eq!(board.beginning(7), None);
        board.begin_anew(7, 10);
        board.begin_anew(7 + crowd, 3);
        assert_eq!(board.beginning(7), Some(10));
        assert_eq!(board.beginning(7 + crowd), Some(3), "the same place");
        board.begin_anew(7, 12);
        assert_eq!(board.beginning(7), Some(12));
        let last = PROBES as u64 + 3;
        (2..=last).for_each(|key| board.begin_anew(7 + key * crowd, key));
        assert_eq!(board.beginning(7 + 2 * crowd), Some(2));
        assert_eq!(board.beginning(7 + last * crowd), None, "no place");
    }

    #[test]
    fn a_push_is_sent_and_then_taken_or_not() {
        let board = board(&[]);
        assert_eq!(
            (board.pushed(), board.sent()),
            (Told::NOTHING, Told::NOTHING)
        );
        let first = Told { turn: 3, at: 30 };
        board.set_sent(first);
        assert_eq!((board.pushed(), board.sent()), (Told::NOTHING, first));
        board.settle_sent(true);
        assert_eq!((board.pushed(), board.sent()), (first, first));
        board.set_sent(Told { turn: 4, at: 40 });
        board.settle_sent(false);
        assert_eq!((board.pushed(), board.sent()), (first, first));
    }

    #[test]
    fn the_instance_is_drawn_once() {
        let board = board(&[]);
        assert_eq!(board.instance(|| 8), 9);
        assert_eq!(board.instance(|| 6), 9);
    }
}
