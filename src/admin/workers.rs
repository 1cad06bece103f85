//! The part of `/metrics` that is told worker by worker: states, memory, processes.
//!
//! A slot keeps its number when its worker is replaced, so these series go on. What belongs to the
//! process, such as its CPU time, begins anew.

use tokio::task::yield_now;

use super::process::{self, Process};
use super::text::Text;
use crate::scoreboard::{Counter, Death, Gauge, Scoreboard, Slot, State};
use crate::telemetry::names;

const STATES: [State; 4] = [
    State::Starting,
    State::Serving,
    State::Draining,
    State::Gone,
];

/// Writes it.
pub(super) async fn workers(text: &mut Text, board: Scoreboard, slots: &[(usize, Slot)]) {
    text.begin(&names::WORKER_DEATHS);
    for death in Death::ALL {
        text.sample(&[(names::REASON, death.as_str())], board.deaths(death));
    }
    let slots: Vec<(String, Slot)> = slots
        .iter()
        .map(|(number, slot)| (number.to_string(), *slot))
        .collect();
    lives(text, &slots);
    memory(text, &slots);
    processes(text, board, &slots).await;
}

fn lives(text: &mut Text, slots: &[(String, Slot)]) {
    text.begin(&names::WORKER_STATE);
    for (number, slot) in slots {
        let now = slot.life().state;
        for state in STATES {
            let labels = [
                (names::WORKER, number.as_str()),
                (names::STATE, state.as_str()),
            ];
            text.sample(&labels, u8::from(state == now));
        }
    }
    text.begin(&names::WORKER_EXCHANGES);
    for (number, slot) in slots {
        text.sample(&[(names::WORKER, number)], slot.count(Counter::Exchanges));
    }
    let alive = || {
        slots
            .iter()
            .filter(|(_, slot)| slot.life().state != State::Gone)
    };
    text.begin(&names::WORKER_UPTIME);
    for (number, slot) in alive() {
        text.sample(&[(names::WORKER, number)], slot.life().uptime.as_secs_f64());
    }
    text.begin(&names::WORKER_HEARTBEAT);
    for (number, slot) in alive() {
        let age = slot.life().heartbeat_age.as_secs_f64();
        text.sample(&[(names::WORKER, number)], age);
    }
}

fn memory(text: &mut Text, slots: &[(String, Slot)]) {
    text.begin(&names::MEMORY);
    for (number, slot) in slots {
        for (state, gauge) in [
            ("allocated", Gauge::Allocated),
            ("active", Gauge::Active),
            ("resident", Gauge::Resident),
            ("retained", Gauge::Retained),
        ] {
            let labels = [(names::WORKER, number.as_str()), (names::STATE, state)];
            text.sample(&labels, slot.level(gauge));
        }
    }
    text.begin(&names::MEMORY_LIMIT);
    for (number, slot) in slots {
        text.sample(&[(names::WORKER, number)], slot.level(Gauge::MemoryLimit));
    }
    // All workers are in one group; what one says last is as good as what another does.
    let used = slots
        .iter()
        .map(|(_, slot)| slot.level(Gauge::CgroupMemory));
    if let Some(used) = used.max().filter(|used| *used > 0) {
        text.single(&names::CGROUP_MEMORY, used);
    }
}

async fn processes(text: &mut Text, board: Scoreboard, slots: &[(String, Slot)]) {
    let workers = slots
        .iter()
        .map(|(number, slot)| (number.as_str(), slot.life()));
    let workers = workers.filter(|(_, life)| life.state != State::Gone);
    let pids = std::iter::once(("master", board.master()))
        .chain(workers.map(|(number, life)| (number, life.pid)));
    let mut all: Vec<(&str, Process)> = Vec::new();
    for (name, pid) in pids {
        all.extend(process::read(pid).map(|process| (name, process)));
        yield_now().await;
    }
    text.begin(&names::CPU);
    for (name, process) in &all {
        text.sample(&[(names::PROCESS, name)], process.cpu_seconds);
    }
    type Figure = fn(&Process) -> Option<u64>;
    let figures: [(_, Figure); 4] = [
        (&names::RESIDENT, |process| Some(process.resident_bytes)),
        (&names::VIRTUAL, |process| Some(process.virtual_bytes)),
        (&names::THREADS, |process| Some(process.threads)),
        (&names::DESCRIPTORS, |process| process.descriptors),
    ];
    for (metric, figure) in figures {
        text.begin(metric);
        for (name, process) in &all {
            if let Some(figure) = figure(process) {
                text.sample(&[(names::PROCESS, name)], figure);
            }
        }
    }
}
