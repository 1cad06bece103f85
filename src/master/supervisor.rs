//! What follows from what: (state, event, time) → actions. Pure: no I/O, no clock.
//!
//! Keeps one worker serving on every slot. Each process has a seat of its own, so a slot may have
//! several: the one that serves, a successor that starts, and predecessors that drain. Each concern
//! has its file; they share the table of processes.
//!
//! ```text
//! pulse     silent → suspect → killed        turns     asks → successor serves → old one drains
//! slot      died → pause → forked            renewal   all new ones serve → all old ones drain
//! adoption  who accepts for whom             stop      all drain → exit
//! ```

mod adoption;
mod events;
mod process;
mod pulse;
mod renewal;
mod slot;
mod standing;
mod stop;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::control::Why;
pub(super) use events::{Action, Cause, Event, Failure, Terms, Verdict};
use process::{Life, Process};
use renewal::Renewal;
use slot::Slot;
pub(super) use standing::{Resumed, Standing};
use stop::Phase;
use turns::{Turn, Wish};

/// A worker that does not serve by then hangs.
const START_LIMIT: Duration = Duration::from_secs(10);
/// What workers get on top of a drain's limit, to flush their logs and to exit.
const LEAVE_MARGIN: Duration = Duration::from_secs(12);

/// The workers of one configuration.
#[derive(Debug)]
struct Generation {
    number: u64,
    terms: Terms,
    slots: Vec<Slot>,
}

/// The state of all slots and processes.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// By seat.
    processes: BTreeMap<usize, Process>,
    /// Seats that there are.
    seats: usize,
    current: Generation,
    next: Option<Renewal>,
    turn: Option<Turn>,
    wishes: Vec<Wish>,
    /// The first generation that knows the sockets of each slot.
    known_since: Vec<u64>,
    /// Which slot is served by which process as well.
    adopted: BTreeSet<(usize, usize)>,
    phase: Phase,
    /// No worker could fail at once for a reason that lies in the configuration after this.
    has_served: bool,
    /// When we were last to look, if at any time.
    awaited: Option<Instant>,
    /// When we last looked.
    looked: Option<Instant>,
    /// What is to be done.
    actions: Vec<Action>,
}

impl Generation {
    fn new(number: u64, terms: Terms) -> Self {
        Self {
            number,
            terms,
            slots: vec![Slot::default(); terms.workers],
        }
    }
}

impl Supervisor {
    /// All seats free, no worker due yet.
    pub(super) fn new(seats: usize, terms: Terms) -> Self {
        let current = Generation::new(1, terms);
        Self {
            processes: BTreeMap::new(),
            seats,
            known_since: vec![current.number; terms.workers],
            current,
            next: None,
            turn: None,
            wishes: Vec::new(),
            adopted: BTreeSet::new(),
            phase: Phase::Running,
            has_served: false,
            awaited: None,
            looked: None,
            actions: Vec::new(),
        }
    }

