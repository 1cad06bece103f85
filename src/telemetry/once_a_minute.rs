//! Telling a problem that may occur with every request, at most once a minute.

use std::cell::Cell;
use std::fmt::Display;
use std::time::{Duration, Instant};

use super::{Event, emit};

/// Time between two tellings.
const PAUSE: Duration = Duration::from_secs(60);

/// One kind of problem.
#[derive(Debug, Default)]
pub(crate) struct OnceAMinute {
    told: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl OnceAMinute {
    /// Tells the problem, or counts it for the next time.
    pub(crate) fn tell(&self, doing: &str, error: &dyn Display) {
        let now = Instant::now();
        if self.told.get().is_some_and(|told| now < told + PAUSE) {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        self.told.set(Some(now));
        match self.untold.take() {
            0 => emit(&Event::Problem { doing, error }),
            untold => emit(&Event::Problem {
                doing,
                error: &format_args!("{error}; and {untold} times since this was last told"),
            }),
        }
    }
}
