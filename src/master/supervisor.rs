//! What follows from what: (state, event, time) → actions. Pure: no I/O, no clock.
//!
//! Keeps one worker on every slot. A slot whose worker is dead is an *orphan*: the workers that
//! serve accept from its sockets as well until its next worker is ready.

mod slot;

use std::time::{Duration, Instant};

use slot::{Life, Slot};

/// A worker that does not serve by then hangs.
const START_LIMIT: Duration = Duration::from_secs(10);
/// What workers get on top of the drain's limit, to flush their logs and to exit.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// How long killed workers may take to vanish. Longer means one is stuck inside the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Everything is prepared.
    Start,
    /// A worker serves.
    Ready(usize),
    /// A worker is dead and reaped, or could not be forked.
    Died {
        /// Its slot.
        slot: usize,
        /// How long it lived.
        lived: Duration,
        /// It said that it cannot serve as it was told to.
        could_not_start: bool,
    },
    /// The operator wants the end.
    Stop,
    /// Time has passed.
    Tick,
}

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Fork a worker.
    Fork(usize),
    /// Kill a worker, at once.
    Kill(usize),
    /// Let a worker accept for another slot.
    Adopt {
        /// The slot without a worker.
        orphan: usize,
        /// The slot of the worker that is told.
        by: usize,
    },
    /// Take that back.
    Release {
        /// The slot that has a worker again.
        orphan: usize,
        /// The slot of the worker that is told.
        by: usize,
    },
    /// Let no newcomer in, tell all workers to drain, close the sockets.
    Drain,
    /// End the master.
    Exit(Verdict),
}

/// How the master ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Stopped as it was asked to.
    Stopped,
    /// Could not start, or was stopped the hard way.
    Failed,
}

/// The state of all slots.
#[derive(Debug)]
pub(super) struct Supervisor {
    slots: Vec<Slot>,
    phase: Phase,
    graceful_wait: Duration,
    /// No worker could fail at once for a reason that lies in the configuration after this.
    has_served: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Workers drain; whoever is left at this time is killed.
    Stopping(Instant),
    /// Workers are killed; the master ends at this time at the latest.
    Killing(Instant, Verdict),
}

impl Supervisor {
    /// All slots empty, no worker due yet.
    pub(super) fn new(workers: usize, graceful_wait: Duration) -> Self {
        Self {
            slots: vec![Slot::default(); workers],
            phase: Phase::Running,
            graceful_wait,
            has_served: false,
        }
    }

    /// Takes in an event and gives what is to be done, in this order.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Start => (0..self.slots.len())
                .map(|slot| self.fork(slot, now))
                .collect(),
            Event::Ready(slot) => self.ready(slot),
            Event::Died {
                slot,
                lived,
                could_not_start,
            } => {
                self.slots[slot].life = Life::Over;
                match self.phase {
                    Phase::Running if could_not_start && !self.has_served => {
                        self.kill_all(Verdict::Failed, now)
                    }
                    Phase::Running => self.replace(slot, lived, now),
                    Phase::Stopping(_) | Phase::Killing(..) => self.exit_when_alone(),
                }
            }
            Event::Stop => self.stop(now),
            Event::Tick => self.tick(now),
        }
    }

    /// When [`Event::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running => self.slots.iter().filter_map(Slot::deadline).min(),
            Phase::Stopping(until) | Phase::Killing(until, _) => Some(until),
        }
    }

    fn fork(&mut self, slot: usize, now: Instant) -> Action {
        self.slots[slot].life = Life::Starting(now + START_LIMIT);
        Action::Fork(slot)
    }

    fn ready(&mut self, slot: usize) -> Vec<Action> {
        if self.phase != Phase::Running || !matches!(self.slots[slot].life, Life::Starting(_)) {
            return Vec::new();
        }
        self.slots[slot].life = Life::Serving;
        self.has_served = true;
        let release = self
            .serving_besides(slot)
            .map(|by| Action::Release { orphan: slot, by });
        let adopt = (0..self.slots.len())
            .filter(|&orphan| self.slots[orphan].life != Life::Serving)
            .map(|orphan| Action::Adopt { orphan, by: slot });
        release.chain(adopt).collect()
    }

    /// Orphans the slot and brings its next worker on its way.
    fn replace(&mut self, slot: usize, lived: Duration, now: Instant) -> Vec<Action> {
        let mut actions: Vec<_> = self
            .serving_besides(slot)
            .map(|by| Action::Adopt { orphan: slot, by })
            .collect();
        let pause = self.slots[slot].pause_after(lived);
        if pause.is_zero() {
            actions.push(self.fork(slot, now));
        } else {
            self.slots[slot].life = Life::Pausing(now + pause);
        }
        actions
    }

    fn serving_besides(&self, slot: usize) -> impl Iterator<Item = usize> {
        self.slots
            .iter()
            .enumerate()
            .filter(move |(other, state)| *other != slot && state.life == Life::Serving)
            .map(|(other, _)| other)
    }

    fn stop(&mut self, now: Instant) -> Vec<Action> {
        match self.phase {
            Phase::Running => {
                for slot in &mut self.slots {
                    if let Life::Pausing(_) = slot.life {
                        slot.life = Life::Over;
                    }
                }
                self.phase = Phase::Stopping(now + self.graceful_wait + STOP_MARGIN);
                let mut actions = vec![Action::Drain];
                actions.extend(self.exit_when_alone());
                actions
            }
            // Asked a second time: at once.
            Phase::Stopping(_) => self.kill_all(Verdict::Failed, now),
            Phase::Killing(..) => Vec::new(),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        match self.phase {
            Phase::Running => (0..self.slots.len())
                .filter_map(|slot| self.tick_slot(slot, now))
                .collect(),
            // The drain's own limit is over long since: these hang.
            Phase::Stopping(until) if until <= now => self.kill_all(Verdict::Stopped, now),
            Phase::Killing(until, verdict) if until <= now => vec![Action::Exit(verdict)],
            Phase::Stopping(_) | Phase::Killing(..) => Vec::new(),
        }
    }

    fn tick_slot(&mut self, slot: usize, now: Instant) -> Option<Action> {
        match self.slots[slot].life {
            Life::Pausing(until) if until <= now => Some(self.fork(slot, now)),
            Life::Starting(until) if until <= now => {
                self.slots[slot].life = Life::Killed;
                Some(Action::Kill(slot))
            }
            _ => None,
        }
    }

    fn kill_all(&mut self, verdict: Verdict, now: Instant) -> Vec<Action> {
        self.phase = Phase::Killing(now + KILL_LIMIT, verdict);
        let mut actions = Vec::new();
        for (slot, state) in self.slots.iter_mut().enumerate() {
            match state.life {
                Life::Pausing(_) => state.life = Life::Over,
                Life::Starting(_) | Life::Serving => {
                    state.life = Life::Killed;
                    actions.push(Action::Kill(slot));
                }
                Life::Killed | Life::Over => {}
            }
        }
        actions.extend(self.exit_when_alone());
        actions
    }

    fn exit_when_alone(&self) -> Vec<Action> {
        let verdict = match self.phase {
            Phase::Killing(_, verdict) => verdict,
            Phase::Running | Phase::Stopping(_) => Verdict::Stopped,
        };
        let is_alone = self.slots.iter().all(|slot| slot.life == Life::Over);
        is_alone
            .then_some(Action::Exit(verdict))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests;
