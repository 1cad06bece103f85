//! What a worker measures of itself every few seconds: its memory, its links to Redis.
//!
//! jemalloc refreshes its figures only when its epoch is advanced, which merges all arenas under
//! their locks: nothing for every request or scrape.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::route::Router;
use crate::scoreboard::{Gauge, Slot};

/// The pause between two measurements.
const PAUSE: Duration = Duration::from_secs(2);

/// Measures until the task ends.
pub(super) async fn report(slot: Slot, router: Rc<Router>) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Cannot fail where the statistics are compiled in; old figures are as good as none.
        let _ = report_memory(slot);
        let links = router.links();
        let up = links.iter().filter(|link| link.down.is_none()).count();
        slot.put(Gauge::RedisLinks, up as u64);
    }
}

fn report_memory(slot: Slot) -> jemalloc_ctl::Result<()> {
    use jemalloc_ctl::stats::{active, allocated, resident, retained};
    jemalloc_ctl::epoch::advance()?;
    slot.put(Gauge::Allocated, allocated::read()? as u64);
    slot.put(Gauge::Active, active::read()? as u64);
    slot.put(Gauge::Resident, resident::read()? as u64);
    slot.put(Gauge::Retained, retained::read()? as u64);
    Ok(())
}
