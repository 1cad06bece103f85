//! Upgrade in place: this process becomes the program that is at its path now.
//!
//! The candidate is first run with `--dry`, as a child, and must say that it understands what it will
//! be handed. Then the master executes it: the process id, sockets, workers and counts stay. Its new
//! generation takes over as in a reload; if it cannot, the image before it is executed again.

mod check;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::wait::WaitStatus;

use super::handover::{Era, Former, Luggage, State, of_descriptor};
use super::supervisor::Event;
use super::{Master, problem};
use crate::scoreboard::Reload;
use crate::telemetry::{self, Lifecycle, emit};
use check::Check;
pub(crate) use check::answer;

/// What is to become of the program that this process runs.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// Which one it is; where `/proc` is not mounted that cannot be found out, and there is no upgrade.
    program: io::Result<Program>,
    /// The image before, until our workers serve.
    pub(super) former: Option<Former>,
    check: Option<Check>,
    /// Asked for while a reload was under way.
    pub(super) is_wanted: bool,
    step: Option<Step>,
}

/// A program and its file.
#[derive(Debug)]
struct Program {
    /// Where its successor will be.
    path: PathBuf,
    /// Its executable file, whatever is at the path by now.
    binary: File,
}

/// What is to be done once no event is left.
#[derive(Debug)]
enum Step {
    /// Become the candidate.
    Forward,
    /// Become the former image again.
    Back(String),
}

impl Upgrade {
    /// Finds out what this process runs.
    pub(super) fn new(former: Option<Former>) -> Self {
        Self {
            program: Program::here(),
            former,
            check: None,
            is_wanted: false,
            step: None,
        }
    }

    /// What is to be polled.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.check.as_ref().map(AsFd::as_fd)
    }

    /// When the candidate has taken too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.check.as_ref()?.deadline()
    }

    /// The new generation does not come: there is a way back.
    pub(super) fn plan_return(&mut self, reason: &str) {
        self.step = Some(Step::Back(reason.to_owned()));
    }
}

impl Program {
    fn here() -> io::Result<Self> {
        let own = Path::new("/proc/self/exe");
        let named = std::env::args_os().next().map(PathBuf::from);
        let named = named.filter(|name| name.components().count() > 1);
        let path = match named {
            Some(name) => std::path::absolute(name)?,
            None => std::fs::read_link(own)?,
        };
        let binary = File::open(own)?;
        Ok(Self { path, binary })
    }
}

impl Master {
    /// Begins with the check of the candidate. One that is asked for while a reload is under way
    /// comes after it.
    pub(super) fn upgrade(&mut self) {
        if self.is_stopping || self.upgrade.check.is_some() {
            return;
        }
        if self.next.is_some() {
            self.upgrade.is_wanted = true;
            return;
        }
        let path = match &self.upgrade.program {
            Ok(program) => program.path.clone(),
            Err(error) => {
                let reason = format!("which program this is could not be found out: {error}");
                return self.refuse_upgrade(&reason);
            }
        };
        tell(&Lifecycle::Upgrading { program: &path });
        match Check::start(&path) {
            Ok(check) => self.upgrade.check = Some(check),
            Err(error) => self.refuse_upgrade(&format!("{}: {error}", path.display())),
        }
    }

    fn refuse_upgrade(&mut self, reason: &str) {
        self.scoreboard.count_upgrade(Reload::Refused);
        tell(&Lifecycle::UpgradeFailed {
            result: Reload::Refused.as_str(),
            reason: &reason,
        });
    }

    /// Hears what the candidate says, and ends it when it takes too long.
    pub(super) fn attend_check(&mut self) {
        if let Some(check) = &mut self.upgrade.check {
            check.attend(Instant::now());
        }
    }

    /// A child that is no worker is dead: perhaps the candidate.
    pub(super) fn judge_check(&mut self, status: WaitStatus) {
        let is_it = |check: &mut Check| check.is_process(status);
        let Some(check) = self.upgrade.check.take_if(is_it) else {
            return;
        };
        match check.verdict(status) {
            _ if self.is_stopping => {}
            Ok(()) => self.upgrade.step = Some(Step::Forward),
            Err(reason) => self.refuse_upgrade(&reason),
        }
    }

    /// Becomes another image if that is due: no event is left that would be lost. Returns when it is
    /// not, or not possible.
    pub(super) fn transform(&mut self, events: &mut VecDeque<Event>) {
        match self.upgrade.step.take() {
            None => {}
            // A reload came between: afterwards, then.
            Some(Step::Forward) if self.next.is_some() => self.upgrade.step = Some(Step::Forward),
            Some(Step::Forward) if !self.is_stopping => {
                self.service.reloading();
                let reason = self.become_candidate();
                self.service.reloaded();
                self.refuse_upgrade(&reason);
            }
            Some(Step::Back(reason)) if !self.is_stopping => {
                let error = self.become_former(&reason);
                problem(
                    "going back to the former program; its workers go on",
                    &error,
                );
                self.reload_if_wanted(events);
            }
            Some(_) => {}
        }
    }

    fn become_candidate(&self) -> String {
        if self.workers.has_unsent() {
            return "a worker does not read what it is told; try again".to_owned();
        }
        let Program { path, binary } = match &self.upgrade.program {
            Ok(program) => program,
            Err(error) => return error.to_string(),
        };
        let (state, luggage) = self.pack(binary.as_fd());
        let error = state.execute(path, &luggage);
        format!("{}: {error}", path.display())
    }

    fn become_former(&mut self, reason: &str) -> io::Error {
        let Some(former) = self.upgrade.former.take() else {
            return io::Error::other("there is none");
        };
        let (mut state, luggage) = self.pack(former.binary.as_fd());
        state.back_to(&former, reason);
        state.execute(&of_descriptor(former.binary.as_raw_fd()), &luggage)
    }

    /// Writes down all that another image needs to go on.
    fn pack<'a>(&'a self, binary: BorrowedFd<'a>) -> (State, Luggage<'a>) {
        let mut luggage = Luggage::default();
        let era = |(number, text): (u64, &String)| Era {
            number,
            text: text.clone(),
        };
        let current = era((self.current.number, &self.current.text));
        let mut state = State::of_this_image(current, luggage.add(binary));
        state.generations = self.generations;
        let past = self.past.iter();
        state.past = past.map(|past| era((past.number, &past.text))).collect();
        state.listeners = self.current.listeners.hand_over(|it| luggage.add(it));
        state.admin = self.current.admin.hand_over(|it| luggage.add(it));
        state.board = self.scoreboard.memory().map(|memory| luggage.add(memory));
        state.tickets = Some(luggage.add(self.current.tickets.as_fd()));
        let standings = self.supervisor.standings(Instant::now());
        let workers = &self.workers;
        let handed = standings.into_iter();
        state.workers = handed
            .filter_map(|standing| workers.hand_over(standing, &mut luggage))
            .collect();
        (state, luggage)
    }
}

fn tell(event: &Lifecycle<'_>) {
    emit(&telemetry::Event::Lifecycle(*event));
}
