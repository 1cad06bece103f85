//! One serving process: runtime, wiring, drain, exit status.
//!
//! A worker starts with all that the master had, keeps what it needs, and gives up its privileges
//! before anything else starts. It serves until the master tells it to leave or is gone itself,
//! finishes what it has within the limit, flushes its log and says how it went.

mod acceptors;
mod certificates;
mod entrance;
mod exit;
mod identity;
#[cfg(feature = "provoke-leak")]
mod leak;
mod leaving;
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
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{Instrument, info_span};

use crate::admin::{self, Facts};
use crate::config::{self, Config};
use crate::control::{ToMaster, WorkerEnd};
use crate::drain::Drain;
use crate::listener::Listeners;
use crate::proxy::Proxy;
use crate::scoreboard::{Scoreboard, Seat, State};
use crate::telemetry::{AccessLog, Event, Methods, Process, Push, Source, Story, Tracer, emit};
use crate::tls::{Loans, Terminations};
use acceptors::{Acceptors, Reception};
use certificates::Certificates;
pub(crate) use exit::Exit;
use leaving::Desk;
use memory::Watchdog;
use orders::{DrainDeadline, Ears};
#[cfg(test)]
pub(crate) use signals::IGNORED as IGNORED_SIGNALS;

/// Threads for what blocks, such as the system's resolver; they start when they are needed.
const MAX_BLOCKING_THREADS: usize = 32;
/// How often the scoreboard is told that the runtime still turns, unless the limit is small.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Heartbeats within the limit at least: half of it makes a worker suspect.
const HEARTBEATS_IN_LIMIT: u32 = 8;
/// How long a report to the master may take.
const REPORT_LIMIT: Duration = Duration::from_secs(1);
/// How long a blocking call may hold up the end of the runtime.
const RUNTIME_LIMIT: Duration = Duration::from_millis(100);
/// How long the last spans may take to be sent at the end.
const EXPORT_LIMIT: Duration = Duration::from_secs(3);
/// How long the last words of the process's own story may take to be sent.
const STORY_LIMIT: Duration = Duration::from_millis(1500);
/// How long the last push of metrics may take after that; all limits together are within the time
/// that the master allows.
const PUSH_LIMIT: Duration = Duration::from_millis(1500);
/// How long the log may take to be written at the end.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What a worker gets from the master, named one by one; all else is closed.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) config: Config,
    /// Its place on the scoreboard, taken for it already.
    pub(crate) seat: usize,
    /// The sockets that it accepts from.
    pub(crate) slot: usize,
    pub(crate) scoreboard: Scoreboard,
    /// Those of all slots: it may have to accept for another.
    pub(crate) listeners: Listeners,
    /// What the HTTPS listeners among them show.
    pub(crate) terminations: Terminations,
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
    let seat = inheritance.scoreboard.seat(inheritance.seat);
    seat.name_process(std::process::id());
    signals::leave_to_master()?;
    identity::assume(&inheritance.config)?;
    let log = Rc::new(AccessLog::start(
        &inheritance.config.server.access_logs,
        std::mem::take(&mut inheritance.access_logs),
        seat,
        Process::here(inheritance.seat),
    ));
    let tracer = Rc::new(Tracer::start(&inheritance.config, seat)?);
    let place = (inheritance.scoreboard, inheritance.seat);
    let story = Story::start(&inheritance.config, place, &tracer.instance())?;
    let source = Source {
        board: inheritance.scoreboard,
        methods: Methods::new(&inheritance.config.telemetry.known_methods),
        configuration: config::hash(&inheritance.config),
    };
    let telemetry = &inheritance.config.telemetry;
    let push = Push::start(telemetry, source.clone(), inheritance.seat)?;
    purge_memory_in_the_background();
    let runtime = build_runtime()?;
    let sinks = (Rc::clone(&log), Rc::clone(&tracer));
    let exit = runtime.block_on(serve(inheritance, source, sinks));
    // Ends what the drain's limit cut: each exchange still writes its line when it is dropped.
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    flush(log, tracer);
    story.shutdown(STORY_LIMIT);
    // What was lost in all that is counted now.
    if let Some(push) = push {
        push.shutdown(PUSH_LIMIT);
    }
    exit
}

