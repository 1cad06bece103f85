//! Carrying out what the supervisor decided.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use super::supervisor::{Action, Cause, Event};
use super::workers::Birth;
use super::{Exodus, Master, Newborn, problem};
use crate::control::{ToWorker, Why};
use crate::scoreboard::{Occupant, Replacement};
use crate::telemetry::{self, Lifecycle, emit};

impl Master {
    pub(super) fn act(
        &mut self,
        action: Action,
        events: &mut VecDeque<Event>,
    ) -> ControlFlow<Exodus> {
        match action {
            Action::Fork {
                seat,
                slot,
                generation,
            } => return self.fork(seat, (slot, generation), events),
            Action::Kill { seat, cause } => self.kill(seat, cause),
            Action::Drain { seat, why, limit } => self.drain(seat, why, limit),
            Action::Adopt { orphan, by } => self.workers.tell(by, ToWorker::Adopt(orphan)),
            Action::Release { orphan, by } => self.workers.tell(by, ToWorker::Release(orphan)),
            Action::Suspect { seat, is_silent } => tell(&match is_silent {
                true => Lifecycle::WorkerSilent { seat },
                false => Lifecycle::WorkerBack { seat },
            }),
            Action::Replace { seat, why } => tell(&Lifecycle::Replacing {
                seat,
                slot: self.workers.slot_of(seat),
                why: why.as_str(),
            }),
            Action::Commit => self.commit(events),
            Action::Abandon(failure) => self.abandon(failure, events),
            Action::Close => self.close(),
            Action::Exit(verdict) => return ControlFlow::Break(Exodus::Exit(verdict)),
        }
        ControlFlow::Continue(())
    }

    fn fork(
        &mut self,
        seat: usize,
        (slot, generation): (usize, u64),
        events: &mut VecDeque<Event>,
    ) -> ControlFlow<Exodus> {
        let next = self.next.as_ref();
        let own = next.filter(|next| next.number == generation);
        let occupant = Occupant {
            slot,
            generation,
            logs: own.unwrap_or(&self.current).logs.len(),
        };
        let board = self.scoreboard.seat(seat);
        match self.workers.fork(seat, board, occupant) {
            Ok(Birth::Master) => {}
            Ok(Birth::Worker(channel)) => {
                return ControlFlow::Break(Exodus::Worker(Newborn {
                    seat,
                    slot,
                    generation,
                    channel,
                }));
            }
            Err(error) => {
                problem("forking a worker", &error);
                // To be tried again after the same pauses.
                events.push_back(Event::Died {
                    seat,
                    lived: Duration::ZERO,
                    could_not_start: false,
                });
            }
        }
        ControlFlow::Continue(())
    }

    fn kill(&mut self, seat: usize, cause: Cause) {
        let why = match cause {
            Cause::NotServing => "it does not serve in time",
            Cause::Hung => "it hangs",
            Cause::Overdue => "it does not leave in time",
            Cause::Stop => "the end is due",
        };
        tell(&Lifecycle::Killing { seat, why });
        self.workers.kill(seat, cause == Cause::Hung);
    }

    fn drain(&mut self, seat: usize, why: Why, limit: Option<Duration>) {
        let replacement = match why {
            Why::Memory => Some(Replacement::Memory),
            Why::Reload => Some(Replacement::Reload),
            Why::Upgrade => Some(Replacement::Upgrade),
            Why::Stop | Why::Orphaned | Why::Crowded | Why::Abandoned => None,
        };
        if let Some(replacement) = replacement {
            self.scoreboard.count_replacement(replacement);
        }
        if why != Why::Stop {
            tell(&Lifecycle::Retiring {
                seat,
                slot: self.workers.slot_of(seat),
                why: why.as_str(),
                limit,
            });
        }
        self.workers.tell(seat, ToWorker::Drain { why, limit });
    }

    /// The final stop. No newcomer is let in before the workers hear of it; then our own copies are
    /// closed, while each worker keeps its own until their queues are empty.
    fn close(&mut self) {
        if let Err(error) = self.current.listeners.refuse_newcomers() {
            problem("refusing new connections before the stop", &error);
        }
        self.current.listeners.retain(|_| false);
        self.current.admin.retain(|_| false);
    }
}

fn tell(event: &Lifecycle<'_>) {
    emit(&telemetry::Event::Lifecycle(*event));
}
