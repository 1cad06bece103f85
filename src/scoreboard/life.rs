//! In which part of its life the worker of a slot is, and whether it still turns.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::Slot;

/// In which part of its life a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum State {
    /// Forked, not serving yet. Zero is a slot that was never used.
    Starting = 1,
    /// Accepting.
    Serving = 2,
    /// Finishing what it has.
    Draining = 3,
    /// Dead and reaped.
    Gone = 4,
    /// Through with everything: its last log lines and telemetry leave.
    Leaving = 5,
}

impl State {
    /// All states, in the order of a life.
    pub(crate) const ALL: [Self; 5] = [
        Self::Starting,
        Self::Serving,
        Self::Draining,
        Self::Leaving,
        Self::Gone,
    ];

    fn of(number: u64) -> Self {
        Self::ALL
            .into_iter()
            .find(|state| *state as u64 == number)
            .unwrap_or(Self::Gone)
    }

    /// The word for people and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Gone => "gone",
            Self::Leaving => "leaving",
        }
    }
}

/// The cells before the counters.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(super) enum Field {
    State,
    Pid,
    Heartbeat,
    Started,
}

/// How it is with the worker of a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) state: State,
    pub(crate) pid: u32,
    /// Since its runtime last turned.
    pub(crate) heartbeat_age: Duration,
    pub(crate) uptime: Duration,
    /// When it was forked, by a clock that all processes share: later is younger.
    pub(crate) started: Duration,
}

/// A heartbeat older than this is that of a runtime that does not turn.
const HUNG: Duration = Duration::from_secs(5);

impl Life {
    /// Whether the worker's runtime turns.
    pub(crate) fn turns(&self) -> bool {
        self.heartbeat_age < HUNG
    }
}

impl Slot {
    /// How it is with the worker.
    pub(crate) fn life(&self) -> Life {
        let now = monotonic_millis();
        let since = |field| Duration::from_millis(now.saturating_sub(self.read(field)));
        Life {
            state: State::of(self.read(Field::State)),
            pid: u32::try_from(self.read(Field::Pid)).unwrap_or(0),
            heartbeat_age: since(Field::Heartbeat),
            uptime: since(Field::Started),
            started: Duration::from_millis(self.read(Field::Started)),
        }
    }

    /// Takes the slot for a worker that has just been forked.
    pub(crate) fn occupy(&self, pid: u32) {
        self.set(Field::Pid, u64::from(pid));
        self.set(Field::Started, monotonic_millis());
        self.enter(State::Starting);
        self.beat();
    }

    /// Tells in which part of its life the worker is.
    pub(crate) fn enter(&self, state: State) {
        self.set(Field::State, state as u64);
    }

    /// Shows that the worker's runtime still turns: writes the time.
    pub(crate) fn beat(&self) {
        self.set(Field::Heartbeat, monotonic_millis());
    }

    pub(super) fn set(&self, field: Field, value: u64) {
        self.cells[field as usize].store(value, Ordering::Relaxed);
    }

    pub(super) fn read(&self, field: Field) -> u64 {
        self.cells[field as usize].load(Ordering::Relaxed)
    }
}

/// Milliseconds of the monotonic clock, which all processes share.
pub(crate) fn monotonic_millis() -> u64 {
    // Cannot fail for a clock that every Linux has; 0 reads as "never" rather than ending a worker.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
