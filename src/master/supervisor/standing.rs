//! Where each process stands, so that another image of this program can go on.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Generation, LEAVE_MARGIN, Life, Process, START_LIMIT, Supervisor, Terms};

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Standing {
    pub(in super::super) seat: usize,
    pub(in super::super) slot: usize,
    pub(in super::super) generation: u64,
    stage: Stage,
    was_wanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Starting,
    Serving,
    Draining {
        since_millis: u64,
        left_millis: Option<u64>,
        is_hurried: bool,
    },
    Leaving,
    Killed,
}

/// What a supervisor goes on with.
#[derive(Debug)]
pub(in super::super) struct Resumed {
    pub(in super::super) generation: u64,
    /// No workers: none is missed.
    pub(in super::super) terms: Terms,
    /// Slots that have sockets.
    pub(in super::super) slots: usize,
    /// Whether heartbeats are seen.
    pub(in super::super) has_pulses: bool,
    pub(in super::super) standings: Vec<Standing>,
}

impl Supervisor {
    /// Goes on with processes that are there.
    pub(in super::super) fn resume(seats: usize, resumed: Resumed, now: Instant) -> Self {
        let limit = resumed.terms.heartbeat_timeout;
        let heartbeat_timeout = limit.filter(|_| resumed.has_pulses);
        let processes = resumed.standings.iter().map(|standing| {
            let process = Process {
                slot: standing.slot,
                generation: standing.generation,
                life: standing.stage.life(now),
                pulse: now,
                heartbeat_timeout,
                is_suspect: false,
                was_wanted: standing.was_wanted,
            };
            (standing.seat, process)
        });
        let processes = processes.collect();
        let mut supervisor = Self::new(seats, resumed.terms);
        supervisor.processes = processes;
        supervisor.current = Generation::new(resumed.generation, resumed.terms);
        supervisor.known_since = vec![0; resumed.slots];
        supervisor.has_served = true;
        supervisor
    }

    /// Where each process stands.
    pub(in super::super) fn standings(&self, now: Instant) -> Vec<Standing> {
        let processes = self.processes.iter();
        let standings = processes.map(|(seat, process)| Standing {
            seat: *seat,
            slot: process.slot,
            generation: process.generation,
            stage: Stage::of(process.life, now),
            was_wanted: process.was_wanted,
        });
        standings.collect()
    }
}

impl Stage {
    fn of(life: Life, now: Instant) -> Self {
        match life {
            Life::Starting(_) => Self::Starting,
            Life::Serving => Self::Serving,
            Life::Draining {
                since,
                until,
                is_hurried,
            } => Self::Draining {
                since_millis: millis(now.saturating_duration_since(since)),
                left_millis: until.map(|until| millis(until.saturating_duration_since(now))),
                is_hurried,
            },
            Life::Leaving(_) => Self::Leaving,
            Life::Killed => Self::Killed,
        }
    }

    fn life(self, now: Instant) -> Life {
        match self {
            Self::Starting => Life::Starting(now + START_LIMIT),
            Self::Serving => Life::Serving,
            Self::Draining {
                since_millis,
                left_millis,
                is_hurried,
            } => Life::Draining {
                since: now
                    .checked_sub(Duration::from_millis(since_millis))
                    .unwrap_or(now),
                until: left_millis.and_then(|left| now.checked_add(Duration::from_millis(left))),
                is_hurried,
            },
            Self::Leaving => Life::Leaving(now + LEAVE_MARGIN),
            Self::Killed => Life::Killed,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
