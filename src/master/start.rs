//! Everything that the master prepares before its first fork.

use std::error::Error;
use std::io;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::service::Service;
use super::signals::Signals;
use super::supervisor::Supervisor;
use super::workers::Workers;
use super::{Master, log, problem};
use crate::config::Config;
use crate::listener::{self, Activated};
use crate::scoreboard::Scoreboard;
use crate::telemetry::{Event, emit};

/// Why the master did not start.
pub(super) struct StartError {
    pub(super) doing: &'static str,
    pub(super) cause: Box<dyn Error>,
}

impl Master {
    /// Takes all that may fail while it can still be told in one line, and no process is there to end.
    pub(super) fn start(config: Config) -> Result<Self, StartError> {
        raise_descriptor_limit();
        let count = config.server.workers;
        let taking_over = "taking over the service manager's sockets";
        let mut activated = Activated::take().map_err(StartError::when(taking_over))?;
        let listeners = listener::bind(&config.http.bind, count, &mut activated)
            .map_err(StartError::when("binding the listening sockets"))?;
        let admin = listener::bind(&config.admin.bind, 1, &mut activated)
            .map_err(StartError::when("binding the admin listener"))?;
        activated
            .expect_none_left()
            .map_err(StartError::when(taking_over))?;
        let logs = log::open_all(&config).map_err(StartError::when("opening the access log"))?;
        let scoreboard = Scoreboard::create(count, config.admin.vhosts)
            .map_err(StartError::when("mapping the scoreboard"))?;
        let signals = Signals::block().map_err(StartError::when("blocking signals"))?;
        emit(&Event::Started {
            pid: nix::unistd::getpid().as_raw(),
            workers: count,
        });
        for address in listeners.addresses() {
            emit(&Event::Listening { address });
        }
        for address in admin.addresses() {
            emit(&Event::AdminListening { address });
        }
        Ok(Self {
            supervisor: Supervisor::new(count, config.server.graceful_wait),
            workers: Workers::new(count),
            config,
            listeners,
            admin,
            logs,
            scoreboard,
            signals,
            service: Service::of_environment(),
            started: Instant::now(),
            is_stopping: false,
        })
    }
}

impl StartError {
    fn when<E: Error + 'static>(doing: &'static str) -> impl Fn(E) -> Self {
        move |cause| Self {
            doing,
            cause: Box::new(cause),
        }
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
