//! In which part of its life the worker of a seat is, whether it still turns, and what it leaves.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use super::master::wall_millis;
use super::{Counter, FIRST_GAUGE, FIRST_LOG, Gauge, Seat};

/// In which part of its life a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum State {
    /// Forked, not serving yet. Zero is a seat that was never used.
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
    Slot,
    Generation,
    /// When it was forked, by the wall clock.
    Born,
    /// Access logs that this worker owes lines.
    Logs,
    /// What earlier workers had counted in this seat.
    FirstExchange,
    /// The last field.
    FirstConnection,
}

/// A process that takes a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occupant {
    /// Whose sockets it accepts from.
    pub(crate) slot: usize,
    /// With which configuration it serves, counted by the master.
    pub(crate) generation: u64,
    /// Access logs that it writes.
    pub(crate) logs: usize,
}

/// How it is with the worker in a seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) state: State,
    pub(crate) pid: u32,
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    /// Since its runtime last turned.
    pub(crate) heartbeat_age: Duration,
    pub(crate) uptime: Duration,
    /// When it was forked, by a clock that all processes share: later is younger.
    pub(crate) started: Duration,
    /// The same by the wall clock.
    pub(crate) born: SystemTime,
    /// Exchanges that it finished.
    pub(crate) exchanges: u64,
    /// Connections that it accepted.
    pub(crate) connections: u64,
}

/// A heartbeat older than this is that of a runtime that does not turn.
const HUNG: Duration = Duration::from_secs(5);

impl Life {
    /// Whether the worker's runtime turns.
    pub(crate) fn turns(&self) -> bool {
        self.heartbeat_age < HUNG
    }
}

/// What a dead worker leaves behind: what it held, and what it owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estate {
    pub(crate) exchanges: u64,
    pub(crate) connections: u64,
    pub(crate) open_exchanges: i64,
    pub(crate) open_connections: i64,
    pub(crate) allocated: i64,
    pub(crate) active: i64,
    pub(crate) resident: i64,
    pub(crate) lost_lines: u64,
    pub(crate) lost_spans: u64,
}

impl Seat {
    /// How it is with the worker.
    pub(crate) fn life(&self) -> Life {
        let now = monotonic_millis();
        let since = |field| Duration::from_millis(now.saturating_sub(self.read(field)));
        let own = |counter, first| self.count(counter).saturating_sub(self.read(first));
        Life {
            state: State::of(self.read(Field::State)),
            pid: u32::try_from(self.read(Field::Pid)).unwrap_or(0),
            slot: usize::try_from(self.read(Field::Slot)).unwrap_or(0),
            generation: self.read(Field::Generation),
            heartbeat_age: since(Field::Heartbeat),
            uptime: since(Field::Started),
            started: Duration::from_millis(self.read(Field::Started)),
            born: UNIX_EPOCH + Duration::from_millis(self.read(Field::Born)),
            exchanges: own(Counter::Exchanges, Field::FirstExchange),
            connections: own(Counter::Connections, Field::FirstConnection),
        }
    }

    /// Takes the seat for a worker that is about to be forked: what was counted here before is not
    /// its affair.
    pub(crate) fn occupy(&self, occupant: Occupant) {
        self.set(Field::Pid, 0);
        self.set(Field::Started, monotonic_millis());
        self.set(Field::Born, wall_millis());
        self.set(Field::Slot, occupant.slot as u64);
        self.set(Field::Generation, occupant.generation);
        self.set(Field::Logs, occupant.logs as u64);
        self.set(Field::FirstExchange, self.count(Counter::Exchanges));
        self.set(Field::FirstConnection, self.count(Counter::Connections));
        self.open_books();
        self.enter(State::Starting);
        self.beat();
    }

    /// Tells the process id of the worker, once it has one.
    pub(crate) fn name_process(&self, pid: u32) {
        self.set(Field::Pid, u64::from(pid));
    }

    /// Tells in which part of its life the worker is.
    pub(crate) fn enter(&self, state: State) {
        self.set(Field::State, state as u64);
    }

    /// Shows that the worker's runtime still turns: writes the time.
    pub(crate) fn beat(&self) {
        self.set(Field::Heartbeat, monotonic_millis());
    }

    /// Closes the books of a dead worker, for the master, and gives what it left behind. From here
    /// on what it finished equals, in each log, the lines written, dropped, failed, filtered and
    /// lost.
    pub(crate) fn bury(&self) -> Estate {
        let life = self.life();
        let estate = Estate {
            exchanges: life.exchanges,
            connections: life.connections,
            open_exchanges: self.level(Gauge::OpenExchanges),
            open_connections: self.level(Gauge::OpenConnections),
            allocated: self.level(Gauge::Allocated),
            active: self.level(Gauge::Active),
            resident: self.level(Gauge::Resident),
            lost_lines: self.bury_lines(usize::try_from(self.read(Field::Logs)).unwrap_or(0)),
            lost_spans: self.settle(
                [Counter::SpansQueued, Counter::SpansFailed],
                [Counter::SpansExported, Counter::SpansDropped],
            ),
        };
        self.settle(
            [Counter::RecordsQueued, Counter::RecordsFailed],
            [Counter::RecordsExported, Counter::RecordsDropped],
        );
        self.enter(State::Gone);
        self.end_move();
        for gauge in &self.cells[FIRST_GAUGE..FIRST_LOG] {
            gauge.store(0, Ordering::Relaxed);
        }
        estate
    }

    /// Counts what was queued and died with the worker as failed, and gives how much that was.
    fn settle(&self, [queued, failed]: [Counter; 2], ends: [Counter; 2]) -> u64 {
        let settled: u64 = ends.into_iter().map(|counter| self.count(counter)).sum();
        let settled = settled + self.count(failed);
        let lost = self.count(queued).saturating_sub(settled);
        self.add(failed, lost);
        lost
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
