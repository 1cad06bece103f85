//! The table of signals, and the descriptor that they are read from.
//!
//! They are blocked and read as data, so that nothing ever runs in signal context. A worker
//! unblocks and ignores them: what an operator sends, he sends to the master.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sys;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Stop gracefully; a second one: at once.
    Stop,
    /// Reopen the access log.
    Reopen,
    /// Read the configuration again.
    Reload,
    /// Replace the program in place.
    Upgrade,
    /// See which children are dead.
    Reap,
}

const TABLE: [(Signal, Order); 7] = [
    (Signal::SIGTERM, Order::Stop),
    (Signal::SIGINT, Order::Stop),
    (Signal::SIGQUIT, Order::Stop),
    (Signal::SIGUSR1, Order::Reopen),
    (Signal::SIGHUP, Order::Reload),
    (Signal::SIGUSR2, Order::Upgrade),
    (Signal::SIGCHLD, Order::Reap),
];

/// The master's signals, blocked.
#[derive(Debug)]
pub(super) struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals of the table and opens their descriptor.
    pub(super) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for (signal, _) in TABLE {
            // Whoever started us may have ignored it: SIGCHLD ignored means no status to reap.
            sys::reset_signal(signal)?;
            set.add(signal);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            descriptor: SignalFd::with_flags(&set, flags)?,
        })
    }

    /// The next signal that came.
    pub(super) fn next(&self) -> io::Result<Option<(Signal, Order)>> {
        let Some(info) = self.descriptor.read_signal()? else {
            return Ok(None);
        };
        Ok(TABLE
            .into_iter()
            .find(|(signal, _)| *signal as u32 == info.ssi_signo))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::IGNORED_SIGNALS;

    #[test]
    fn a_worker_ignores_every_signal_that_the_master_acts_on() {
        for (signal, order) in TABLE {
            let is_ignored = IGNORED_SIGNALS.contains(&signal);
            assert_eq!(is_ignored, order != Order::Reap, "{signal}");
        }
    }
}
