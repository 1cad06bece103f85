//! What a worker measures of itself every few seconds: its memory, its links to Redis.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::memory::Meter;
use crate::route::Router;
use crate::scoreboard::{Gauge, Seat};
use crate::telemetry::{Event, emit};

/// The pause between two measurements.
const PAUSE: Duration = Duration::from_secs(2);

/// Measures until the task ends.
pub(super) async fn report(seat: Seat, router: Rc<Router>) {
    let meter = Meter::new()
        .inspect_err(|error| {
            emit(&Event::Problem {
                doing: "preparing to measure memory; its gauges stay 0",
                error,
            });
        })
        .ok();
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(meter) = &meter {
            // Cannot fail where the statistics are compiled in; old figures are as good as none.
            let _ = report_memory(seat, meter);
        }
        let links = router.links();
        let up = links.iter().filter(|link| link.down.is_none()).count();
        seat.put(Gauge::RedisLinks, up as u64);
    }
}

fn report_memory(seat: Seat, meter: &Meter) -> io::Result<()> {
    let figures = meter.beside(meter.measure()?);
    for (gauge, bytes) in [
        (Gauge::Allocated, figures.allocated),
        (Gauge::Active, figures.active),
        (Gauge::Resident, figures.resident),
        (Gauge::Retained, figures.retained),
        (Gauge::ResidentSet, figures.resident_set),
        (Gauge::CgroupMemory, figures.cgroup),
    ] {
        seat.put(gauge, bytes);
    }
    Ok(())
}
