//! One serving process: runtime, wiring, drain, exit status.
//!
//! A worker starts with all that the master had, keeps what it needs, and gives up its privileges
//! before anything else starts. It serves until the master tells it to leave or is gone itself,
//! finishes what it has within the limit, flushes its log and says how it went.

mod acceptors;
mod exit;
mod identity;
#[cfg(feature = "provoke-leak")]
mod leak;
mod memory;
mod orders;
mod signals;
mod vitals;

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::admin::{self, Facts};
use crate::config::{self, Config};
use crate::control::{ToMaster, WorkerEnd};
use crate::drain::Drain;
use crate::listener::Listeners;
use crate::proxy::Proxy;
use crate::scoreboard::{Gauge, Scoreboard, Slot, State};
use crate::telemetry::{AccessLog, Event, Methods, Process, Tracer, emit};
use acceptors::{Acceptors, Reception};
pub(crate) use exit::Exit;
use memory::Watchdog;
use orders::Leave;
#[cfg(test)]
pub(crate) use signals::IGNORED as IGNORED_SIGNALS;

/// Threads for what blocks, such as the system's resolver; they start when they are needed.
const MAX_BLOCKING_THREADS: usize = 32;
/// How often the scoreboard is told that the runtime still turns.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long connections are still accepted in a final drain, so that handshakes in progress
/// complete: a round trip to a client far away.
const SETTLE: Duration = Duration::from_millis(200);
/// How long a report to the master may take.
const REPORT_LIMIT: Duration = Duration::from_secs(1);
/// How long a blocking call may hold up the end of the runtime.
const RUNTIME_LIMIT: Duration = Duration::from_millis(100);
/// How long the last spans may take to be sent at the end.
const EXPORT_LIMIT: Duration = Duration::from_secs(3);
/// How long the log may take to be written at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What a worker gets from the master, named one by one; all else is closed.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) config: Config,
    pub(crate) slot: usize,
    pub(crate) scoreboard: Scoreboard,
    /// Those of all slots: it may have to accept for another.
    pub(crate) listeners: Listeners,
    /// Those of the admin listener.
    pub(crate) admin: Listeners,
    /// Its own end.
    pub(crate) channel: OwnedFd,
    /// Where to write the access logs.
    pub(crate) access_logs: Vec<Option<OwnedFd>>,
}

/// The whole life of a worker, from its fork on.
pub(crate) fn run(inheritance: Inheritance) -> ExitCode {
    let exit = live(inheritance).unwrap_or_else(|error| {
        emit(&Event::Problem {
            doing: "starting a worker",
            error: &error,
        });
        Exit::CouldNotStart
    });
    exit.into()
}

fn live(mut inheritance: Inheritance) -> io::Result<Exit> {
    let slot = inheritance.scoreboard.slot(inheritance.slot);
    slot.occupy(std::process::id());
    signals::leave_to_master()?;
    identity::assume(&inheritance.config)?;
    let log = Rc::new(AccessLog::start(
        &inheritance.config.server.access_logs,
        std::mem::take(&mut inheritance.access_logs),
        slot,
        Process::here(inheritance.slot),
    ));
    let tracer = Rc::new(Tracer::start(&inheritance.config, slot)?);
    purge_memory_in_the_background();
    let runtime = build_runtime()?;
    let sinks = (Rc::clone(&log), Rc::clone(&tracer));
    let exit = runtime.block_on(serve(inheritance, slot, sinks));
    // Ends what the drain's limit cut: each exchange still writes its line when it is dropped.
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    flush(log, tracer);
    exit
}

