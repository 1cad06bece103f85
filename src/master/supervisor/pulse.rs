//! Heartbeats: who is silent for half the limit is not relied on, who is for all of it is killed.

use std::time::{Duration, Instant};

use super::{Action, Cause, Life, Process, Supervisor};

/// A suspect is looked at this often at least.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Supervisor {
    /// Takes in how long ago a worker's runtime turned.
    pub(super) fn feel(&mut self, seat: usize, age: Duration, now: Instant) {
        if let (Some(process), Some(pulse)) = (self.processes.get_mut(&seat), now.checked_sub(age))
        {
            process.pulse = process.pulse.max(pulse);
        }
    }

    /// When a process is to be looked at again.
    pub(super) fn pulse_deadline(&self, process: &Process) -> Option<Instant> {
        let limit = process.heartbeat_timeout?;
        match process.life {
            Life::Serving if process.is_suspect => {
                let again = self.looked.map(|looked| looked + LOOK_AGAIN.min(limit / 8));
                again.into_iter().chain([process.pulse + limit]).min()
            }
            Life::Serving => Some(process.pulse + limit / 2),
            Life::Draining { .. } => Some(process.pulse + limit),
            Life::Starting(_) | Life::Leaving(_) | Life::Killed => None,
        }
    }

    /// Finds out who is silent. Where we slept too long ourselves, as when the whole machine stood
    /// still, silence tells nothing: everybody gets the time for some further beats.
    pub(super) fn judge_pulses(&mut self, now: Instant) {
        let mut hung = Vec::new();
        for (&seat, process) in &mut self.processes {
            let Some(limit) = process.heartbeat_timeout else {
                continue;
            };
            if self.awaited.is_some_and(|at| now > at + limit / 4) {
                let grace = now.checked_sub(limit / 4).unwrap_or(now);
                process.pulse = process.pulse.max(grace);
                continue;
            }
            let silence = now.saturating_duration_since(process.pulse);
            match process.life {
                Life::Serving | Life::Draining { .. } if silence >= limit => hung.push(seat),
                Life::Serving => {
                    let is_silent = silence >= limit / 2;
                    if is_silent != process.is_suspect {
                        process.is_suspect = is_silent;
                        self.actions.push(Action::Suspect { seat, is_silent });
                    }
                }
                _ => {}
            }
        }
        for seat in hung {
            self.kill(seat, Cause::Hung);
        }
    }
}
