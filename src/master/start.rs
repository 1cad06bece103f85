//! Everything that the master prepares before its first fork.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::deployment::{Deployment, Unprepared};
use super::service::Service;
use super::signals::Signals;
use super::supervisor::{Event, Supervisor};
use super::upgrade::Upgrade;
use super::workers::Workers;
use super::{Master, problem};
use crate::config::{Loaded, Origin};
use crate::scoreboard::Scoreboard;
use crate::telemetry::{self, OnceAMinute, emit};

impl Master {
    /// Takes all that may fail while it can still be told in one line, and no process is there to end.
    pub(super) fn start(
        loaded: Loaded,
        origin: Origin,
    ) -> Result<(Self, VecDeque<Event>), Unprepared> {
        raise_descriptor_limit();
        let workers = loaded.config.server.workers;
        let current = Deployment::first(loaded)?;
        let scoreboard = Scoreboard::create(workers, current.config.admin.vhosts)
            .map_err(Unprepared::when("mapping the scoreboard"))?;
        scoreboard.begin_generation(current.number);
        let signals = Signals::block().map_err(Unprepared::when("blocking signals"))?;
        emit(&telemetry::Event::Started {
            pid: nix::unistd::getpid().as_raw(),
            workers,
        });
        for address in current.listeners.addresses() {
            emit(&telemetry::Event::Listening { address });
        }
        for address in current.admin.addresses() {
            emit(&telemetry::Event::AdminListening { address });
        }
        let master = Self {
            supervisor: Supervisor::new(scoreboard.seats(), current.terms()),
            workers: Workers::new(),
            origin,
            current,
            next: None,
            wants_reload: false,
            generations: 1,
            past: Vec::new(),
            scoreboard,
            signals,
            service: Service::of_environment(),
            started: Instant::now(),
            upgrade: Upgrade::new(None),
            unlent: OnceAMinute::default(),
            is_stopping: false,
        };
        Ok((master, VecDeque::from([Event::Start])))
    }
}

/// A connection takes two descriptors; the soft limit is often 1024. Inherited by the workers.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        problem("raising the limit of open files", &io::Error::from(error));
    }
}
