//! Vhosts that change places, so that what is shown of each never goes back.
//!
//! Workers choose their vhosts by themselves, and a reader adds up what all of them show of one. If
//! one worker gives a vhost up while another goes on showing it, the sum would shrink, which looks
//! like a restart; so the counts are handed to the other one. One worker moves vhosts at a time, and
//! a reader that was disturbed by it reads again.

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};

use super::{MOVER, MOVES, Scoreboard, Seat};

/// The right to change the vhosts of a seat, until it is dropped.
pub(crate) struct Moves {
    seat: Seat,
    /// Where the other workers show which vhost.
    others: HashMap<String, (Seat, usize)>,
}

impl Seat {
    /// The right to change the vhosts of this seat; `None` while another worker has it for its own.
    pub(crate) fn begin_moves(self) -> Option<Moves> {
        let [moves, mover] = [MOVES, MOVER].map(|cell| &self.board.cells[cell]);
        let before = moves.load(Ordering::Relaxed);
        let begun = before.is_multiple_of(2)
            && moves
                .compare_exchange(before, before + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !begun {
            return None;
        }
        mover.store(self.mark(), Ordering::Relaxed);
        fence(Ordering::Release);
        let seats = self.board.used().map(|(_, seat)| seat);
        let others = seats.filter(|seat| seat.mark() != self.mark());
        let shown = others.flat_map(|seat| (1..=seat.vhost_places()).map(move |at| (seat, at)));
        let named = shown.filter_map(|(seat, at)| Some((seat.visits(at)?.name, (seat, at))));
        Some(Moves {
            seat: self,
            others: named.collect(),
        })
    }

    /// Ends moves that this seat has begun: also those of a worker that was killed halfway.
    pub(super) fn end_move(&self) {
        let [moves, mover] = [MOVES, MOVER].map(|cell| &self.board.cells[cell]);
        let owned = mover.compare_exchange(self.mark(), 0, Ordering::Relaxed, Ordering::Relaxed);
        if owned.is_ok() {
            moves.fetch_add(1, Ordering::Release);
        }
    }

    /// Tells this seat from all others, wherever a process has mapped the board.
    fn mark(&self) -> u64 {
        let start = self.board.cells.as_ptr().addr();
        (self.cells.as_ptr().addr() - start) as u64
    }
}

impl Moves {
    /// Gives a place to another vhost. The counts of its last one go to another worker that shows
    /// it; where none does they are shown no longer, and the number of its requests is returned.
    pub(crate) fn give(&self, place: usize, name: &str) -> u64 {
        let last = self.seat.visits(place);
        let heir = last.as_ref().and_then(|last| self.others.get(&last.name));
        if let (Some((seat, place)), Some(last)) = (heir, &last) {
            seat.inherit(*place, last);
        }
        let forgotten = self.seat.rename_vhost(place, name);
        if heir.is_some() { 0 } else { forgotten }
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        self.seat.end_move();
    }
}

impl Scoreboard {
    /// Changes with every move of vhosts; `None` while there is one. What was read between two equal
    /// answers belongs together.
    pub(crate) fn moves(self) -> Option<u64> {
        fence(Ordering::Acquire);
        let moves = self.cells[MOVES].load(Ordering::Acquire);
        moves.is_multiple_of(2).then_some(moves)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scoreboard::{State, Visit};

    fn visit(seat: Seat, place: usize, times: usize) {
        let visit = Visit {
            status: 404,
            is_failed: true,
            took: Duration::from_millis(30),
            bytes_sent: 7,
        };
        (0..times).for_each(|_| seat.visit(place, &visit));
    }

    #[test]
    fn what_one_worker_gives_up_another_that_shows_it_inherits() {
        let board = Scoreboard::detached(3);
        let seats = [0, 1, 2].map(|index| board.seat(index));
        seats.iter().for_each(|seat| seat.enter(State::Serving));
        let [first, second, _] = seats;
        first.rename_vhost(1, "shared");
        visit(first, 1, 3);
        second.rename_vhost(2, "shared");
        visit(second, 2, 5);
        let before = board.moves().unwrap();
        let moves = first.begin_moves().unwrap();
        assert_eq!(board.moves(), None);
        assert!(second.begin_moves().is_none());
        assert_eq!(moves.give(1, "newcomer"), 0);
        drop(moves);
        assert!(board.moves().unwrap() > before);
        let all = second.visits(2).unwrap();
        assert_eq!((all.name.as_str(), all.requests()), ("shared", 8));
        assert_eq!((all.failed, all.bytes_sent), (8, 56));
        assert_eq!((all.buckets[2], all.sum), (8, 240_000_000));
        // The last one that shows it has nobody to leave its counts to.
        let moves = second.begin_moves().unwrap();
        assert_eq!(moves.give(2, "other one"), 8);
    }

    #[test]
    fn a_worker_killed_in_a_move_does_not_end_all_moves() {
        let board = Scoreboard::detached(2);
        let [first, second] = [0, 1].map(|index| board.seat(index));
        std::mem::forget(first.begin_moves());
        second.bury();
        assert!(second.begin_moves().is_none());
        first.bury();
        assert!(second.begin_moves().is_some());
    }
}
