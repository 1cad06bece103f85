//! One process through its life.

use std::time::{Duration, Instant};

use super::LEAVE_MARGIN;

/// What the supervisor knows of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pub(super) slot: usize,
    pub(super) generation: u64,
    pub(super) life: Life,
    /// When its runtime last turned, as far as we know.
    pub(super) pulse: Instant,
    /// The silence after which it is killed.
    pub(super) heartbeat_timeout: Option<Duration>,
    /// Silent for too long to rely on it.
    pub(super) is_suspect: bool,
    /// Nobody told it to leave: its slot misses it when it dies.
    pub(super) was_wanted: bool,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Forked; killed if it does not serve by this time.
    Starting(Instant),
    /// Accepting.
    Serving,
    /// Finishing what it has.
    Draining {
        since: Instant,
        /// Killed if it is still there.
        until: Option<Instant>,
        /// Told to end at once, for want of room.
        is_hurried: bool,
    },
    /// Finished; killed if it has not exited by this time.
    Leaving(Instant),
    /// Killed, not reaped yet.
    Killed,
}

impl Process {
    /// When time changes something here, heartbeats aside.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Starting(until) | Life::Leaving(until) => Some(until),
            Life::Draining { until, .. } => until,
            Life::Serving | Life::Killed => None,
        }
    }

    /// Accepts, and turns.
    pub(super) fn is_reliable(&self) -> bool {
        self.life == Life::Serving && !self.is_suspect
    }

    /// Serves, or will.
    pub(super) fn is_in_place(&self) -> bool {
        matches!(self.life, Life::Starting(_) | Life::Serving)
    }

    /// Drains, and nobody has told it to hurry.
    pub(super) fn drains_since(&self) -> Option<Instant> {
        match self.life {
            Life::Draining {
                since,
                is_hurried: false,
                ..
            } => Some(since),
            _ => None,
        }
    }

    /// Told to leave within the limit; a second time, to leave within the stricter one.
    pub(super) fn drain(&mut self, limit: Option<Duration>, now: Instant) {
        let until = limit.map(|limit| now + limit + LEAVE_MARGIN);
        self.was_wanted = false;
        self.life = match self.life {
            Life::Draining {
                since,
                until: known,
                is_hurried,
            } => Life::Draining {
                since,
                until: known.into_iter().chain(until).min(),
                is_hurried,
            },
            Life::Starting(_) | Life::Serving => Life::Draining {
                since: now,
                until,
                is_hurried: false,
            },
            Life::Leaving(_) | Life::Killed => self.life,
        };
    }
}
