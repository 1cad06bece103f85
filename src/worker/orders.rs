//! What the master tells a worker, and what the worker does about it.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::acceptors::Acceptors;
use crate::control::{ToWorker, Why, WorkerEnd};
use crate::deadline::{after, before, earlier};
use crate::telemetry::{AccessLog, Event, emit};
use crate::tls::Loans;

/// The order to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    pub(super) why: Why,
    /// How long to wait for what is in flight; `None`: as long as that takes.
    pub(super) limit: Option<Duration>,
}

/// By when a worker that leaves must be gone. Later orders make it earlier, never later.
#[derive(Debug)]
pub(super) struct DrainDeadline {
    at: Cell<Option<Instant>>,
    changed: Notify,
}

impl DrainDeadline {
    /// This long from now, if there is a limit.
    pub(super) fn after(limit: Option<Duration>) -> Self {
        Self {
            at: Cell::new(after(Instant::now(), limit)),
            changed: Notify::new(),
        }
    }

    fn tighten(&self, limit: Option<Duration>) {
        let known = self.at.get();
        let at = earlier(known, after(Instant::now(), limit));
        if at != known {
            self.at.set(at);
            self.changed.notify_waiters();
        }
    }

    /// Waits until it is over, for ever if it never is.
    pub(super) async fn over(&self) {
        loop {
            // Made before the time is read: it hears of a change from here on.
            let changed = self.changed.notified();
            if before(self.at.get(), changed).await.is_none() {
                return;
            }
        }
    }
}

/// How a worker hears its master, and what it does with what it hears.
pub(super) struct Ears<'a> {
    channel: &'a WorkerEnd,
    log: &'a AccessLog,
    loans: &'a Loans,
}

impl<'a> Ears<'a> {
    pub(super) fn new(channel: &'a WorkerEnd, log: &'a AccessLog, loans: &'a Loans) -> Self {
        Self {
            channel,
            log,
            loans,
        }
    }

    /// Does as it is told until that is to leave; `None` when the master is gone.
    pub(super) async fn until_told_to_leave(&self, acceptors: &mut Acceptors) -> Option<Leave> {
        loop {
            match self.hear().await? {
                ToWorker::Reopen(index, target) => self.log.reopen(index, target),
                ToWorker::Lent { request, what } => self.loans.answer(request, what),
                ToWorker::Adopt(slot) => {
                    if let Err(error) = acceptors.adopt(slot) {
                        emit(&Event::Problem {
                            doing: &format!("accepting for slot {slot}, whose worker is dead"),
                            error: &error,
                        });
                    }
                }
                ToWorker::Release(slot) => acceptors.release(slot),
                ToWorker::Drain { why, limit } => return Some(Leave { why, limit }),
            }
        }
    }

    /// While it leaves, only the log still changes, the time that it has, and what handshakes wait
    /// for.
    pub(super) async fn while_leaving(
        &self,
        deadline: &DrainDeadline,
        alone_limit: Duration,
    ) -> Infallible {
        while let Some(message) = self.hear().await {
            match message {
                ToWorker::Reopen(index, target) => self.log.reopen(index, target),
                ToWorker::Lent { request, what } => self.loans.answer(request, what),
                ToWorker::Drain { why, limit } => {
                    tracing::debug!(why = why.as_str(), ?limit, "told to leave once more");
                    deadline.tighten(limit);
                }
                ToWorker::Adopt(_) | ToWorker::Release(_) => {}
            }
        }
        // Nobody would end us any more.
        deadline.tighten(Some(alone_limit));
        pending().await
    }

    /// The next message that can be understood; `None` when the master is gone.
    async fn hear(&self) -> Option<ToWorker> {
        loop {
            match self.channel.hear().await {
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
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_deadline_is_only_ever_made_earlier() {
        let soon = Duration::from_millis(5);
        let test = async {
            let deadline = DrainDeadline::after(None);
            deadline.tighten(None);
            assert!(timeout(soon, deadline.over()).await.is_err());
            let tightening = async {
                tokio::task::yield_now().await;
                deadline.tighten(Some(soon));
                deadline.tighten(Some(Duration::from_secs(3600)));
            };
            let both = async { tokio::join!(deadline.over(), tightening) };
            assert!(timeout(Duration::from_secs(5), both).await.is_ok());
            assert!(
                timeout(soon, DrainDeadline::after(Some(soon * 9)).over())
                    .await
                    .is_err()
            );
            DrainDeadline::after(Some(Duration::ZERO)).over().await;
            assert!(
                timeout(soon, DrainDeadline::after(Some(Duration::MAX)).over())
                    .await
                    .is_err()
            );
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(test);
    }
}