async fn serve(
    inheritance: Inheritance,
    source: Source,
    (log, tracer): (Rc<AccessLog>, Rc<Tracer>),
) -> io::Result<Exit> {
    let seat = inheritance.scoreboard.seat(inheritance.seat);
    let config = Rc::new(inheritance.config);
    let proxy = Proxy::start(Rc::clone(&config), seat, Rc::clone(&log), tracer);
    let (drain, watch) = Drain::new();
    let channel = Rc::new(WorkerEnd::new(inheritance.channel)?);
    let loans = Rc::new(Loans::new(Rc::clone(&channel)));
    let vhosts = certificates::vhosts(&config, &proxy.router, &loans, seat);
    let certificates = Certificates::new(inheritance.terminations, vhosts);
    let reception = Reception::new(Rc::clone(&proxy), certificates, seat, watch);
    let mut acceptors = Acceptors::new(inheritance.listeners, reception);
    acceptors.adopt(inheritance.slot)?;
    let _heart = tokio::task::spawn_local(beat(seat, config.server.heartbeat_timeout));
    let _vitals = tokio::task::spawn_local(vitals::report(seat, Rc::clone(&proxy.router)));
    let (answers, admin_watch) = Drain::new();
    let facts = Facts {
        source,
        number: inheritance.seat,
        seat,
        router: Rc::clone(&proxy.router),
        watch: admin_watch,
    };
    let admin = tokio::task::spawn_local(admin::serve(inheritance.admin, facts));
    let watchdog = Watchdog::new(config.server.memory, seat)
        .map(|watchdog| tokio::task::spawn_local(watchdog.watch(Rc::clone(&channel))));
    #[cfg(feature = "provoke-leak")]
    let _leak = tokio::task::spawn_local(leak::provoke(seat));
    seat.enter(State::Serving);
    report(&channel, ToMaster::Ready).await;
    let ears = Ears::new(&channel, &log, &loans);
    let leave = ears.until_told_to_leave(&mut acceptors).await;
    // It is leaving already.
    watchdog.iter().for_each(|watchdog| watchdog.abort());
    seat.enter(State::Draining);
    let alone_limit = config.server.graceful_wait;
    let leave = leave.unwrap_or_else(|| acceptors.leave_alone(alone_limit));
    if !leave.why.is_final() {
        // Others answer; in the last drain nobody else would.
        admin.abort();
    }
    let deadline = DrainDeadline::after(leave.limit);
    let desk = Desk {
        channel: &channel,
        seat,
        deadline: &deadline,
        answers: &answers,
    };
    // What is told meanwhile belongs to it.
    let finish = leaving::finish(leave, acceptors, &drain, desk)
        .instrument(info_span!("worker drain", hipache.seat = inheritance.seat));
    // A drain may take long: the log is still reopened meanwhile, and the limit may change.
    tokio::select! {
        exit = finish => {
            proxy.end_now();
            Ok(exit)
        }
        never = ears.while_leaving(&deadline, alone_limit) => match never {},
    }
}

/// Tells the master, if it is there: when it is gone, end-of-file says so where it matters.
async fn report(channel: &WorkerEnd, message: ToMaster) {
    if !matches!(
        timeout(REPORT_LIMIT, channel.tell(&message)).await,
        Ok(Ok(()))
    ) {
        tracing::debug!(?message, "the master did not hear");
    }
}

async fn beat(seat: Seat, limit: Option<Duration>) {
    let pause = limit.map_or(HEARTBEAT, |limit| {
        HEARTBEAT.min(limit / HEARTBEATS_IN_LIMIT)
    });
    let mut heartbeat = interval(pause.max(Duration::from_millis(1)));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        heartbeat.tick().await;
        seat.beat();
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
