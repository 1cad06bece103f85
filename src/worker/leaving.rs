//! The end of a worker: it stops accepting, waits for what is in flight, and tells how it went.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::time::Instant;

use super::acceptors::Acceptors;
use super::orders::{DrainDeadline, Leave};
use super::{Exit, report};
use crate::control::{ToMaster, WorkerEnd};
use crate::drain::Drain;
use crate::scoreboard::{Gauge, Seat};
use crate::telemetry::{Closing, Event, Figures, emit};

/// How long connections are still accepted where nobody takes over, so that handshakes in progress
/// complete: a round trip to a client far away.
const SETTLE: Duration = Duration::from_millis(200);

/// Where a worker tells how it goes, and hears how long it may take.
pub(super) struct Desk<'a> {
    pub(super) channel: &'a WorkerEnd,
    pub(super) seat: Seat,
    pub(super) deadline: &'a DrainDeadline,
    /// Those to operators and scrapers.
    pub(super) answers: &'a Drain,
}

/// Stops accepting and waits for what is in flight.
pub(super) async fn finish(
    leave: Leave,
    acceptors: Acceptors,
    drain: &Drain,
    desk: Desk<'_>,
) -> Exit {
    let Leave { why, limit } = leave;
    let began = Instant::now();
    emit(&Event::Draining {
        why: why.as_str(),
        limit,
    });
    drain.begin();
    let settle = limit.map_or(SETTLE, |limit| limit.min(SETTLE));
    acceptors.close(why.is_final(), settle).await;
    report(desk.channel, ToMaster::Stopped).await;
    let finished = async {
        drain.finished().await;
        if !why.is_final() {
            // Nobody new is answered, as in the last drain: those that are get their rest.
            desk.answers.begin();
            desk.answers.finished().await;
        }
    };
    let forced = tokio::select! {
        () = finished => 0,
        () = desk.deadline.over() => level(desk.seat, Gauge::OpenConnections),
        never = tell_of_tunnels(drain, desk.channel) => match never {},
    };
    emit(&Event::Drained(closing(
        why.as_str(),
        began,
        forced,
        desk.seat,
    )));
    let forced = usize::try_from(forced).unwrap_or(usize::MAX);
    report(desk.channel, ToMaster::Drained { forced }).await;
    if forced == 0 {
        Exit::Drained
    } else {
        Exit::Forced
    }
}

/// Tells the master when nothing but tunnels is left: they may last, and nobody needs to wait.
async fn tell_of_tunnels(drain: &Drain, channel: &WorkerEnd) -> Infallible {
    drain.only_lasting().await;
    tracing::debug!("only tunnels are left");
    report(channel, ToMaster::OnlyTunnels).await;
    pending().await
}

/// The closing report.
fn closing(why: &str, began: Instant, forced: u64, seat: Seat) -> Closing<'_> {
    let life = seat.life();
    Closing {
        why,
        took: began.elapsed(),
        forced,
        figures: Figures {
            uptime: life.uptime,
            requests: life.exchanges,
            connections: life.connections,
            allocated: level(seat, Gauge::Allocated),
            active: level(seat, Gauge::Active),
            resident: level(seat, Gauge::Resident),
        },
    }
}

fn level(seat: Seat, gauge: Gauge) -> u64 {
    u64::try_from(seat.level(gauge)).unwrap_or(0)
}
