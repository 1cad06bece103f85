//! The memory watchdog: a worker judges its own size, and asks to be replaced before it is a burden.
//!
//! Every `server.memoryCheckInterval` it looks at jemalloc's figures. Over the limit it first gives
//! back what it does not use, and looks again. What follows is decided by `verdict` alone; here it
//! is fetched, carried out and told.

mod figures;
mod verdict;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::config;
use crate::control::{ToMaster, Why, WorkerEnd};
use crate::scoreboard::{Counter, Gauge, Seat};
use crate::sys;
use crate::telemetry::{Event, MemoryEvent, MemoryFigures, emit};
pub(super) use figures::Meter;
use verdict::{Asked, Look, Rules, Verdict};

/// How long the master may take to hear a request; the next check asks again.
const TELL_LIMIT: Duration = Duration::from_secs(1);

/// Judges one worker.
pub(super) struct Watchdog {
    rules: Rules,
    check_interval: Duration,
    meter: Meter,
    seat: Seat,
    born: Instant,
    history: History,
}

/// What earlier checks found.
#[derive(Debug, Default)]
struct History {
    /// Checks in a row that left it over its limit.
    over: u32,
    asked: Option<(Instant, u32)>,
    /// Told once in a worker's life.
    is_limit_told: bool,
    is_youth_told: bool,
}

impl Watchdog {
    /// Measures what a worker uses before it serves; `None` without a limit.
    pub(super) fn new(memory: config::Memory, seat: Seat) -> Option<Self> {
        seat.put(Gauge::MemoryLimit, memory.limit.unwrap_or(0));
        let limit = memory.limit?;
        let (meter, idle) = measure_idle()
            .inspect_err(|error| {
                emit(&Event::Problem {
                    doing: "starting the memory watchdog; this worker goes without",
                    error,
                });
            })
            .ok()?;
        Some(Self {
            rules: Rules {
                limit,
                min_age: memory.min_age,
                idle,
            },
            check_interval: memory.check_interval,
            meter,
            seat,
            born: Instant::now(),
            history: History::default(),
        })
    }

    /// Checks until the task ends.
    pub(super) async fn watch(mut self, channel: Rc<WorkerEnd>) {
        let first = Instant::now() + self.check_interval;
        let mut ticks = interval_at(first, self.check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.check(&channel).await {
                emit(&Event::Problem {
                    doing: "checking the worker's memory",
                    error: &error,
                });
            }
        }
    }

    async fn check(&mut self, channel: &WorkerEnd) -> io::Result<()> {
        let before = self.meter.measure()?;
        let mut verdict = self.judge(&before, None);
        let mut after = before;
        if verdict != Verdict::Fine {
            self.seat.add(Counter::MemoryOverLimit, 1);
        }
        if verdict == Verdict::Purge {
            after = self.purge(&before).await?;
            verdict = self.judge(&before, Some(after));
        }
        self.tell(verdict, &before, &after);
        self.history.over = match verdict {
            Verdict::StillOver | Verdict::TooYoung | Verdict::Asked | Verdict::Replace(_) => {
                self.history.over.saturating_add(1)
            }
            _ => 0,
        };
        if let Verdict::Replace(_) = verdict {
            let report = channel.tell(&ToMaster::WantsReplacement(Why::Memory));
            // Also when the master did not hear: it is busy, and asked again later.
            let _ = timeout(TELL_LIMIT, report).await;
            self.seat.add(Counter::ReplacementsWanted, 1);
        }
        Ok(())
    }

    fn judge(&self, before: &MemoryFigures, after: Option<MemoryFigures>) -> Verdict {
        let asked = self.history.asked.map(|(last, times)| Asked {
            since: last.elapsed(),
            times,
        });
        verdict::judge(
            &self.rules,
            &Look {
                before: before.resident,
                after,
                over: self.history.over,
                age: self.born.elapsed(),
                asked,
            },
        )
    }

    /// Gives back what is unused, beside the thread that serves: much of it takes long.
    async fn purge(&self, before: &MemoryFigures) -> io::Result<MemoryFigures> {
        sys::flush_thread_cache()?;
        spawn_blocking(sys::purge_arenas).await??;
        let after = self.meter.measure()?;
        self.seat.add(Counter::MemoryPurges, 1);
        let given = before.resident.saturating_sub(after.resident);
        self.seat.add(Counter::MemoryPurgedBytes, given);
        Ok(after)
    }

    /// Tells what an operator should know, each once as long as it goes on.
    fn tell(&mut self, verdict: Verdict, before: &MemoryFigures, after: &MemoryFigures) {
        let limit = self.rules.limit;
        let (before, figures) = (before.resident, *after);
        let event = match verdict {
            Verdict::PurgedBack => MemoryEvent::Purged {
                limit,
                before,
                after: figures.resident,
            },
            Verdict::LimitTooSmall if !self.history.is_limit_told => {
                self.history.is_limit_told = true;
                MemoryEvent::LimitTooSmall {
                    limit,
                    idle: self.rules.idle,
                }
            }
            Verdict::TooYoung if !self.history.is_youth_told => {
                self.history.is_youth_told = true;
                MemoryEvent::TooYoung {
                    limit,
                    resident: figures.resident,
                    age: self.born.elapsed(),
                    min_age: self.rules.min_age,
                }
            }
            Verdict::StillOver if self.history.over == 0 => MemoryEvent::StillOver {
                limit,
                before,
                after: figures.resident,
            },
            Verdict::Replace(growth) => {
                let times = self.history.asked.map_or(1, |(_, times)| times + 1);
                self.history.asked = Some((Instant::now(), times));
                MemoryEvent::WantsReplacement {
                    cause: growth.as_str(),
                    limit,
                    figures: self.meter.beside(figures),
                    age: self.born.elapsed(),
                    times,
                }
            }
            _ => return,
        };
        emit(&Event::Memory(&event));
    }
}

/// What this process needs before it serves anything.
fn measure_idle() -> io::Result<(Meter, u64)> {
    let meter = Meter::new()?;
    // What was inherited from the master and is unused is not what a worker needs.
    sys::purge_arenas()?;
    let idle = meter.measure()?.resident;
    Ok((meter, idle))
}
