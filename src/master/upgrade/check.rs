//! A trial run of the program that is to take over: does it start with these arguments, and does it
//! understand what it will be handed?
//!
//! A child with `--dry` and a question in its environment. It must leave with 0, and its last line
//! must be the answer: a program that knows nothing of all this is found out here.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::super::handover::versions;

/// What is asked for, in the environment of the candidate.
const QUESTION: &str = "HIPACHE_TAKES_OVER";
/// How long the trial run may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes kept of what it says: the last ones.
const KEPT: usize = 8 * 1024;

/// What this program answers to the question, if it is asked: `Err` is that it does not understand.
pub(crate) fn answer() -> Option<Result<String, String>> {
    let asked = std::env::var(QUESTION).ok()?;
    let own = versions();
    Some(if asked == own {
        Ok(expected(&own))
    } else {
        Err(format!(
            "cannot take over in version {asked}, only in {own}; restart instead"
        ))
    })
}

fn expected(versions: &str) -> String {
    format!("takes over in version {versions}")
}

/// A trial run.
#[derive(Debug)]
pub(super) struct Check {
    pid: Pid,
    output: File,
    said: Vec<u8>,
    /// Its output is read to the end: nothing more to wait for but its own.
    is_silent: bool,
    /// `None` once it was killed.
    until: Option<Instant>,
}

impl Check {
    /// Starts it; nobody waits for it here, the master reaps it with its other children.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let (output, theirs) = io::pipe()?;
        let child = Command::new(program)
            .args(std::env::args_os().skip(1))
            .arg("--dry")
            .env(QUESTION, versions())
            .stdin(Stdio::null())
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            pid: Pid::from_raw(child.id().cast_signed()),
            output: File::from(std::os::fd::OwnedFd::from(output)),
            said: Vec::new(),
            is_silent: false,
            until: Some(Instant::now() + LIMIT),
        })
    }

    /// When it has taken too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Reads what it says; kills it when its time is over.
    pub(super) fn attend(&mut self, now: Instant) {
        let mut buffer = [0; 4096];
        while !self.is_silent {
            match self.output.read(&mut buffer) {
                Ok(count) if count > 0 => self.keep(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => self.is_silent = true,
            }
        }
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            // It can only fail because it is dead already, which is about to be reaped.
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }

    fn keep(&mut self, said: &[u8]) {
        self.said.extend_from_slice(said);
        let excess = self.said.len().saturating_sub(KEPT);
        self.said.drain(..excess);
    }

    /// Whether it is the process that ended so.
    pub(super) fn is_process(&self, status: WaitStatus) -> bool {
        status.pid() == Some(self.pid)
    }

    /// What its end means.
    pub(super) fn verdict(mut self, status: WaitStatus) -> Result<(), String> {
        self.attend(Instant::now());
        judge(status, self.until.is_some(), &self.said)
    }
}

fn judge(status: WaitStatus, is_in_time: bool, said: &[u8]) -> Result<(), String> {
    let said = String::from_utf8_lossy(said);
    let mut lines = said.lines().rev().filter(|line| !line.trim().is_empty());
    match (status, lines.next()) {
        (WaitStatus::Exited(_, 0), Some(last)) if last == expected(&versions()) => Ok(()),
        (WaitStatus::Exited(_, 0), _) => Err(format!(
            "the trial run did not say {:?}: it is another program, or a version that cannot take over",
            expected(&versions())
        )),
        _ if !is_in_time => Err(format!("the trial run took longer than {LIMIT:?}")),
        (WaitStatus::Exited(_, code), last) => {
            let errors: Vec<&str> = said
                .lines()
                .filter(|it| it.starts_with("error: "))
                .collect();
            let told = match errors.as_slice() {
                [] => last.unwrap_or("it said nothing").to_owned(),
                errors => errors.join("; "),
            };
            Err(format!("the trial run ended with status {code}: {told}"))
        }
        (other, _) => Err(format!("the trial run ended with {other:?}")),
    }
}

impl AsFd for Check {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_understands_may_take_over() {
        let pid = Pid::from_raw(7);
        let answer = expected(&versions());
        let warned = format!("warning: x\n{answer}\n");
        let exited = |code| WaitStatus::Exited(pid, code);
        let killed = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
        let cases = [
            (exited(0), true, warned.as_str(), None),
            (exited(0), true, "", Some("did not say")),
            (exited(0), true, "{}", Some("did not say")),
            (
                exited(0),
                true,
                "takes over in version 0.0",
                Some("did not say"),
            ),
            (
                exited(1),
                true,
                "a\nerror: b\nerror: c\nwarning: d\n",
                Some("status 1: error: b; error: c"),
            ),
            (exited(127), true, "", Some("it said nothing")),
            (killed, false, "", Some("longer than 30s")),
            (killed, true, "", Some("SIGKILL")),
        ];
        for (status, is_in_time, said, expected) in cases {
            let verdict = judge(status, is_in_time, said.as_bytes());
            match (verdict, expected) {
                (Ok(()), None) => {}
                (Err(reason), Some(part)) => assert!(reason.contains(part), "{reason}"),
                (verdict, _) => panic!("{status:?} {said:?}: {verdict:?}"),
            }
        }
    }
}
