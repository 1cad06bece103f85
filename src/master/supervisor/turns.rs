//! Replacement of a worker that asks for it: one turn at a time over all slots.
//!
//! The successor is forked on the same slot; when it serves, the old one drains. The turn is free
//! again when the old one is gone, or has only tunnels left. A successor that dies before it serves
//! costs a pause; the old one goes on meanwhile.

use std::time::{Duration, Instant};

use super::{Action, LEAVE_MARGIN, Life, Supervisor};
use crate::control::Why;

/// Workers of a slot that may drain at the same time.
const MAX_PREDECESSORS: usize = 2;
/// After a successor that died at once, the next comes no earlier.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A replacement under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    old: usize,
    why: Why,
    successor: usize,
}

/// A worker that asks for its replacement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    seat: usize,
    why: Why,
    not_before: Instant,
}

impl Supervisor {
    /// Remembers who asks, once.
    pub(super) fn wish(&mut self, seat: usize, why: Why, now: Instant) {
        let is_known = self.wishes.iter().any(|wish| wish.seat == seat)
            || self.turn.is_some_and(|turn| turn.old == seat);
        if !is_known {
            self.wishes.push(Wish {
                seat,
                why,
                not_before: now,
            });
        }
    }

    /// Begins the next turn if it can.
    pub(super) fn take_turns(&mut self, now: Instant) {
        let processes = &self.processes;
        self.wishes.retain(|wish| {
            let process = processes.get(&wish.seat);
            process.is_some_and(|process| process.life == Life::Serving)
        });
        // A renewal replaces everybody anyway.
        if self.turn.is_some() || self.next.is_some() {
            return;
        }
        let due = self.wishes.iter().position(|wish| wish.not_before <= now);
        let Some(place) = due else {
            return;
        };
        let Wish { seat, why, .. } = self.wishes[place];
        let Some(old) = self.processes.get(&seat).copied() else {
            return;
        };
        match self.fork(old.generation, old.slot, now) {
            None => self.wishes[place].not_before = now + RETRY_PAUSE,
            Some(successor) => {
                self.wishes.remove(place);
                self.actions.push(Action::Replace { seat, why });
                self.turn = Some(Turn {
                    old: seat,
                    why,
                    successor,
                });
            }
        }
    }

    /// When the next wish may be granted.
    pub(super) fn turn_deadline(&self) -> Option<Instant> {
        if self.turn.is_some() || self.next.is_some() {
            return None;
        }
        self.wishes.iter().map(|wish| wish.not_before).min()
    }

    /// The successor serves: the old one may leave.
    pub(super) fn drain_for_successor(&mut self, seat: usize, now: Instant) {
        if let Some(turn) = self.turn.filter(|turn| turn.successor == seat) {
            let limit = self.current.terms.drain_wait;
            self.drain(turn.old, (turn.why, limit), now);
        }
    }

    /// The old one does not hold up the next any more.
    pub(super) fn pass_turn(&mut self, seat: usize) {
        if self.turn.is_some_and(|turn| turn.old == seat) {
            self.turn = None;
        }
    }

    /// A process is dead: perhaps the old one, perhaps the successor before it served.
    pub(super) fn turn_lost(&mut self, seat: usize, pause: Duration, now: Instant) {
        self.pass_turn(seat);
        let Some(turn) = self.turn.filter(|turn| turn.successor == seat) else {
            return;
        };
        let old = self.processes.get(&turn.old);
        if old.is_some_and(|old| old.life == Life::Serving) {
            self.turn = None;
            self.wishes.push(Wish {
                seat: turn.old,
                why: turn.why,
                not_before: now + pause.max(RETRY_PAUSE),
            });
        }
    }

    /// Ends the one that drains longest where too many do.
    pub(super) fn end_oldest(&mut self, slot: usize, now: Instant) {
        let of_slot = self.processes.iter_mut();
        let of_slot = of_slot.filter(|(_, process)| process.slot == slot);
        let mut draining: Vec<_> = of_slot
            .filter_map(|(seat, process)| Some((process.drains_since()?, *seat, process)))
            .collect();
        if draining.len() <= MAX_PREDECESSORS {
            return;
        }
        draining.sort_by_key(|(since, seat, _)| (*since, *seat));
        let (since, seat, process) = draining.swap_remove(0);
        process.life = Life::Draining {
            since,
            until: process
                .deadline()
                .into_iter()
                .chain([now + LEAVE_MARGIN])
                .min(),
            is_hurried: true,
        };
        self.actions.push(Action::Drain {
            seat,
            why: Why::Crowded,
            limit: Some(Duration::ZERO),
        });
    }
}
