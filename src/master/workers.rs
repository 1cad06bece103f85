//! The processes of the workers: born, spoken to, buried.
//!
//! Holds what the kernel knows of each worker; what is to be done about it is the supervisor's.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::control::{self, Heard, MasterEnd, ToMaster, ToWorker};
use crate::scoreboard::Death as Reason;
use crate::sys::{self, Forked};
use crate::telemetry::{Event, emit};
use crate::worker::Exit;

/// The processes by slot.
#[derive(Debug)]
pub(super) struct Workers {
    slots: Vec<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    /// `None` once the worker has closed its end.
    channel: Option<MasterEnd>,
    born: Instant,
}

/// On which side of the fork we are.
#[derive(Debug)]
pub(super) enum Birth {
    /// Still the master.
    Master,
    /// The new worker, with its end of the channel.
    Worker(OwnedFd),
}

/// What is left of a worker.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) slot: usize,
    pub(super) pid: Pid,
    /// How it ended, for people.
    pub(super) status: String,
    /// It left as it should, in the end of a drain.
    pub(super) is_clean: bool,
    pub(super) reason: Reason,
    pub(super) could_not_start: bool,
    pub(super) lived: Duration,
}

impl Workers {
    /// No process yet, in this many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: (0..slots).map(|_| None).collect(),
        }
    }

    /// Forks the worker of a slot.
    pub(super) fn fork(&mut self, slot: usize) -> io::Result<Birth> {
        let (channel, theirs) = control::pair()?;
        let pid = match sys::fork_worker()? {
            Forked::Worker => return Ok(Birth::Worker(theirs)),
            Forked::Master(pid) => pid,
        };
        self.slots[slot] = Some(Process {
            pid,
            channel: Some(channel),
            born: Instant::now(),
        });
        emit(&Event::WorkerStarted {
            slot,
            pid: pid.as_raw(),
        });
        Ok(Birth::Master)
    }

    /// Kills the worker of a slot, if there is one.
    pub(super) fn kill(&self, slot: usize) {
        if let Some(process) = &self.slots[slot] {
            // It can only fail because the worker is dead already, which is about to be reaped.
            let _ = kill(process.pid, Signal::SIGKILL);
        }
    }

    /// Tells the worker of a slot, if there is one.
    pub(super) fn tell(&mut self, slot: usize, message: ToWorker) {
        let channel = self.slots[slot].as_mut().and_then(|p| p.channel.as_mut());
        if let Some(Err(error)) = channel.map(|channel| channel.tell(message)) {
            problem(slot, "telling worker", &error);
        }
    }

    /// The slots that have a process.
    pub(super) fn occupied(&self) -> Vec<usize> {
        (0..self.slots.len())
            .filter(|&slot| self.slots[slot].is_some())
            .collect()
    }

    /// The channels to poll: slot, descriptor, and whether messages wait to be sent.
    pub(super) fn channels(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, bool)> {
        self.slots.iter().enumerate().filter_map(|(slot, process)| {
            let channel = process.as_ref()?.channel.as_ref()?;
            Some((slot, channel.as_fd(), channel.is_waiting()))
        })
    }

    /// Sends what waits for a worker and hears what it says; gives whether it has become ready.
    pub(super) fn attend(&mut self, slot: usize) -> bool {
        let Some(process) = self.slots[slot].as_mut() else {
            return false;
        };
        let mut is_ready = false;
        while let Some(channel) = process.channel.as_mut() {
            if let Err(error) = channel.flush() {
                problem(slot, "telling worker", &error);
            }
            match channel.hear() {
                Ok(Heard::Message(ToMaster::Ready)) => {
                    is_ready = true;
                    emit(&Event::WorkerReady {
                        slot,
                        pid: process.pid.as_raw(),
                        took: process.born.elapsed(),
                    });
                }
                Ok(Heard::Message(report)) => tracing::debug!(slot, ?report, "worker reports"),
                Ok(Heard::Nothing) => break,
                // Its death is told by the kernel; a closed channel would only wake us for ever.
                Ok(Heard::Gone) => process.channel = None,
                Err(error) => {
                    problem(slot, "hearing worker", &error);
                    if error.kind() != io::ErrorKind::InvalidData {
                        process.channel = None;
                    }
                }
            }
        }
        is_ready
    }

    /// Reaps every dead child and gives those that were workers.
    pub(super) fn reap(&mut self) -> Vec<Death> {
        let mut deaths = Vec::new();
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(status) => deaths.extend(self.bury(status)),
                Err(Errno::EINTR) => {}
                // ECHILD: none is left.
                Err(_) => break,
            }
        }
        deaths
    }

    /// As process 1 of a container we reap children of others, too: `None`.
    fn bury(&mut self, status: WaitStatus) -> Option<Death> {
        let pid = status.pid()?;
        let slot = self
            .slots
            .iter()
            .position(|process| process.as_ref().is_some_and(|process| process.pid == pid))?;
        // What it said last.
        self.attend(slot);
        let process = self.slots[slot].take()?;
        let exit = match status {
            WaitStatus::Exited(_, code) => Exit::of(code),
            _ => None,
        };
        Some(Death {
            slot,
            pid,
            status: describe(status, exit),
            reason: match (status, exit) {
                (WaitStatus::Signaled(..), _) => Reason::Signal,
                (_, Some(Exit::Drained | Exit::Forced)) => Reason::Left,
                (_, Some(Exit::CouldNotStart)) => Reason::CouldNotStart,
                (_, None) => Reason::Status,
            },
            is_clean: matches!(exit, Some(Exit::Drained | Exit::Forced)),
            could_not_start: exit == Some(Exit::CouldNotStart),
            lived: process.born.elapsed(),
        })
    }
}

fn describe(status: WaitStatus, exit: Option<Exit>) -> String {
    match (status, exit) {
        (WaitStatus::Exited(_, code), Some(exit)) => format!("exit status {code}: {exit}"),
        (WaitStatus::Exited(_, code), None) => format!("exit status {code}"),
        (WaitStatus::Signaled(_, signal, true), _) => format!("signal {signal}, core dumped"),
        (WaitStatus::Signaled(_, signal, false), _) => format!("signal {signal}"),
        (other, _) => format!("{other:?}"),
    }
}

fn problem(slot: usize, doing: &str, error: &dyn Display) {
    emit(&Event::Problem {
        doing: &format!("{doing} {slot}"),
        error,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_what_happened() {
        let pid = Pid::from_raw(5);
        let cases = [
            (WaitStatus::Exited(pid, 0), "exit status 0: drained"),
            (WaitStatus::Exited(pid, 4), "exit status 4: could not start"),
            (WaitStatus::Exited(pid, 101), "exit status 101"),
            (
                WaitStatus::Signaled(pid, Signal::SIGKILL, false),
                "signal SIGKILL",
            ),
            (
                WaitStatus::Signaled(pid, Signal::SIGSEGV, true),
                "signal SIGSEGV, core dumped",
            ),
        ];
        for (status, expected) in cases {
            let exit = match status {
                WaitStatus::Exited(_, code) => Exit::of(code),
                _ => None,
            };
            assert_eq!(describe(status, exit), expected);
        }
    }
}
