//! The processes of the workers: born, spoken to, buried.
//!
//! Holds what the kernel knows of each worker; what is to be done about it is the supervisor's.

mod death;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::handover::{Handover, Luggage, Worker};
use super::resume::born;
use super::supervisor::Standing;
use crate::control::{self, Heard, MasterEnd, ToMaster, ToWorker};
use crate::scoreboard::{Occupant, Scoreboard, Seat};
use crate::sys::{self, Forked};
use crate::telemetry::{Event, Lifecycle, emit};
pub(super) use death::Death;

/// Messages of one worker that are heard in a row.
const MAX_HEARD: usize = 64;

/// The processes by seat.
#[derive(Debug)]
pub(super) struct Workers {
    seats: BTreeMap<usize, Process>,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    slot: usize,
    generation: u64,
    /// Its place on the scoreboard; `None` where it has one of another layout.
    board: Option<Seat>,
    /// `None` once the worker has closed its end.
    channel: Option<MasterEnd>,
    born: Instant,
    /// Told to leave: its end is no loss.
    is_leaving: bool,
    /// Killed because its runtime did not turn.
    is_hung: bool,
}

/// On which side of the fork we are.
#[derive(Debug)]
pub(super) enum Birth {
    /// Still the master.
    Master,
    /// The new worker, with its end of the channel.
    Worker(OwnedFd),
}

impl Workers {
    /// No process yet.
    pub(super) fn new() -> Self {
        Self {
            seats: BTreeMap::new(),
        }
    }

    /// Forks a worker into a seat.
    pub(super) fn fork(
        &mut self,
        seat: usize,
        board: Seat,
        occupant: Occupant,
    ) -> io::Result<Birth> {
        let (channel, theirs) = control::pair()?;
        // Before the fork, so that nobody reads there what is another's.
        board.occupy(occupant);
        let pid = match sys::fork_worker() {
            Ok(Forked::Worker) => return Ok(Birth::Worker(theirs)),
            Ok(Forked::Master(pid)) => pid,
            Err(error) => {
                board.bury();
                return Err(error);
            }
        };
        board.name_process(pid.as_raw().unsigned_abs());
        let Occupant {
            slot, generation, ..
        } = occupant;
        let process = Process {
            pid,
            slot,
            generation,
            board: Some(board),
            channel: Some(channel),
            born: Instant::now(),
            is_leaving: false,
            is_hung: false,
        };
        self.seats.insert(seat, process);
        let pid = pid.as_raw();
        emit(&Event::Lifecycle(Lifecycle::WorkerStarted {
            seat,
            slot,
            pid,
        }));
        Ok(Birth::Master)
    }

    /// Goes on with workers that were handed over, on this board if it is theirs.
    pub(super) fn resume(handover: &Handover, board: Option<Scoreboard>) -> io::Result<Self> {
        let now = Instant::now();
        let mut seats = BTreeMap::new();
        for worker in &handover.state.workers {
            let channel = worker.channel.map(|number| handover.copy(number));
            let process = Process {
                pid: Pid::from_raw(worker.pid),
                slot: worker.standing.slot,
                generation: worker.standing.generation,
                board: board.map(|board| board.seat(worker.standing.seat)),
                channel: channel.transpose()?.map(MasterEnd::resume),
                born: born(worker.lived_millis, now),
                is_leaving: worker.is_leaving,
                is_hung: worker.is_hung,
            };
            seats.insert(worker.standing.seat, process);
        }
        Ok(Self { seats })
    }

