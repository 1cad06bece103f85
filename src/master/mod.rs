//! Keeping workers alive and passing on the operator's signals.
//!
//! One thread, no runtime: it sleeps until a signal comes, a worker says something or a time is
//! reached, asks the `supervisor` what follows, and does it. It serves no request and never waits
//! for a worker. A fork returns twice: in the child the loop ends, everything of the master's is
//! dropped with it, and the child goes on as a worker.

mod log;
mod service;
mod signals;
mod start;
mod supervisor;
mod workers;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::{Config, Target};
use crate::control::ToWorker;
use crate::listener::Listeners;
use crate::scoreboard::Scoreboard;
use crate::telemetry::{self, emit};
use crate::worker::{self, Inheritance};
use service::Service;
use signals::{Order, Signals};
use supervisor::{Action, Event, Supervisor, Verdict};
use workers::{Birth, Workers};

/// Serves until it is told to stop. The exit status: 0 after a graceful stop, also if its limit cut
/// something; 1 after an error at start or a second signal.
pub fn run(config: Config) -> ExitCode {
    let master = match Master::start(config) {
        Ok(master) => master,
        Err(error) => {
            emit(&telemetry::Event::Problem {
                doing: error.doing,
                error: &error.cause,
            });
            return ExitCode::FAILURE;
        }
    };
    match master.supervise() {
        Outcome::Exit(Verdict::Stopped) => ExitCode::SUCCESS,
        Outcome::Exit(Verdict::Failed) => ExitCode::FAILURE,
        Outcome::Worker(inheritance) => worker::run(*inheritance),
    }
}

struct Master {
    config: Config,
    listeners: Listeners,
    /// One socket an address, which all workers share.
    admin: Listeners,
    /// What new workers write their logs to.
    logs: Vec<Option<OwnedFd>>,
    scoreboard: Scoreboard,
    signals: Signals,
    service: Service,
    workers: Workers,
    supervisor: Supervisor,
    started: Instant,
    is_stopping: bool,
}

enum Outcome {
    Exit(Verdict),
    /// We are the worker that was just forked.
    Worker(Box<Inheritance>),
}

impl Master {
    fn supervise(mut self) -> Outcome {
        let mut events = VecDeque::from([Event::Start]);
        loop {
            while let Some(event) = events.pop_front() {
                if let ControlFlow::Break(exodus) = self.follow(event, &mut events) {
                    return self.leave(exodus);
                }
            }
            self.service.tick(&self.scoreboard);
            self.sleep();
            self.hear_signals(&mut events);
            self.hear_workers(&mut events);
            events.push_back(Event::Tick);
        }
    }

    fn follow(&mut self, event: Event, events: &mut VecDeque<Event>) -> ControlFlow<Exodus> {
        self.supervisor
            .step(event, Instant::now())
            .into_iter()
            .try_for_each(|action| self.act(action, events))
    }

    fn act(&mut self, action: Action, events: &mut VecDeque<Event>) -> ControlFlow<Exodus> {
        match action {
            Action::Fork(slot) => return self.fork(slot, events),
            Action::Kill(slot) => self.workers.kill(slot),
            Action::Adopt { orphan, by } => self.workers.tell(by, ToWorker::Adopt(orphan)),
            Action::Release { orphan, by } => self.workers.tell(by, ToWorker::Release(orphan)),
            Action::Drain => self.drain(),
            Action::Exit(verdict) => return ControlFlow::Break(Exodus::Exit(verdict)),
        }
        ControlFlow::Continue(())
    }

    fn fork(&mut self, slot: usize, events: &mut VecDeque<Event>) -> ControlFlow<Exodus> {
        match self.workers.fork(slot) {
            Ok(Birth::Master) => {}
            Ok(Birth::Worker(channel)) => {
                return ControlFlow::Break(Exodus::Worker(slot, channel));
            }
            Err(error) => {
                problem("forking a worker", &error);
                // To be tried again after the same pauses.
                events.push_back(Event::Died {
                    slot,
                    lived: Duration::ZERO,
                    could_not_start: false,
                });
            }
        }
        ControlFlow::Continue(())
    }

    /// The final stop. No newcomer is let in before the workers hear of it; then our own copies are
    /// closed, while each worker keeps its own until their queues are empty.
    fn drain(&mut self) {
        if let Err(error) = self.listeners.refuse_newcomers() {
            problem("refusing new connections before the stop", &error);
        }
        for slot in self.workers.occupied() {
            let limit = self.config.server.graceful_wait;
            let is_final = true;
            self.workers.tell(slot, ToWorker::Drain { limit, is_final });
        }
        self.listeners.retain(|_| false);
        self.admin.retain(|_| false);
    }

