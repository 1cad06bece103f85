//! The process's own story on its way out: to standard error, and to a collector if asked.
//!
//! ```text
//! emit ─tracing─→ Teller ─→ standard error: text or JSON
//!                   ├─ in the master ─→ queue ─┐ the elected worker reads it
//!                   └─ in a worker ─→ SDK ←────┘ ─→ lanes ─→ a thread ─→ collector
//! ```
//!
//! The master has one thread and exports nothing itself. Its subscriber belongs to that thread; a
//! worker replaces it by one for all its threads, once it has left the master.

mod export;
mod lane;
mod queue;
mod sdk;
mod show;
mod told;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{DefaultGuard, Subscriber, set_default, set_global_default};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::events::{Event, emit};
use super::stderr;
use crate::config::{Config, Level, Telemetry};
use crate::scoreboard::Scoreboard;
use export::Export;
use queue::{Inbox, Outbox};
use sdk::Sdk;
use told::Told;

/// The environment variable with a filter in `tracing`'s syntax, such as `hipache=trace,hyper=debug`.
const FILTER: &str = "HIPACHE_LOG";

thread_local! {
    /// What the master's only thread holds, and a worker finds when it was forked.
    static MASTER: RefCell<Option<Master>> = const { RefCell::new(None) };
}

struct Master {
    inbox: Option<Inbox>,
    /// Its subscriber is in force as long as this lives.
    _guard: DefaultGuard,
}

/// Lets the master tell its story. Starts no thread. Once, before the first fork.
pub(crate) fn init(config: &Config) {
    let queue = is_exported(&config.telemetry).then(queue::pair).transpose();
    let (queue, failure) = match queue {
        Ok(queue) => (queue, None),
        Err(error) => (None, Some(error)),
    };
    let (outbox, inbox) = queue.unzip();
    let (filter, problem) = filter(level(config), std::env::var(FILTER).ok());
    let is_json = config.telemetry.story.is_json;
    let teller = Teller::new(is_json, outbox.map(Way::Queue)).with_filter(filter);
    let guard = set_default(Registry::default().with(teller));
    MASTER.set(Some(Master {
        inbox,
        _guard: guard,
    }));
    if let Some(problem) = problem {
        emit(&Event::Problem {
            doing: "reading HIPACHE_LOG",
            error: &problem,
        });
    }
    if let Some(error) = failure {
        emit(&Event::Problem {
            doing: "making the queue of the master's events; they will not be exported",
            error: &error,
        });
    }
}

/// The story of a worker.
pub(crate) struct Story(Option<Export>);

impl Story {
    /// Lets all threads of this worker tell their story. Starts a thread if it is exported, so never
    /// before a fork. `instance` names this worker among those of its service.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(
        config: &Config,
        (board, number): (Scoreboard, usize),
        instance: &[u8],
    ) -> io::Result<Self> {
        let inbox = MASTER.take().and_then(|master| master.inbox);
        let exported = Export::prepare(&config.telemetry, board.seat(number), instance);
        let sdk = exported.as_ref().map(|exported| Arc::clone(exported.sdk()));
        let tracer = sdk.as_ref().and_then(|sdk| sdk.tracer());
        let (filter, _) = filter(level(config), std::env::var(FILTER).ok());
        let teller =
            Teller::new(config.telemetry.story.is_json, sdk.map(Way::Sdk)).with_filter(filter);
        let subscriber = Registry::default().with(teller).with(tracer.map(spans));
        set_global_default(subscriber).map_err(io::Error::other)?;
        let export = exported.map(|exported| exported.start((board, number), inbox));
        Ok(Self(export.transpose()?))
    }

    /// Hands over what waits, and waits until it is sent or the limit is over. Blocking: for the end
    /// of a worker.
    pub(crate) fn shutdown(self, limit: Duration) {
        if let Some(export) = self.0 {
            export.shutdown(limit);
        }
    }
}

fn is_exported(telemetry: &Telemetry) -> bool {
    let has_spans = telemetry.story.has_spans && telemetry.traces.is_some();
    telemetry.logs.is_some() || has_spans
}

/// Our own spans of `tracing` become spans of a trace; what is told within them is linked to it.
fn spans<S>(tracer: SdkTracer) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_own = |metadata: &tracing::Metadata<'_>| {
        metadata.is_span() && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
    };
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(is_own).with_max_level_hint(LevelFilter::INFO))
}

/// How much is told where no filter is asked for.
fn level(config: &Config) -> Level {
    let default = match config.server.debug {
        true => Level::Debug,
        false => Level::Info,
    };
    config.telemetry.story.level.unwrap_or(default)
}

/// What the h2 library warns of is a client's doing, as often as it likes: it is counted instead.
const WARN: &str = "warn,h2=error";

/// The filter in force, and what is wrong with the one that was asked for.
fn filter(level: Level, asked: Option<String>) -> (EnvFilter, Option<String>) {
    // Libraries speak up only when something is wrong; their chatter is for who asks for it.
    let default = match level {
        Level::Off => "off",
        Level::Error => "error",
        Level::Warn => WARN,
        Level::Info => "warn,h2=error,hipache=info",
        Level::Debug => "warn,h2=error,hipache=debug",
    };
    let asked = asked.filter(|text| !text.trim().is_empty());
    match asked.map(|text| EnvFilter::try_new(&text)) {
        None => (EnvFilter::new(default), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (
            EnvFilter::new(default),
            Some(format!("{error}; using {default} instead")),
        ),
    }
}

/// The way to a collector.
enum Way {
    Queue(Outbox),
    Sdk(Arc<Sdk>),
}

/// Tells each event.
struct Teller {
    is_json: bool,
    /// `None`: nothing is exported.
    way: Option<Way>,
    write: fn(&[u8]),
}

impl Teller {
    fn new(is_json: bool, way: Option<Way>) -> Self {
        Self {
            is_json,
            way,
            write: stderr::write,
        }
    }
}

impl<S: Subscriber> Layer<S> for Teller {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let told = Told::of(event);
        let line = match self.is_json {
            true => show::json(&told),
            false => show::text(&told),
        };
        (self.write)(line.as_bytes());
        // What has no name is no part of the story, such as what the export itself says when
        // somebody debugs it.
        match self.way.as_ref().filter(|_| told.name.is_some()) {
            Some(Way::Queue(outbox)) => outbox.put(&told),
            Some(Way::Sdk(sdk)) => sdk.take(&told),
            None => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
