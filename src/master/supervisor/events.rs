//! What happens to the supervisor, and what it wants to be done.

use std::time::Duration;

use crate::control::Why;

/// Something that happened. Processes are named by their seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Event {
    /// Everything is prepared.
    Start,
    /// A worker serves.
    Ready(usize),
    /// A worker asks for a successor.
    WantsReplacement(usize, Why),
    /// A draining worker has nothing left but tunnels.
    OnlyTunnels(usize),
    /// A worker has finished, and only flushes and exits.
    Finished(usize),
    /// A worker is dead and reaped, or could not be forked.
    Died {
        seat: usize,
        /// How long it lived.
        lived: Duration,
        /// It said that it cannot serve as it was told to.
        could_not_start: bool,
    },
    /// A worker's runtime last turned this long ago.
    Pulse { seat: usize, age: Duration },
    /// A new generation is prepared, to take the place of the one that serves.
    Renew { number: u64, why: Why, terms: Terms },
    /// The operator wants the end.
    Stop,
    /// Time has passed.
    Tick,
}

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Action {
    /// Fork a worker into a free seat.
    Fork {
        seat: usize,
        slot: usize,
        generation: u64,
    },
    /// Kill a worker, at once.
    Kill { seat: usize, cause: Cause },
    /// Tell a worker to leave, or one that leaves to hurry.
    Drain {
        seat: usize,
        why: Why,
        limit: Option<Duration>,
    },
    /// Let a worker accept for another slot.
    Adopt { orphan: usize, by: usize },
    /// Take that back.
    Release { orphan: usize, by: usize },
    /// Tell that a worker is silent, or that it is no more.
    Suspect { seat: usize, is_silent: bool },
    /// Tell that a worker is about to be replaced.
    Replace { seat: usize, why: Why },
    /// The new generation is in force.
    Commit,
    /// The new generation came to nothing.
    Abandon(Failure),
    /// Let no newcomer in and close the sockets.
    Close,
    /// End the master.
    Exit(Verdict),
}

/// Why a worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Cause {
    /// It did not serve in time.
    NotServing,
    /// Its runtime does not turn any more.
    Hung,
    /// It did not leave in time.
    Overdue,
    /// The end does not wait any longer.
    Stop,
}

/// Why a new generation came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Failure {
    /// A worker of it said that it cannot serve.
    CouldNotStart,
    /// Its workers did not all serve in time.
    TooSlow,
    /// The operator wants the end.
    Stopped,
}

/// How the master ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// Stopped as it was asked to.
    Stopped,
    /// Could not start, or was stopped the hard way.
    Failed,
}

/// What a generation of workers is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Terms {
    /// Workers that are to serve, one a slot.
    pub(in super::super) workers: usize,
    /// For the final stop.
    pub(in super::super) graceful_wait: Duration,
    /// For a worker that is replaced; `None`: as long as it takes.
    pub(in super::super) drain_wait: Option<Duration>,
    /// Silence after which a worker is killed.
    pub(in super::super) heartbeat_timeout: Option<Duration>,
}
