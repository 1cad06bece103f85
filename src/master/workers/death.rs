//! The end of a worker, as the kernel and its seat on the scoreboard tell it.

use std::time::Duration;

use nix::sys::wait::WaitStatus;

use super::Process;
use crate::scoreboard::{Death as Reason, Estate, Replacement};
use crate::telemetry::{DeathReport, Event, Figures, Lifecycle, emit};
use crate::worker::Exit;

/// What is left of a worker.
#[derive(Debug)]
pub(in super::super) struct Death {
    pub(in super::super) seat: usize,
    pub(in super::super) reason: Reason,
    /// Why another takes its place, unless it was told to leave.
    pub(in super::super) replacement: Option<Replacement>,
    pub(in super::super) could_not_start: bool,
    pub(in super::super) lived: Duration,
}

impl Death {
    /// Closes the books of a dead worker and tells what is to be told of it.
    pub(super) fn of(seat: usize, process: &Process, status: WaitStatus) -> Self {
        let exit = match status {
            WaitStatus::Exited(_, code) => Exit::of(code),
            _ => None,
        };
        let estate = process.board.map(|board| board.bury());
        let estate = estate.unwrap_or_default();
        let is_clean = matches!(exit, Some(Exit::Drained | Exit::Forced));
        let has_lost = estate.lost_lines > 0 || estate.lost_spans > 0;
        let status_text = describe(status, exit);
        if process.is_leaving && is_clean && !has_lost {
            tracing::debug!(seat, status = status_text, "worker left");
        } else {
            tell(seat, process, &status_text, &estate);
        }
        Self {
            seat,
            reason: match (status, exit) {
                (WaitStatus::Signaled(..), _) => Reason::Signal,
                (_, Some(Exit::Drained | Exit::Forced)) => Reason::Left,
                (_, Some(Exit::CouldNotStart)) => Reason::CouldNotStart,
                (_, None) => Reason::Status,
            },
            replacement: match (process.is_leaving, process.is_hung) {
                (true, _) => None,
                (false, true) => Some(Replacement::Hung),
                (false, false) => Some(Replacement::Died),
            },
            could_not_start: exit == Some(Exit::CouldNotStart),
            lived: process.born.elapsed(),
        }
    }
}

fn tell(seat: usize, process: &Process, status: &str, estate: &Estate) {
    let known = |level: i64| u64::try_from(level).unwrap_or(0);
    emit(&Event::Lifecycle(Lifecycle::WorkerDied(DeathReport {
        seat,
        slot: process.slot,
        pid: process.pid.as_raw(),
        status: &status,
        figures: Figures {
            uptime: process.born.elapsed(),
            requests: estate.exchanges,
            connections: estate.connections,
            allocated: known(estate.allocated),
            active: known(estate.active),
            resident: known(estate.resident),
        },
        held_connections: known(estate.open_connections),
        held_requests: known(estate.open_exchanges),
        lost_lines: estate.lost_lines,
        lost_spans: estate.lost_spans,
    })));
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

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