async fn serve(
    inheritance: Inheritance,
    slot: Slot,
    (log, tracer): (Rc<AccessLog>, Rc<Tracer>),
) -> io::Result<Exit> {
    let config = Rc::new(inheritance.config);
    let proxy = Proxy::start(Rc::clone(&config), slot, Rc::clone(&log), tracer);
    let (drain, watch) = Drain::new();
    let channel = Rc::new(WorkerEnd::new(inheritance.channel)?);
    let reception = Reception::new(Rc::clone(&proxy), slot, watch);
    let mut acceptors = Acceptors::new(inheritance.listeners, reception);
    acceptors.adopt(inheritance.slot)?;
    let _heart = tokio::task::spawn_local(beat(slot));
    let _vitals = tokio::task::spawn_local(vitals::report(slot, Rc::clone(&proxy.router)));
    let facts = Facts {
        board: inheritance.scoreboard,
        number: inheritance.slot,
        slot,
        router: Rc::clone(&proxy.router),
        methods: Methods::new(&config.telemetry.known_methods),
        configuration: config::hash(&config),
    };
    let admin = tokio::task::spawn_local(admin::serve(inheritance.admin, facts));
    let watchdog = Watchdog::new(config.server.memory, slot)
        .map(|watchdog| tokio::task::spawn_local(watchdog.watch(Rc::clone(&channel))));
    #[cfg(feature = "provoke-leak")]
    let _leak = tokio::task::spawn_local(leak::provoke(slot));
    slot.enter(State::Serving);
    report(&channel, ToMaster::Ready).await;
    let leave = orders::until_told_to_leave(&channel, &mut acceptors, &log).await;
    if let Some(watchdog) = &watchdog {
        // It is leaving already.
        watchdog.abort();
    }
    slot.enter(State::Draining);
    let finish = async {
        let leave = leave.unwrap_or_else(|| acceptors.leave_alone(config.server.graceful_wait));
        if !leave.is_final {
            // Others answer; in the last drain nobody else would.
            admin.abort();
        }
        finish(
            leave,
            acceptors,
            &drain,
            &Desk {
                channel: &channel,
                slot,
            },
        )
        .await
    };
    // A drain may take long: the log is still reopened meanwhile.
    tokio::select! {
        exit = finish => {
            proxy.end_now();
            Ok(exit)
        }
        never = orders::while_leaving(&channel, &log) => match never {},
    }
}

/// Where a worker tells how it goes.
struct Desk<'a> {
    channel: &'a WorkerEnd,
    slot: Slot,
}

/// Stops accepting and waits for what is in flight.
async fn finish(leave: Leave, acceptors: Acceptors, drain: &Drain, desk: &Desk<'_>) -> Exit {
    let Leave { limit, is_final } = leave;
    let began = Instant::now();
    emit(&Event::Draining { limit });
    drain.begin();
    if is_final {
        acceptors.empty_and_close(SETTLE.min(limit)).await;
    } else {
        acceptors.close().await;
    }
    report(desk.channel, ToMaster::Stopped).await;
    let left = limit.saturating_sub(began.elapsed());
    let forced = match timeout(left, drain.finished()).await {
        Ok(()) => 0,
        Err(_) => usize::try_from(desk.slot.level(Gauge::OpenConnections)).unwrap_or(0),
    };
    emit(&Event::Drained {
        took: began.elapsed(),
        forced,
    });
    report(desk.channel, ToMaster::Drained { forced }).await;
    if forced == 0 {
        Exit::Drained
    } else {
        Exit::Forced
    }
}

/// Tells the master, if it is there: when it is gone, end-of-file says so where it matters.
async fn report(channel: &WorkerEnd, message: ToMaster) {
    if !matches!(
        timeout(REPORT_LIMIT, channel.tell(message)).await,
        Ok(Ok(()))
    ) {
        tracing::debug!(?message, "the master did not hear");
    }
}

async fn beat(slot: Slot) {
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        heartbeat.tick().await;
        slot.beat();
    }
}

fn build_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .build_local(LocalOptions::default())
}

/// Lets jemalloc give freed memory back while the worker is idle. Switched on only here: a thread in
/// the master would not survive the fork.
fn purge_memory_in_the_background() {
    if let Err(error) = jemalloc_ctl::background_thread::write(true) {
        emit(&Event::Problem {
            doing: "starting the allocator's background thread; idle workers stay larger",
            error: &error,
        });
    }
}

fn flush(log: Rc<AccessLog>, tracer: Rc<Tracer>) {
    match Rc::into_inner(tracer) {
        Some(tracer) => tracer.shutdown(EXPORT_LIMIT),
        None => emit(&Event::Problem {
            doing: "flushing spans",
            error: &"they are still in use after the runtime ended; the last ones may be lost",
        }),
    }
    match Rc::into_inner(log) {
        Some(log) => log.shutdown(FLUSH_LIMIT),
        None => emit(&Event::Problem {
            doing: "flushing the access log",
            error: &"it is still in use after the runtime ended; its last lines may be lost",
        }),
    }
}
