//! `/status`: how it is with the proxy, in one JSON object for people and scripts.

use std::time::SystemTime;

use serde_json::{Value as Json, json};
use tokio::task::yield_now;

use super::exposition::Snapshot;
use super::vhosts::busiest;
use super::{Facts, process};
use crate::scoreboard::{Counter, Gauge, Slot};

/// Backends listed as dead, at most.
const DEAD: usize = 1_000;
/// Vhosts listed.
const VHOSTS: usize = 20;

/// The object.
pub(super) async fn status(facts: &Facts) -> Json {
    let mut workers = Vec::new();
    let snapshot = Snapshot::of(facts.board);
    for (number, slot) in facts.board.used() {
        workers.push(worker(number, slot));
        yield_now().await;
    }
    let uptime = SystemTime::now().duration_since(facts.board.started());
    let master = facts.board.master();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "configuration": facts.configuration,
        "uptime": uptime.unwrap_or_default().as_secs(),
        "master": { "pid": master, "memory": memory(master) },
        "cgroupMemory": facts.slot.level(Gauge::CgroupMemory),
        "answeredBy": facts.number,
        "ready": super::readiness(facts).err().map_or(json!(true), Json::from),
        "workers": workers,
        "routes": { "links": links(facts), "dead": dead(facts) },
        "vhosts": vhosts(facts).await,
        "losses": {
            "linesDropped": snapshot.count(Counter::LinesDropped),
            "linesFailed": snapshot.count(Counter::LinesFailed),
            "linesLostAtDeath": snapshot.count(Counter::LinesLostAtDeath),
            "spansDropped": snapshot.count(Counter::SpansDropped),
            "spansFailed": snapshot.count(Counter::SpansFailed),
            "interimResponses": snapshot.count(Counter::InterimLost),
            "deadMarks": snapshot.count(Counter::MarksLost),
        },
    })
}

fn worker(number: usize, slot: Slot) -> Json {
    let life = slot.life();
    json!({
        "slot": number,
        "pid": life.pid,
        "state": life.state.as_str(),
        "heartbeatAge": life.heartbeat_age.as_secs_f64(),
        "uptime": life.uptime.as_secs(),
        "memory": memory(life.pid),
        "memoryLimit": slot.level(Gauge::MemoryLimit),
        "allocator": {
            "allocated": slot.level(Gauge::Allocated),
            "active": slot.level(Gauge::Active),
            "resident": slot.level(Gauge::Resident),
            "retained": slot.level(Gauge::Retained),
        },
        "exchanges": slot.count(Counter::Exchanges),
        "connections": slot.count(Counter::Connections),
        "openConnections": slot.level(Gauge::OpenConnections),
        "openExchanges": slot.level(Gauge::OpenExchanges),
        "openTunnels": slot.level(Gauge::OpenTunnels),
        "redisLinks": slot.level(Gauge::RedisLinks),
    })
}

/// Resident bytes; `null` when the process is gone.
fn memory(pid: u32) -> Option<u64> {
    process::read(pid).map(|process| process.resident_bytes)
}

fn links(facts: &Facts) -> Vec<Json> {
    let links = facts.router.links().into_iter();
    links
        .map(|link| {
            json!({
                "server": link.server,
                "role": link.role,
                "up": link.down.is_none(),
                "cause": link.down.as_deref(),
            })
        })
        .collect()
}

/// Those that the answering worker knows of.
fn dead(facts: &Facts) -> Vec<Json> {
    let dead = facts.router.dead(DEAD).into_iter();
    dead.map(|dead| json!({ "host": dead.host, "id": dead.id, "backend": dead.url }))
        .collect()
}

async fn vhosts(facts: &Facts) -> Vec<Json> {
    let mut vhosts = busiest(facts.board).await;
    vhosts.sort_by_key(|vhost| std::cmp::Reverse(vhost.requests()));
    let shown = vhosts.iter().take(VHOSTS);
    shown
        .map(|vhost| {
            json!({
                "vhost": vhost.name,
                "requests": vhost.requests(),
                "failed": vhost.failed,
                "serverErrors": vhost.classes[5],
                "bytesSent": vhost.bytes_sent,
                "meanSeconds": mean(vhost.sum, vhost.requests()),
            })
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a mean, for people")]
fn mean(sum: u64, count: u64) -> f64 {
    sum as f64 / 1e9 / count.max(1) as f64
}
