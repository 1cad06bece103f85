//! Keeping workers alive and passing on the operator's signals.
//!
//! One thread, no runtime: it sleeps until a signal comes, a worker says something or a time is
//! reached, asks the `supervisor` what follows, and does it. It serves no request and never waits
//! for a worker. A fork returns twice: in the child the loop ends, everything of the master's is
//! dropped with it, and the child goes on as a worker.

mod actions;
mod deployment;
mod handover;
mod lend;
mod log;
mod reload;
mod reopen;
mod resume;
mod service;
mod signals;
mod start;
mod supervisor;
mod upgrade;
mod workers;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::{Loaded, Origin};
use crate::control::ToMaster;
use crate::scoreboard::Scoreboard;
use crate::telemetry::{self, OnceAMinute, emit};
use crate::worker::{self, Inheritance};
use deployment::Deployment;
pub use handover::Handover;
use reload::Past;
use service::Service;
use signals::{Order, Signals};
use supervisor::{Event, Supervisor, Verdict};
use upgrade::Upgrade;
pub(crate) use upgrade::answer;
use workers::Workers;

/// Serves until it is told to stop. The exit status: 0 after a graceful stop, also if its limit cut
/// something; 1 after an error at start or a second signal.
/// With a handover it goes on where another image of this program was.
pub fn run(loaded: Loaded, origin: Origin, handover: Option<Handover>) -> ExitCode {
    let begun = match &handover {
        None => Master::start(loaded, origin),
        Some(handover) => Master::resume(loaded, origin, handover),
    };
    let (master, events) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            problem(error.doing, &error.cause);
            if let Some(handover) = handover {
                let error = handover.go_back(&format!("{}: {}", error.doing, error.cause));
                problem("going back to the former program", &error);
            }
            return ExitCode::FAILURE;
        }
    };
    // All that is needed of it was copied.
    drop(handover);
    match master.supervise(events) {
        Outcome::Exit(Verdict::Stopped) => ExitCode::SUCCESS,
        Outcome::Exit(Verdict::Failed) => ExitCode::FAILURE,
        Outcome::Worker(inheritance) => worker::run(*inheritance),
    }
}

struct Master {
    origin: Origin,
    /// What is in force.
    current: Deployment,
    /// What is to come, while its workers start.
    next: Option<Deployment>,
    /// Asked for while another reload was under way.
    wants_reload: bool,
    /// Generations prepared so far, those included that came to nothing.
    generations: u64,
    /// What former generations are configured with, while workers of theirs live.
    past: Vec<Past>,
    scoreboard: Scoreboard,
    signals: Signals,
    service: Service,
    upgrade: Upgrade,
    /// Trouble with certificate files that are opened for workers.
    unlent: OnceAMinute,
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
    fn supervise(mut self, mut events: VecDeque<Event>) -> Outcome {
        // Blocking signals has discarded that children of the image before this one died.
        self.reap(&mut events);
        loop {
            while let Some(event) = events.pop_front() {
                if let ControlFlow::Break(exodus) = self.follow(event, &mut events) {
                    return self.leave(exodus);
                }
            }
            self.transform(&mut events);
            self.service.tick(&self.scoreboard);
            self.renew_tickets();
            if events.is_empty() {
                self.sleep();
            }
            self.hear_signals(&mut events);
            self.hear_workers(&mut events);
            self.attend_check();
            events.push_back(Event::Tick);
        }
    }

    fn follow(&mut self, event: Event, events: &mut VecDeque<Event>) -> ControlFlow<Exodus> {
        self.supervisor
            .step(event, Instant::now())
            .into_iter()
            .try_for_each(|action| self.act(action, events))
    }

