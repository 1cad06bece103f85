//! Vhosts that change places, so that what is shown of each never goes back.
//!
//! Workers choose their vhosts by themselves, and a reader adds up what all of them show of one. If
//! one worker gives a vhost up while another goes on showing it, the sum would shrink, which looks
//! like a restart; so the counts are handed to the other one. One worker moves vhosts at a time, and
//! a reader that was disturbed by it reads again.

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};

use super::{MOVER, MOVES, Scoreboard, Slot};

/// The right to change the vhosts of a slot, until it is dropped.
pub(crate) struct Moves {
    slot: Slot,
    /// Where the other workers show which vhost.
    others: HashMap<String, (Slot, usize)>,
}

impl Slot {
    /// The right to change the vhosts of this slot; `None` while another worker has it for its own.
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
        let slots = self.board.used().map(|(_, slot)| slot);
        let others = slots.filter(|slot| slot.mark() != self.mark());
        let shown = others.flat_map(|slot| (1..=slot.vhost_places()).map(move |at| (slot, at)));
        let named = shown.filter_map(|(slot, at)| Some((slot.visits(at)?.name, (slot, at))));
        Some(Moves {
            slot: self,
            others: named.collect(),
        })
    }

    /// Ends moves that this slot has begun: also those of a worker that was killed halfway.
    pub(super) fn end_move(&self) {
        let [moves, mover] = [MOVES, MOVER].map(|cell| &self.board.cells[cell]);
        let owned = mover.compare_exchange(self.mark(), 0, Ordering::Relaxed, Ordering::Relaxed);
        if owned.is_ok() {
            moves.fetch_add(1, Ordering::Release);
        }
    }

    /// Tells this slot from all others: the mapping is at the same address in every process.
    fn mark(&self) -> u64 {
        self.cells.as_ptr().addr() as u64
    }
}

impl Moves {
    /// Gives a place to another vhost. The counts of its last one go to another worker that shows
    /// it; where none does they are shown no longer, and the number of its requests is returned.
    pub(crate) fn give(&self, place: usize, name: &str) -> u64 {
        let last = self.slot.visits(place);
        let heir = last.as_ref().and_then(|last| self.others.get(&last.name));
        if let (Some((slot, place)), Some(last)) = (heir, &last) {
            slot.inherit(*place, last);
        }
        let forgotten = self.slot.rename_vhost(place, name);
        if heir.is_some() { 0 } else { forgotten }
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        self.slot.end_move();
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
    use crate::scoreboard::Visit;

    fn visit(slot: Slot, place: usize, times: usize) {
        let visit = Visit {
            status: 404,
            is_failed: true,
            took: Duration::from_millis(30),
            bytes_sent: 7,
        };
        (0..times).for_each(|_| slot.visit(place, &visit));
    }

    #[test]
    fn what_one_worker_gives_up_another_that_shows_it_inherits() {
        let board = Scoreboard::detached(3);
        let slots = [0, 1, 2].map(|index| board.slot(index));
        slots.iter().for_each(|slot| slot.occupy(1));
        let [first, second, _] = slots;
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
        let [first, second] = [0, 1].map(|index| board.slot(index));
        std::mem::forget(first.begin_moves());
        second.bury(0);
        assert!(second.begin_moves().is_none());
        first.bury(0);
        assert!(second.begin_moves().is_some());
    }
}
