//! One slot through the lives of its workers, and the pause before the next.

use std::time::{Duration, Instant};

/// A worker that lived shorter died of something that its successor may die of, too.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// Pause before the second restart in a row; doubled for each further one. The first has none.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// What the supervisor knows of a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) life: Life,
    /// Deaths in a row, each after a short life.
    short_lives: u32,
}

/// Where the slot's worker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Life {
    /// No process; one is due at this time.
    Pausing(Instant),
    /// Forked; killed if it does not serve by this time.
    Starting(Instant),
    /// Killed, not reaped yet.
    Killed,
    /// Accepting.
    Serving,
    /// No process, and none to come.
    #[default]
    Over,
}

impl Slot {
    /// When time changes something here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.life {
            Life::Pausing(until) | Life::Starting(until) => Some(until),
            Life::Killed | Life::Serving | Life::Over => None,
        }
    }

    /// Takes a death into account and gives the pause before the next start.
    pub(super) fn pause_after(&mut self, lived: Duration) -> Duration {
        if lived >= SHORT_LIFE {
            self.short_lives = 0;
        }
        let pause = match self.short_lives {
            0 => Duration::ZERO,
            // Beyond this the doubling is past the maximum anyway.
            repeated => FIRST_PAUSE * 2_u32.pow((repeated - 1).min(16)),
        };
        self.short_lives = self.short_lives.saturating_add(1);
        pause.min(MAX_PAUSE)
    }
}