    fn leave(self, exodus: Exodus) -> Outcome {
        match exodus {
            Exodus::Exit(verdict) => {
                emit(&telemetry::Event::Stopped {
                    uptime: self.started.elapsed(),
                });
                Outcome::Exit(verdict)
            }
            // What is not named here is closed by being dropped: the signals' descriptor and every
            // channel but the worker's own end.
            Exodus::Worker(slot, channel) => Outcome::Worker(Box::new(Inheritance {
                config: self.config,
                slot,
                scoreboard: self.scoreboard,
                listeners: self.listeners,
                admin: self.admin,
                channel,
                access_logs: self.logs,
            })),
        }
    }

    fn sleep(&self) {
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        polled.extend(self.workers.channels().map(|(_, channel, is_waiting)| {
            let room = if is_waiting {
                PollFlags::POLLOUT
            } else {
                PollFlags::empty()
            };
            PollFd::new(channel, PollFlags::POLLIN | room)
        }));
        let deadlines = [self.supervisor.deadline(), self.service.deadline()];
        match poll(&mut polled, timeout(deadlines)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                problem("waiting for signals and workers", &error);
                // Out of memory, it can only be; not to be asked again without a pause.
                let _ = poll(&mut [], PollTimeout::from(100_u8));
            }
        }
    }

    fn hear_signals(&mut self, events: &mut VecDeque<Event>) {
        loop {
            match self.signals.next() {
                Ok(Some((signal, order))) => self.obey(signal.as_str(), order, events),
                Ok(None) => return,
                Err(error) => return problem("reading signals", &error),
            }
        }
    }

    fn obey(&mut self, signal: &str, order: Order, events: &mut VecDeque<Event>) {
        match order {
            Order::Stop => {
                self.is_stopping = true;
                emit(&telemetry::Event::Stopping { signal });
                self.service.stopping(self.config.server.graceful_wait);
                events.push_back(Event::Stop);
            }
            Order::Reopen => self.reopen(),
            Order::Reload => {
                self.service.reloading();
                problem("reloading the configuration", &"not supported yet");
                self.service.reloaded();
            }
            Order::Upgrade => problem("upgrading in place", &"not supported yet"),
            Order::Reap => self.reap(events),
        }
    }

    /// Opens the logs that are files anew for every worker, present and future; keeps an old one if
    /// that fails.
    fn reopen(&mut self) {
        for (index, log) in self.config.server.access_logs.iter().enumerate() {
            let Target::File(path) = &log.target else {
                tracing::debug!(log.place, "not a file, nothing to reopen");
                continue;
            };
            let fresh = match log::open(log, self.config.identity.as_ref()) {
                Ok(fresh) => fresh,
                Err(error) => {
                    problem("reopening the access log; the old one goes on", &error);
                    continue;
                }
            };
            for slot in self.workers.occupied() {
                match fresh.as_ref().map(OwnedFd::try_clone) {
                    Some(Ok(copy)) => self.workers.tell(slot, ToWorker::Reopen(index, copy)),
                    Some(Err(error)) => problem("passing on the access log", &error),
                    None => {}
                }
            }
            emit(&telemetry::Event::Reopened { path });
            self.logs[index] = fresh;
        }
    }

    fn reap(&mut self, events: &mut VecDeque<Event>) {
        for death in self.workers.reap() {
            let logs = self.config.server.access_logs.len();
            let lost_lines = self.scoreboard.slot(death.slot).bury(logs);
            if !self.is_stopping {
                self.scoreboard.count_death(death.reason);
            }
            if self.is_stopping && death.is_clean && lost_lines == 0 {
                tracing::debug!(slot = death.slot, status = death.status, "worker left");
            } else {
                emit(&telemetry::Event::WorkerDied {
                    slot: death.slot,
                    pid: death.pid.as_raw(),
                    status: &death.status,
                    uptime: death.lived,
                    lost_lines,
                });
            }
            events.push_back(Event::Died {
                slot: death.slot,
                lived: death.lived,
                could_not_start: death.could_not_start,
            });
        }
    }

    fn hear_workers(&mut self, events: &mut VecDeque<Event>) {
        for slot in self.workers.occupied() {
            if self.workers.attend(slot) {
                events.push_back(Event::Ready(slot));
            }
        }
    }
}

/// Why the loop ends.
enum Exodus {
    Exit(Verdict),
    /// In the child: its slot and its end of the channel.
    Worker(usize, OwnedFd),
}

/// How long to poll until the first deadline, rounded up: waking before the deadline would only mean to sleep again.
fn timeout(deadlines: [Option<Instant>; 2]) -> PollTimeout {
    let Some(deadline) = deadlines.into_iter().flatten().min() else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

fn problem(doing: &str, error: &dyn std::fmt::Display) {
    emit(&telemetry::Event::Problem { doing, error });
}
