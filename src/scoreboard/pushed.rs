//! What workers agree on to push the metrics of all: who is asked, what was pushed, who is the last.
//!
//! Nobody talks to anybody: each worker reads the same cells and comes to the same conclusion.

use std::sync::atomic::Ordering;

use super::{FAREWELL, INSTANCE, PUSHED, Scoreboard, Slot, State};

impl Scoreboard {
    /// A number of this proxy as a whole, the same for all its workers: drawn by the first that
    /// asks. Not 0.
    pub(crate) fn instance(self, draw: impl FnOnce() -> u64) -> u64 {
        let (cell, drawn) = (&self.cells[INSTANCE], draw() | 1);
        let relaxed = Ordering::Relaxed;
        cell.compare_exchange(0, drawn, relaxed, relaxed)
            .map_or_else(|known| known, |_| drawn)
    }

    /// The turn of the last push that a collector took; 0 before the first.
    pub(crate) fn pushed(self) -> u64 {
        self.cells[PUSHED].load(Ordering::Acquire)
    }

    /// A collector took the push of this turn.
    pub(crate) fn set_pushed(self, turn: u64) {
        self.cells[PUSHED].store(turn, Ordering::Release);
    }

    /// A worker begins that will have to be waited for.
    pub(crate) fn expect_farewell(self) {
        self.cells[FAREWELL].store(0, Ordering::Relaxed);
    }

    /// Whether the worker of this slot, which has nothing left to do, is the last one: all others
    /// have nothing left either, or are gone. At most one is told so.
    pub(crate) fn is_last(self, slot: Slot) -> bool {
        slot.enter(State::Leaving);
        // All workers take the same steps: enter, then look. So of two that leave at the same
        // moment at least one sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        let is_over = |state| matches!(state, State::Leaving | State::Gone);
        let relaxed = Ordering::Relaxed;
        self.used().all(|(_, slot)| is_over(slot.life().state))
            && self.cells[FAREWELL]
                .compare_exchange(0, 1, relaxed, relaxed)
                .is_ok()
    }

    /// Who pushes for all: of the workers that serve, or else of those that drain, the one that has
    /// run the longest, so that a newcomer takes nothing over. One whose runtime does not turn is
    /// passed over.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Field;
    use super::*;

    /// A board whose workers are in these states and have run for so many milliseconds.
    fn board(workers: &[(State, u64)]) -> Scoreboard {
        let board = Scoreboard::create(workers.len(), 1).unwrap();
        for (number, (state, age)) in workers.iter().enumerate() {
            let slot = board.slot(number);
            slot.occupy(7);
            slot.set(
                Field::Started,
                slot.read(Field::Started).saturating_sub(*age),
            );
            slot.enter(*state);
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
        let hung = board.slot(0);
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
        assert!(!board.is_last(board.slot(0)));
        assert!(board.is_last(board.slot(2)));
        assert!(!board.is_last(board.slot(0)), "told already");
        board.expect_farewell();
        assert!(board.is_last(board.slot(0)));
    }

    #[test]
    fn the_instance_is_drawn_once() {
        let board = board(&[]);
        assert_eq!(board.instance(|| 8), 9);
        assert_eq!(board.instance(|| 6), 9);
    }
}
