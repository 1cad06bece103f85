//! Opening the access logs anew: after they were renamed.

use std::os::fd::OwnedFd;

use super::workers::Workers;
use super::{Master, log, problem};
use crate::config::{Config, Target};
use crate::control::ToWorker;
use crate::telemetry::{Event, emit};

impl Master {
    /// Opens the logs that are files anew for every worker, present and future; keeps an old one if
    /// that fails. Workers that drain write the logs of their own configuration.
    pub(super) fn reopen(&mut self) {
        for past in &self.past {
            drop(reopen(past.number, &past.config, &mut self.workers));
        }
        for deployment in std::iter::once(&mut self.current).chain(&mut self.next) {
            let fresh = reopen(deployment.number, &deployment.config, &mut self.workers);
            for (index, descriptor) in fresh {
                deployment.logs[index] = Some(descriptor);
            }
        }
    }
}

/// Opens the logs of a generation and passes them on to its workers; gives those that were opened.
fn reopen(number: u64, config: &Config, workers: &mut Workers) -> Vec<(usize, OwnedFd)> {
    let seats = workers.of_generation(|generation| generation == number);
    let mut opened = Vec::new();
    for (index, log) in config.server.access_logs.iter().enumerate() {
        let Target::File(path) = &log.target else {
            tracing::debug!(log.place, "not a file, nothing to reopen");
            continue;
        };
        let fresh = match log::open(log, config.identity.as_ref()) {
            Ok(fresh) => fresh,
            Err(error) => {
                problem("reopening the access log; the old one goes on", &error);
                continue;
            }
        };
        for &seat in &seats {
            match fresh.as_ref().map(OwnedFd::try_clone) {
                Some(Ok(copy)) => workers.tell(seat, ToWorker::Reopen(index, copy)),
                Some(Err(error)) => problem("passing on the access log", &error),
                None => {}
            }
        }
        emit(&Event::Reopened { path });
        opened.extend(fresh.map(|fresh| (index, fresh)));
    }
    opened
}
