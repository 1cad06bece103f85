//! What is told worker by worker: states, memory, processes.
//!
//! A slot keeps its number when its worker is replaced, so these series go on. What belongs to the
//! process, such as its CPU time, begins anew.

use tokio::task::yield_now;

use super::super::names::{self, Metric};
use super::Sink;
use super::process::{self, Process};
use crate::scoreboard::{Counter, Death, Gauge, Scoreboard, Slot, State};

/// Writes it.
pub(super) async fn workers(sink: &mut impl Sink, board: Scoreboard, slots: &[(usize, Slot)]) {
    sink.begin(&names::WORKER_DEATHS);
    for death in Death::ALL {
        sink.sample(&[(names::REASON, death.as_str())], board.deaths(death));
    }
    let slots: Vec<(String, Slot)> = slots
        .iter()
        .map(|(number, slot)| (number.to_string(), *slot))
        .collect();
    lives(sink, &slots);
    memory(sink, &slots);
    processes(sink, board, &slots).await;
}

fn lives(sink: &mut impl Sink, slots: &[(String, Slot)]) {
    sink.begin(&names::WORKER_STATE);
    for (number, slot) in slots {
        let now = slot.life().state;
        for state in State::ALL {
            let labels = [
                (names::WORKER, number.as_str()),
                (names::STATE, state.as_str()),
            ];
            sink.sample(&labels, u64::from(state == now));
        }
    }
    sink.begin(&names::WORKER_EXCHANGES);
    for (number, slot) in slots {
        sink.sample(&[(names::WORKER, number)], slot.count(Counter::Exchanges));
    }
    let alive = || {
        slots
            .iter()
            .filter(|(_, slot)| slot.life().state != State::Gone)
    };
    sink.begin(&names::WORKER_UPTIME);
    for (number, slot) in alive() {
        sink.sample(&[(names::WORKER, number)], slot.life().uptime.as_secs_f64());
    }
    sink.begin(&names::WORKER_HEARTBEAT);
    for (number, slot) in alive() {
        let age = slot.life().heartbeat_age.as_secs_f64();
        sink.sample(&[(names::WORKER, number)], age);
    }
}

fn memory(sink: &mut impl Sink, slots: &[(String, Slot)]) {
    sink.begin(&names::MEMORY);
    for (number, slot) in slots {
        for (state, gauge) in [
            ("allocated", Gauge::Allocated),
            ("active", Gauge::Active),
            ("resident", Gauge::Resident),
            ("retained", Gauge::Retained),
        ] {
            let labels = [(names::WORKER, number.as_str()), (names::STATE, state)];
            sink.sample(&labels, slot.level(gauge));
        }
    }
}

async fn processes(sink: &mut impl Sink, board: Scoreboard, slots: &[(String, Slot)]) {
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
    sink.begin(&names::CPU);
    for (name, process) in &all {
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
        for (name, process) in &all {
            if let Some(figure) = figure(process) {
                sink.sample(&[(names::PROCESS, name)], figure);
            }
        }
    }
}
