//! The end: everybody drains within the limit, whoever overstays is killed, the master exits last.

use std::time::{Duration, Instant};

use super::{Action, Cause, Failure, LEAVE_MARGIN, Life, Supervisor, Verdict};
use crate::control::Why;

/// How long killed workers may take to vanish. Longer means one is stuck inside the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Whether the end has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Workers drain; whoever is left at this time is killed.
    Stopping(Instant),
    /// Workers are killed; the master ends at this time at the latest.
    Killing(Instant, Verdict),
}

impl Phase {
    /// When the end goes on by itself.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Stopping(until) | Self::Killing(until, _) => Some(until),
        }
    }
}

impl Supervisor {
    /// Begins the end; asked a second time, ends at once.
    pub(super) fn stop(&mut self, now: Instant) {
        match self.phase {
            Phase::Running => {
                let limit = self.current.terms.graceful_wait;
                if self.next.take().is_some() {
                    self.actions.push(Action::Abandon(Failure::Stopped));
                }
                self.phase = Phase::Stopping(now + limit + LEAVE_MARGIN);
                self.actions.push(Action::Close);
                for (&seat, process) in &mut self.processes {
                    if !matches!(process.life, Life::Killed | Life::Leaving(_)) {
                        process.drain(Some(limit), now);
                        self.actions.push(Action::Drain {
                            seat,
                            why: Why::Stop,
                            limit: Some(limit),
                        });
                    }
                }
                self.exit_when_alone();
            }
            Phase::Stopping(_) => self.kill_all(Verdict::Failed, now),
            Phase::Killing(..) => {}
        }
    }

    /// What time brings at the end.
    pub(super) fn tick_to_the_end(&mut self, now: Instant) {
        match self.phase {
            // The drain's own limit is over long since: these hang.
            Phase::Stopping(until) if until <= now => self.kill_all(Verdict::Stopped, now),
            Phase::Killing(until, verdict) if until <= now => {
                self.actions.push(Action::Exit(verdict));
            }
            _ => {}
        }
    }

    /// Ends everything at once.
    pub(super) fn kill_all(&mut self, verdict: Verdict, now: Instant) {
        self.phase = Phase::Killing(now + KILL_LIMIT, verdict);
        let living = self.processes.iter();
        let living = living.filter(|(_, process)| process.life != Life::Killed);
        let living: Vec<_> = living.map(|(seat, _)| *seat).collect();
        for seat in living {
            self.kill(seat, Cause::Stop);
        }
        self.exit_when_alone();
    }

    /// Ends the master when nobody is left.
    pub(super) fn exit_when_alone(&mut self) {
        let verdict = match self.phase {
            Phase::Killing(_, verdict) => verdict,
            Phase::Running | Phase::Stopping(_) => Verdict::Stopped,
        };
        if self.processes.is_empty() {
            self.actions.push(Action::Exit(verdict));
        }
    }
}
