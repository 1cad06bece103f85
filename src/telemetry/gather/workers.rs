//! What is told worker by worker: states, memory, processes.
//!
//! A worker's number is its seat, which another takes when it is gone and goes on counting. What
//! belongs to the process, such as its CPU time, begins anew. Who is gone has no state any more: it
//! is no worker that is down.

use std::time::SystemTime;

use tokio::task::yield_now;

use super::super::names::{self, Metric};
use super::Sink;
use super::process::{self, Process};
use crate::scoreboard::{Counter, Death, Gauge, Reload, Replacement, Scoreboard, Seat, State};

const STATES: [State; 4] = [
    State::Starting,
    State::Serving,
    State::Draining,
    State::Leaving,
];

/// Writes it.
pub(super) async fn workers(sink: &mut impl Sink, board: Scoreboard, seats: &[(usize, Seat)]) {
    sink.begin(&names::WORKER_DEATHS);
    for death in Death::ALL {
        sink.sample(&[(names::REASON, death.as_str())], board.deaths(death));
    }
    sink.begin(&names::REPLACEMENTS);
    for why in Replacement::ALL {
        sink.sample(&[(names::REASON, why.as_str())], board.replacements(why));
    }
    sink.begin(&names::RELOADS);
    for result in Reload::ALL {
        sink.sample(&[(names::RESULT, result.as_str())], board.reloads(result));
    }
    sink.begin(&names::UPGRADES);
    for result in Reload::ALL {
        sink.sample(&[(names::RESULT, result.as_str())], board.upgrades(result));
    }
    sink.begin(&names::WORKER_EXCHANGES);
    for (number, seat) in seats {
        let number = number.to_string();
        sink.sample(&[(names::WORKER, &number)], seat.count(Counter::Exchanges));
    }
    let alive = seats
        .iter()
        .filter(|(_, seat)| seat.life().state != State::Gone);
    let alive: Vec<(String, Seat)> = alive
        .map(|(number, seat)| (number.to_string(), *seat))
        .collect();
    lives(sink, &alive);
    memory(sink, &alive);
    processes(sink, board, &alive).await;
}

fn lives(sink: &mut impl Sink, seats: &[(String, Seat)]) {
    sink.begin(&names::WORKER_STATE);
    for (number, seat) in seats {
        let now = seat.life().state;
        for state in STATES {
            let labels = [
                (names::WORKER, number.as_str()),
                (names::STATE, state.as_str()),
            ];
            sink.sample(&labels, u64::from(state == now));
        }
    }
    sink.begin(&names::WORKER_UPTIME);
    for (number, seat) in seats {
        sink.sample(&[(names::WORKER, number)], seat.life().uptime.as_secs_f64());
    }
    sink.begin(&names::WORKER_HEARTBEAT);
    for (number, seat) in seats {
        let age = seat.life().heartbeat_age.as_secs_f64();
        sink.sample(&[(names::WORKER, number)], age);
    }
}

fn memory(sink: &mut impl Sink, seats: &[(String, Seat)]) {
    sink.begin(&names::MEMORY);
    for (number, seat) in seats {
        for (state, gauge) in [
            ("allocated", Gauge::Allocated),
            ("active", Gauge::Active),
            ("resident", Gauge::Resident),
            ("retained", Gauge::Retained),
        ] {
            let labels = [(names::WORKER, number.as_str()), (names::STATE, state)];
            sink.sample(&labels, seat.level(gauge));
        }
    }
    sink.begin(&names::MEMORY_LIMIT);
    for (number, seat) in seats {
        sink.sample(&[(names::WORKER, number)], seat.level(Gauge::MemoryLimit));
    }
    // All workers are in one group; what one says last is as good as what another does.
    let used = seats
        .iter()
        .map(|(_, seat)| seat.level(Gauge::CgroupMemory));
    if let Some(used) = used.max().filter(|used| *used > 0) {
        sink.begin(&names::CGROUP_MEMORY);
        sink.sample(&[], used);
    }
}

async fn processes(sink: &mut impl Sink, board: Scoreboard, seats: &[(String, Seat)]) {
    let workers = seats
        .iter()
        .map(|(number, seat)| (number.as_str(), seat.life()));
    let pids = std::iter::once(("master", board.master(), board.started()))
        .chain(workers.map(|(number, life)| (number, life.pid, life.born)));
    let mut all: Vec<(&str, Process, SystemTime)> = Vec::new();
    for (name, pid, born) in pids {
        all.extend(process::read(pid).map(|process| (name, process, born)));
        yield_now().await;
    }
    sink.begin(&names::CPU);
    for (name, process, born) in &all {
        sink.since(*born);
        sink.sample(&[(names::PROCESS, name)], process.cpu_seconds);
    }
    type Figure = fn(&Process) -> Option<u64>;
    let figures: [(&'static Metric, Figure); 4] = [
        (&names::RESIDENT, |process| Some(process.resident_bytes)),
        (&names::VIRTUAL, |process| Some(process.virtual_bytes)),
        (&names::THREADS, |process| Some(process.threads)),
        (&names::DESCRIPTORS, |process| process.descriptors),
    ];
    for (metric, figure) in figures {
        sink.begin(metric);
        for (name, process, _) in &all {
            if let Some(figure) = figure(process) {
                sink.sample(&[(names::PROCESS, name)], figure);
            }
        }
    }
}