    /// Writes a worker down for another image.
    pub(super) fn hand_over<'a>(
        &'a self,
        standing: Standing,
        luggage: &mut Luggage<'a>,
    ) -> Option<Worker> {
        let process = self.seats.get(&standing.seat)?;
        let channel = process.channel.as_ref();
        Some(Worker {
            standing,
            pid: process.pid.as_raw(),
            channel: channel.map(|channel| luggage.add(channel.as_fd())),
            lived_millis: u64::try_from(process.born.elapsed().as_millis()).unwrap_or(u64::MAX),
            is_leaving: process.is_leaving,
            is_hung: process.is_hung,
        })
    }

    /// Whether a message waits for a worker to read.
    pub(super) fn has_unsent(&self) -> bool {
        self.channels().any(|(_, is_waiting)| is_waiting)
    }

    /// Kills a worker, if it is there.
    pub(super) fn kill(&mut self, seat: usize, is_hung: bool) {
        if let Some(process) = self.seats.get_mut(&seat) {
            process.is_hung |= is_hung;
            // It can only fail because the worker is dead already, which is about to be reaped.
            let _ = kill(process.pid, Signal::SIGKILL);
        }
    }

    /// Tells a worker, if it is there.
    pub(super) fn tell(&mut self, seat: usize, message: ToWorker) {
        let Some(process) = self.seats.get_mut(&seat) else {
            return;
        };
        process.is_leaving |= matches!(message, ToWorker::Drain { .. });
        let channel = process.channel.as_mut();
        let told = channel.map(|channel| channel.tell(message));
        if let Some(Err(error)) = told {
            problem(seat, "telling worker", &error);
        }
    }

    /// The seats that have a process.
    pub(super) fn seats(&self) -> Vec<usize> {
        self.seats.keys().copied().collect()
    }

    /// The seats of those generations.
    pub(super) fn of_generation(&self, which: impl Fn(u64) -> bool) -> Vec<usize> {
        let those = self.seats.iter();
        let those = those.filter(|(_, process)| which(process.generation));
        those.map(|(seat, _)| *seat).collect()
    }

    /// The slot of a process.
    pub(super) fn slot_of(&self, seat: usize) -> usize {
        self.seats.get(&seat).map_or(0, |process| process.slot)
    }

    /// The generation of a worker, unless it is gone or leaves messages unread.
    pub(super) fn generation_of_reader(&self, seat: usize) -> Option<u64> {
        let process = self.seats.get(&seat)?;
        let is_heard = !process.channel.as_ref()?.is_waiting();
        is_heard.then_some(process.generation)
    }

    /// How long ago each runtime turned.
    pub(super) fn pulses(&self) -> impl Iterator<Item = (usize, Duration)> {
        let seats = self.seats.iter();
        seats.filter_map(|(seat, process)| Some((*seat, process.board?.life().heartbeat_age)))
    }

    /// The channels to poll: descriptor, and whether messages wait to be sent.
    pub(super) fn channels(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.seats.values().filter_map(|process| {
            let channel = process.channel.as_ref()?;
            Some((channel.as_fd(), channel.is_waiting()))
        })
    }

    /// Sends what waits for a worker and gives what it says, within a bound.
    pub(super) fn attend(&mut self, seat: usize) -> Vec<ToMaster> {
        let mut reports = Vec::new();
        let Some(process) = self.seats.get_mut(&seat) else {
            return reports;
        };
        for _ in 0..MAX_HEARD {
            let Some(channel) = process.channel.as_mut() else {
                break;
            };
            if let Err(error) = channel.flush() {
                problem(seat, "telling worker", &error);
            }
            match channel.hear() {
                Ok(Heard::Message(report)) => {
                    process.note(seat, &report);
                    reports.push(report);
                }
                Ok(Heard::Nothing) => break,
                // Its death is told by the kernel; a closed channel would only wake us for ever.
                Ok(Heard::Gone) => process.channel = None,
                Err(error) => {
                    problem(seat, "hearing worker", &error);
                    if error.kind() != io::ErrorKind::InvalidData {
                        process.channel = None;
                    }
                }
            }
        }
        reports
    }

    /// Reaps every dead child and gives those that were workers, and how the others ended: a trial
    /// run, or children of others, who are ours as process 1 of a container.
    pub(super) fn reap(&mut self) -> (Vec<Death>, Vec<WaitStatus>) {
        let (mut deaths, mut others) = (Vec::new(), Vec::new());
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(status) => match self.bury(status) {
                    Some(death) => deaths.push(death),
                    None => others.push(status),
                },
                Err(Errno::EINTR) => {}
                // ECHILD: none is left.
                Err(_) => break,
            }
        }
        (deaths, others)
    }

    /// `None` for one that is no worker.
    fn bury(&mut self, status: WaitStatus) -> Option<Death> {
        let pid = status.pid()?;
        let mut seats = self.seats.iter();
        let seat = *seats.find(|(_, process)| process.pid == pid)?.0;
        // What it said last.
        self.attend(seat);
        let process = self.seats.remove(&seat)?;
        Some(Death::of(seat, &process, status))
    }
}

impl Process {
    fn note(&self, seat: usize, report: &ToMaster) {
        let (slot, pid) = (self.slot, self.pid.as_raw());
        if *report == ToMaster::Ready {
            emit(&Event::Lifecycle(Lifecycle::WorkerReady {
                seat,
                slot,
                pid,
                took: self.born.elapsed(),
            }));
        } else {
            tracing::debug!(seat, ?report, "worker reports");
        }
    }
}

fn problem(seat: usize, doing: &str, error: &dyn Display) {
    emit(&Event::Problem {
        doing: &format!("{doing} {seat}"),
        error,
    });
}
