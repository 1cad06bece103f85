//! `/status`: how it is with the proxy, in one JSON object for people and scripts.

use std::time::SystemTime;

use serde_json::{Value as Json, json};
use tokio::task::yield_now;

use super::Facts;
use crate::scoreboard::{Counter, Gauge, Reload, Seat};
use crate::telemetry::{Snapshot, busiest, resident};

/// Backends listed as dead, at most.
const DEAD: usize = 1_000;
/// Vhosts listed.
const VHOSTS: usize = 20;

/// The object.
pub(super) async fn status(facts: &Facts) -> Json {
    let mut workers = Vec::new();
    let snapshot = Snapshot::of(facts.source.board);
    for (number, seat) in facts.source.board.living() {
        workers.push(worker(number, seat));
        yield_now().await;
    }
    let since = |moment| SystemTime::now().duration_since(moment).unwrap_or_default();
    let master = facts.source.board.master();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "configuration": facts.source.configuration,
        "generation": facts.source.board.generation(),
        "uptime": since(facts.source.board.started()).as_secs(),
        "configured": since(facts.source.board.configured()).as_secs(),
        "reloads": reloads(facts),
        "master": { "pid": master, "memory": resident(master) },
        "cgroupMemory": facts.seat.level(Gauge::CgroupMemory),
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
            "recordsDropped": snapshot.count(Counter::RecordsDropped),
            "recordsFailed": snapshot.count(Counter::RecordsFailed),
            "metricsDropped": snapshot.count(Counter::MetricsDropped),
            "metricsFailed": snapshot.count(Counter::MetricsFailed),
            "interimResponses": snapshot.count(Counter::InterimLost),
            "deadMarks": snapshot.count(Counter::MarksLost),
        },
    })
}

fn worker(number: usize, seat: Seat) -> Json {
    let life = seat.life();
    json!({
        "worker": number,
        "slot": life.slot,
        "generation": life.generation,
        "pid": life.pid,
        "state": life.state.as_str(),
        "heartbeatAge": life.heartbeat_age.as_secs_f64(),
        "uptime": life.uptime.as_secs(),
        "memory": resident(life.pid),
        "memoryLimit": seat.level(Gauge::MemoryLimit),
        "allocator": {
            "allocated": seat.level(Gauge::Allocated),
            "active": seat.level(Gauge::Active),
            "resident": seat.level(Gauge::Resident),
            "retained": seat.level(Gauge::Retained),
        },
        "exchanges": life.exchanges,
        "connections": life.connections,
        "openConnections": seat.level(Gauge::OpenConnections),
        "openExchanges": seat.level(Gauge::OpenExchanges),
        "openTunnels": seat.level(Gauge::OpenTunnels),
        "redisLinks": seat.level(Gauge::RedisLinks),
    })
}

/// How many reloads ended in which way.
fn reloads(facts: &Facts) -> Json {
    let counts = Reload::ALL.map(|result| {
        let count = facts.source.board.reloads(result);
        (result.as_str().to_owned(), count.into())
    });
    Json::Object(counts.into_iter().collect())
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
    let mut vhosts = busiest(facts.source.board).await;
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
