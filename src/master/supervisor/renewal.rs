//! A new generation takes the place of the one that serves: all its workers start at once, and only
//! when all of them serve are the old ones drained. Otherwise it is they who leave.

use std::time::{Duration, Instant};

use super::{Action, Failure, Generation, Process, Supervisor, Terms};
use crate::control::Why;

/// A generation that does not serve whole by then is given up.
const LIMIT: Duration = Duration::from_secs(30);

/// A generation that is to come.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) generation: Generation,
    why: Why,
    pub(super) until: Instant,
    /// Slots that there were before.
    known_slots: usize,
}

impl Supervisor {
    /// Starts the workers of the new generation.
    pub(super) fn renew(&mut self, number: u64, (why, terms): (Why, Terms), now: Instant) {
        let known_slots = self.known_since.len();
        let slots = known_slots.max(terms.workers);
        self.known_since.resize(slots, number);
        self.next = Some(Renewal {
            generation: Generation::new(number, terms),
            why,
            until: now + LIMIT,
            known_slots,
        });
        self.fork_missing(now);
    }

    /// Puts the new generation in force once all its workers serve.
    pub(super) fn commit_if_whole(&mut self, now: Instant) {
        let Some(next) = self.next.as_ref() else {
            return;
        };
        let serves = |slot| {
            self.processes.values().any(|process| {
                (process.generation, process.slot) == (next.generation.number, slot)
                    && process.is_reliable()
            })
        };
        if !(0..next.generation.slots.len()).all(serves) {
            return;
        }
        let Some(Renewal {
            generation, why, ..
        }) = self.next.take()
        else {
            return;
        };
        let limit = generation.terms.drain_wait;
        let number = generation.number;
        self.current = generation;
        self.turn = None;
        self.actions.push(Action::Commit);
        self.drain_those(|process| process.generation != number, (why, limit), now);
    }

    /// Gives the new generation up.
    pub(super) fn abandon(&mut self, failure: Failure, now: Instant) {
        let Some(next) = self.next.take() else {
            return;
        };
        self.known_since.truncate(next.known_slots);
        let known_slots = next.known_slots;
        self.adopted.retain(|(slot, _)| *slot < known_slots);
        self.actions.push(Action::Abandon(failure));
        let order = (Why::Abandoned, self.current.terms.drain_wait);
        self.drain_those(
            |process| process.generation == next.generation.number,
            order,
            now,
        );
        // What died meanwhile is missed again.
        self.fork_missing(now);
    }

    /// Gives the new generation up if it is not whole in time.
    pub(super) fn abandon_if_late(&mut self, now: Instant) {
        if self.next.as_ref().is_some_and(|next| next.until <= now) {
            self.abandon(Failure::TooSlow, now);
        }
    }

    fn drain_those(
        &mut self,
        which: impl Fn(&Process) -> bool,
        order: (Why, Option<Duration>),
        now: Instant,
    ) {
        let those = self.processes.iter();
        let those = those.filter(|(_, process)| process.is_in_place() && which(process));
        let those: Vec<_> = those.map(|(seat, _)| *seat).collect();
        for seat in those {
            self.drain(seat, order, now);
        }
    }
}