    /// Takes in an event and gives what is to be done, in this order.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            // Judged at the next tick.
            Event::Pulse { seat, age } => {
                self.feel(seat, age, now);
                return Vec::new();
            }
            Event::Start => self.fork_missing(now),
            Event::Ready(seat) => self.ready(seat, now),
            Event::WantsReplacement(seat, why) => self.wish(seat, why, now),
            Event::OnlyTunnels(seat) => self.pass_turn(seat),
            Event::Finished(seat) => self.finished(seat, now),
            Event::Died {
                seat,
                lived,
                could_not_start,
            } => self.died(seat, (lived, could_not_start), now),
            Event::Renew { number, why, terms } => self.renew(number, (why, terms), now),
            Event::Stop => self.stop(now),
            Event::Tick => self.tick(now),
        }
        if self.phase == Phase::Running {
            self.commit_if_whole(now);
            self.take_turns(now);
            self.share_orphans();
        }
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if let Some(end) = self.phase.deadline() {
            return Some(end);
        }
        let lives = self.processes.values().filter_map(Process::deadline);
        let pulses = self.processes.values();
        let pulses = pulses.filter_map(|process| self.pulse_deadline(process));
        lives
            .chain(pulses)
            .chain(self.pause_deadline())
            .chain(self.turn_deadline())
            .chain(self.next.as_ref().map(|next| next.until))
            .min()
    }

    /// That in force, and that which is to come.
    fn generations(&self) -> impl Iterator<Item = &Generation> {
        let next = self.next.as_ref().map(|next| &next.generation);
        std::iter::once(&self.current).chain(next)
    }

    fn generation_mut(&mut self, number: u64) -> Option<&mut Generation> {
        if self.current.number == number {
            return Some(&mut self.current);
        }
        let next = self.next.as_mut().map(|next| &mut next.generation);
        next.filter(|generation| generation.number == number)
    }

    fn ready(&mut self, seat: usize, now: Instant) {
        let Some(process) = self.processes.get_mut(&seat) else {
            return;
        };
        if !matches!(process.life, Life::Starting(_)) || self.phase != Phase::Running {
            return;
        }
        process.life = Life::Serving;
        process.pulse = now;
        self.has_served = true;
        self.drain_for_successor(seat, now);
    }

    fn finished(&mut self, seat: usize, now: Instant) {
        let process = self.processes.get_mut(&seat);
        if let Some(process) = process.filter(|process| process.life != Life::Killed) {
            process.life = Life::Leaving(now + LEAVE_MARGIN);
        }
    }

    fn died(&mut self, seat: usize, (lived, could_not_start): (Duration, bool), now: Instant) {
        let Some(process) = self.processes.remove(&seat) else {
            return;
        };
        self.adopted.retain(|(_, by)| *by != seat);
        if self.phase != Phase::Running {
            return self.exit_when_alone();
        }
        if could_not_start && !self.has_served {
            return self.kill_all(Verdict::Failed, now);
        }
        let next = self.next.as_ref().map(|next| next.generation.number);
        if could_not_start && next == Some(process.generation) {
            return self.abandon(Failure::CouldNotStart, now);
        }
        let pause = process
            .was_wanted
            .then(|| self.generation_mut(process.generation))
            .flatten()
            .and_then(|generation| generation.slots.get_mut(process.slot))
            .map(|slot| slot.note_death(lived, now));
        self.turn_lost(seat, pause.unwrap_or_default(), now);
        self.fork_missing(now);
    }

    /// Tells a worker to leave; whoever takes its place serves.
    fn drain(&mut self, seat: usize, (why, limit): (Why, Option<Duration>), now: Instant) {
        let Some(process) = self.processes.get_mut(&seat) else {
            return;
        };
        process.drain(limit, now);
        let slot = process.slot;
        self.adopted.retain(|(_, by)| *by != seat);
        self.actions.push(Action::Drain { seat, why, limit });
        self.end_oldest(slot, now);
    }

    fn kill(&mut self, seat: usize, cause: Cause) {
        if let Some(process) = self.processes.get_mut(&seat) {
            process.life = Life::Killed;
            self.adopted.retain(|(_, by)| *by != seat);
            self.actions.push(Action::Kill { seat, cause });
        }
    }

    fn tick(&mut self, now: Instant) {
        match self.phase {
            Phase::Running => {
                self.judge_pulses(now);
                let due = self.processes.iter();
                let due = due.filter(|(_, process)| process.deadline().is_some_and(|at| at <= now));
                let due: Vec<_> = due.map(|(seat, process)| (*seat, process.life)).collect();
                for (seat, life) in due {
                    let cause = match life {
                        Life::Starting(_) => Cause::NotServing,
                        _ => Cause::Overdue,
                    };
                    self.kill(seat, cause);
                }
                self.abandon_if_late(now);
                self.fork_missing(now);
            }
            Phase::Stopping(_) | Phase::Killing(..) => self.tick_to_the_end(now),
        }
        self.looked = Some(now);
        self.awaited = self.deadline();
    }
}

#[cfg(test)]
mod tests;