    fn leave(self, exodus: Exodus) -> Outcome {
        let newborn = match exodus {
            Exodus::Exit(verdict) => {
                let uptime = self.started.elapsed();
                emit(&telemetry::Event::Stopped { uptime });
                return Outcome::Exit(verdict);
            }
            Exodus::Worker(newborn) => newborn,
        };
        let next = self.next.filter(|next| next.number == newborn.generation);
        let own = next.unwrap_or(self.current);
        // What is not named here is closed by being dropped: the signals' descriptor, every channel
        // but the worker's own end, and the sockets and logs of the other generation.
        Outcome::Worker(Box::new(Inheritance {
            config: own.config,
            seat: newborn.seat,
            slot: newborn.slot,
            scoreboard: self.scoreboard,
            listeners: own.listeners,
            terminations: own.terminations,
            admin: own.admin,
            channel: newborn.channel,
            access_logs: own.logs,
        }))
    }

    /// The keys of session tickets are replaced from time to time; with it woken often enough, this
    /// may be a little late.
    fn renew_tickets(&self) {
        if let Err(error) = self.current.tickets.keys.rotate_if_due() {
            problem("making new keys of session tickets", &error);
        }
    }

    fn sleep(&self) {
        let mut polled = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        polled.extend(self.workers.channels().map(|(channel, is_waiting)| {
            let room = if is_waiting {
                PollFlags::POLLOUT
            } else {
                PollFlags::empty()
            };
            PollFd::new(channel, PollFlags::POLLIN | room)
        }));
        let deadlines = [
            self.supervisor.deadline(),
            self.service.deadline(),
            self.upgrade.deadline(),
        ];
        let check = self.upgrade.descriptor();
        polled.extend(check.map(|check| PollFd::new(check, PollFlags::POLLIN)));
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
                let limit = self.current.config.server.graceful_wait;
                self.service.stopping(limit);
                events.push_back(Event::Stop);
            }
            Order::Reopen => self.reopen(),
            Order::Reload => self.reload(events),
            Order::Upgrade => self.upgrade(),
            Order::Reap => self.reap(events),
        }
    }

    fn reap(&mut self, events: &mut VecDeque<Event>) {
        let (deaths, others) = self.workers.reap();
        for status in others {
            self.judge_check(status);
        }
        for death in deaths {
            if !self.is_stopping {
                self.scoreboard.count_death(death.reason);
                if let Some(why) = death.replacement {
                    self.scoreboard.count_replacement(why);
                }
            }
            events.push_back(Event::Died {
                seat: death.seat,
                lived: death.lived,
                could_not_start: death.could_not_start,
            });
        }
        self.forget_past();
    }

    fn hear_workers(&mut self, events: &mut VecDeque<Event>) {
        for seat in self.workers.seats() {
            for report in self.workers.attend(seat) {
                match report {
                    ToMaster::Ready => events.push_back(Event::Ready(seat)),
                    ToMaster::WantsReplacement(why) => {
                        events.push_back(Event::WantsReplacement(seat, why));
                    }
                    ToMaster::OnlyTunnels => events.push_back(Event::OnlyTunnels(seat)),
                    ToMaster::Drained { .. } => events.push_back(Event::Finished(seat)),
                    ToMaster::Stopped => {}
                    ToMaster::Borrow { request, name } => self.lend(seat, request, &name),
                }
            }
        }
        let pulses = self.workers.pulses();
        events.extend(pulses.map(|(seat, age)| Event::Pulse { seat, age }));
    }
}

/// Why the loop ends.
enum Exodus {
    Exit(Verdict),
    /// In the child: which worker it is.
    Worker(Newborn),
}

/// A worker that was just forked.
struct Newborn {
    seat: usize,
    slot: usize,
    generation: u64,
    /// Its end of the channel.
    channel: OwnedFd,
}

/// How long to poll until the first deadline, rounded up: waking before it would only mean to sleep
/// again.
fn timeout(deadlines: [Option<Instant>; 3]) -> PollTimeout {
    let Some(deadline) = deadlines.into_iter().flatten().min() else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

fn problem(doing: &str, error: &dyn std::fmt::Display) {
    emit(&telemetry::Event::Problem { doing, error });
}
