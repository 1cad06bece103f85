//! The access logs of a worker: a line a request in each, the last step of an exchange.
//!
//! ```text
//! Record ──filter──→ format (line, or values of a template) ──→ batch ──queue──→ writer ──→ file
//!                      └ mask, then escape: all bytes of peers                     └─────→ syslog
//! ```

mod batch;
mod clock;
mod example;
mod filter;
mod format;
mod line;
mod log;
mod login;
mod mask;
mod text;
mod values;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::HeaderName;

use super::Record;
use super::syslog::Daemon;
use super::writer::Way;
use crate::config::{self, MAX_LOGS, Target};
use crate::scoreboard::{LOGS, Seat};
use batch::Limit;
pub(super) use clock::Clock;
pub(crate) use example::example_line;
use log::Log;
pub(super) use text::append_address;

const _: () = assert!(MAX_LOGS <= LOGS, "each log has its counters");

/// What a log tells of the process that writes it.
#[derive(Debug)]
pub(crate) struct Process {
    /// The name of the machine.
    pub(crate) hostname: String,
    /// Process id.
    pub(crate) pid: u32,
    /// Seat of the worker.
    pub(crate) worker: usize,
}

impl Process {
    /// This process, which has this seat.
    pub(crate) fn here(worker: usize) -> Self {
        let hostname = nix::unistd::gethostname().unwrap_or_default();
        Self {
            hostname: hostname.to_string_lossy().into_owned(),
            pid: std::process::id(),
            worker,
        }
    }
}

/// All access logs of one worker. Not shared with other threads.
pub(crate) struct AccessLog {
    /// With the place of each in the configuration.
    logs: Vec<Option<Log>>,
    headers: Vec<HeaderName>,
}

impl AccessLog {
    /// The logs of the configuration, with the descriptors of those that have one. Starts their
    /// threads, so never before a fork.
    pub(crate) fn start(
        configs: &[config::AccessLog],
        descriptors: Vec<Option<OwnedFd>>,
        seat: Seat,
        process: Process,
    ) -> Self {
        let process = Rc::new(process);
        let ways = configs.iter().zip(descriptors).enumerate();
        let logs = ways.map(|(index, (config, descriptor))| {
            let way = match (&config.target, descriptor) {
                (Target::Syslog(place), _) => Way::Syslog(Daemon::new(place.clone())),
                (_, Some(descriptor)) => Way::File(File::from(descriptor)),
                (_, None) => return None,
            };
            let limit = Limit::new(config.queue);
            Some(Log::start(config, way, seat.log(index), &process, limit))
        });
        let variables = configs.iter().flat_map(|config| config.format.variables());
        let mut headers: Vec<_> = variables.filter_map(config::Variable::header).collect();
        headers.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        headers.dedup();
        Self {
            logs: logs.collect(),
            headers,
        }
    }

    /// Request headers that a log asks for, and that a record must hold.
    pub(crate) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Appends the line of a finished exchange to each log.
    pub(crate) fn write(&self, record: &Record<'_>) {
        for log in self.logs.iter().flatten() {
            log.write(record);
        }
    }

    /// Goes on in this descriptor, for the log of this place.
    pub(crate) fn reopen(&self, index: usize, target: OwnedFd) {
        if let Some(Some(log)) = self.logs.get(index) {
            log.reopen(target);
        }
    }

    /// Hands over what is buffered and waits until it is written or the limit, one for all logs, is
    /// over. Blocking: for the end of a worker.
    pub(crate) fn shutdown(mut self, limit: Duration) {
        let end = Instant::now() + limit;
        for log in self.logs.iter_mut().flatten() {
            log.finish(end.saturating_duration_since(Instant::now()));
        }
    }
}
