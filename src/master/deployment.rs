//! What one generation of workers is forked with: its configuration, its sockets, its logs.

use std::error::Error;
use std::os::fd::OwnedFd;

use super::log;
use super::supervisor::Terms;
use crate::config::{Config, Loaded};
use crate::listener::{self, Activated, Listeners};
use crate::tls::{Terminations, TicketMemory};

/// What one generation of workers is forked with.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) number: u64,
    pub(super) config: Config,
    /// The text that it was made of.
    pub(super) text: String,
    pub(super) listeners: Listeners,
    /// What its HTTPS listeners show.
    pub(super) terminations: Terminations,
    /// Shared by all generations, so that sessions resume on any of their workers.
    pub(super) tickets: TicketMemory,
    /// One socket an address, which all workers share.
    pub(super) admin: Listeners,
    /// What new workers write their logs to.
    pub(super) logs: Vec<Option<OwnedFd>>,
}

/// Why a deployment could not be prepared.
pub(super) struct Unprepared {
    pub(super) doing: &'static str,
    pub(super) cause: Box<dyn Error>,
}

impl Deployment {
    /// The first: binds and lets clients in, who wait for the workers.
    pub(super) fn first(Loaded { config, text }: Loaded) -> Result<Self, Unprepared> {
        let taking_over = "taking over the service manager's sockets";
        let mut activated = Activated::take().map_err(Unprepared::when(taking_over))?;
        let workers = config.server.workers;
        let tickets = TicketMemory::create()
            .map_err(Unprepared::when("making the keys of session tickets"))?;
        let terminations = terminations(&config, &tickets)?;
        let listeners = listener::bind(&config.addresses(), workers, &mut activated)
            .map_err(Unprepared::when("binding the listening sockets"))?;
        let admin = listener::bind(&config.admin.bind, 1, &mut activated)
            .map_err(Unprepared::when("binding the admin listener"))?;
        activated
            .expect_none_left()
            .map_err(Unprepared::when(taking_over))?;
        let logs = log::open_all(&config).map_err(Unprepared::when("opening the access log"))?;
        Ok(Self {
            number: 1,
            config,
            text,
            listeners,
            terminations,
            tickets,
            admin,
            logs,
        })
    }

    /// The next, with the sockets of the addresses that stay.
    pub(super) fn next(&self, number: u64, loaded: Loaded) -> Result<Self, Unprepared> {
        let Loaded { config, text } = loaded;
        let workers = config.server.workers;
        let mut none = Activated::default();
        let terminations = terminations(&config, &self.tickets)?;
        let listeners = listener::rebind(&self.listeners, &config.addresses(), workers, &mut none)
            .map_err(Unprepared::when("binding the listening sockets"))?;
        let admin = listener::rebind(&self.admin, &config.admin.bind, 1, &mut none)
            .map_err(Unprepared::when("binding the admin listener"))?;
        let logs = log::open_all(&config).map_err(Unprepared::when("opening the access log"))?;
        Ok(Self {
            number,
            config,
            text,
            listeners,
            terminations,
            tickets: self.tickets.clone(),
            admin,
            logs,
        })
    }

    /// What its workers are judged by.
    pub(super) fn terms(&self) -> Terms {
        let server = &self.config.server;
        Terms {
            workers: server.workers,
            graceful_wait: server.graceful_wait,
            drain_wait: server.drain_wait,
            heartbeat_timeout: server.heartbeat_timeout,
        }
    }
}

/// What the HTTPS listeners show, read as root.
pub(super) fn terminations(
    config: &Config,
    tickets: &TicketMemory,
) -> Result<Terminations, Unprepared> {
    Terminations::load(config, tickets.keys).map_err(Unprepared::when("reading the certificates"))
}

impl Unprepared {
    pub(super) fn when<E: Error + 'static>(doing: &'static str) -> impl Fn(E) -> Self {
        move |cause| Self {
            doing,
            cause: Box::new(cause),
        }
    }
}
