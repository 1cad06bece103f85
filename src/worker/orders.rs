//! What the master tells a worker, and what the worker does about it.

use std::convert::Infallible;
use std::future::pending;
use std::io::ErrorKind;
use std::time::Duration;

use super::acceptors::Acceptors;
use crate::control::{ToWorker, WorkerEnd};
use crate::telemetry::{AccessLog, Event, emit};

/// The order to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    /// How long to wait for what is in flight.
    pub(super) limit: Duration,
    /// Nobody takes over.
    pub(super) is_final: bool,
}

/// Does as it is told until that is to leave; `None` when the master is gone.
pub(super) async fn until_told_to_leave(
    channel: &WorkerEnd,
    acceptors: &mut Acceptors,
    log: &AccessLog,
) -> Option<Leave> {
    loop {
        match hear(channel).await? {
            ToWorker::Reopen(index, target) => log.reopen(index, target),
            ToWorker::Adopt(slot) => {
                if let Err(error) = acceptors.adopt(slot) {
                    emit(&Event::Problem {
                        doing: &format!("accepting for slot {slot}, whose worker is dead"),
                        error: &error,
                    });
                }
            }
            ToWorker::Release(slot) => acceptors.release(slot),
            ToWorker::Drain { limit, is_final } => return Some(Leave { limit, is_final }),
        }
    }
}

/// While it leaves, only the log still changes.
pub(super) async fn while_leaving(channel: &WorkerEnd, log: &AccessLog) -> Infallible {
    while let Some(message) = hear(channel).await {
        match message {
            ToWorker::Reopen(index, target) => log.reopen(index, target),
            ToWorker::Adopt(_) | ToWorker::Release(_) | ToWorker::Drain { .. } => {}
        }
    }
    pending().await
}

/// The next message that can be understood; `None` when the master is gone.
async fn hear(channel: &WorkerEnd) -> Option<ToWorker> {
    loop {
        match channel.hear().await {
            Ok(message) => return message,
            Err(error) => {
                emit(&Event::Problem {
                    doing: "hearing the master",
                    error: &error,
                });
                // A message that makes no sense is skipped; a channel that does not work is none.
                if error.kind() != ErrorKind::InvalidData {
                    return None;
                }
            }
        }
    }
}
