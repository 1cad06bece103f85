//! A slot that misses its worker, and the pause before the next.

use std::time::{Duration, Instant};

use super::{Action, Life, Process, START_LIMIT, Supervisor};

/// A worker that lived shorter died of something that its successor may die of, too.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// Pause before the second restart in a row; doubled for each further one. The first has none.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// What a generation knows of a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// Its next worker is not forked before.
    due: Option<Instant>,
    /// Deaths in a row, each after a short life.
    short_lives: u32,
}

impl Slot {
    /// Takes a death into account; gives the pause before the next start.
    pub(super) fn note_death(&mut self, lived: Duration, now: Instant) -> Duration {
        if lived >= SHORT_LIFE {
            self.short_lives = 0;
        }
        let pause = match self.short_lives {
            0 => Duration::ZERO,
            // Beyond this the doubling is past the maximum anyway.
            repeated => FIRST_PAUSE * 2_u32.pow((repeated - 1).min(16)),
        };
        self.short_lives = self.short_lives.saturating_add(1);
        let pause = pause.min(MAX_PAUSE);
        self.due = (!pause.is_zero()).then_some(now + pause);
        pause
    }
}

impl Supervisor {
    /// When the next pause is over.
    pub(super) fn pause_deadline(&self) -> Option<Instant> {
        let missing = self.generations().flat_map(|generation| {
            let slots = generation.slots.iter().enumerate();
            slots.filter(|(slot, _)| !self.has_in_place(generation.number, *slot))
        });
        missing.filter_map(|(_, slot)| slot.due).min()
    }

    /// Forks the workers that are missing and whose pause is over.
    pub(super) fn fork_missing(&mut self, now: Instant) {
        let slots = self.generations().flat_map(|generation| {
            let slots = 0..generation.slots.len();
            slots.map(|slot| (generation.number, slot))
        });
        let missing: Vec<(u64, usize)> = slots
            .filter(|(generation, slot)| !self.has_in_place(*generation, *slot))
            .collect();
        for (generation, slot) in missing {
            let Some(state) = self.slot_mut(generation, slot) else {
                continue;
            };
            if state.due.is_some_and(|due| due > now) {
                continue;
            }
            state.due = None;
            if self.fork(generation, slot, now).is_none() {
                // No seat is free; somebody is about to leave.
                if let Some(state) = self.slot_mut(generation, slot) {
                    state.due = Some(now + FIRST_PAUSE);
                }
            }
        }
    }

    /// Forks a worker into the lowest free seat, if there is one.
    pub(super) fn fork(&mut self, generation: u64, slot: usize, now: Instant) -> Option<usize> {
        let seat = (0..self.seats).find(|seat| !self.processes.contains_key(seat))?;
        let terms = self.generation_mut(generation)?.terms;
        let process = Process {
            slot,
            generation,
            life: Life::Starting(now + START_LIMIT),
            pulse: now,
            heartbeat_timeout: terms.heartbeat_timeout,
            is_suspect: false,
            was_wanted: true,
        };
        self.processes.insert(seat, process);
        self.actions.push(Action::Fork {
            seat,
            slot,
            generation,
        });
        Some(seat)
    }

    /// Whether a slot has, of this generation, a worker that serves, will, or is to be buried first.
    fn has_in_place(&self, generation: u64, slot: usize) -> bool {
        self.processes.values().any(|process| {
            let is_killed = process.life == Life::Killed && process.was_wanted;
            (process.generation, process.slot) == (generation, slot)
                && (process.is_in_place() || is_killed)
        })
    }

    fn slot_mut(&mut self, generation: u64, slot: usize) -> Option<&mut Slot> {
        self.generation_mut(generation)?.slots.get_mut(slot)
    }
}
