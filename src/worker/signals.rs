//! What a worker does on signals: nothing.
//!
//! What an operator sends, he sends to the master, which tells the workers through their channels;
//! a key pressed in a terminal reaches the whole group, and means the same.

use std::io;

use nix::sys::signal::{SigSet, Signal};

use crate::sys;

/// The signals that the master coordinates.
pub(crate) const IGNORED: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Ignores the master's signals and unblocks all.
pub(super) fn leave_to_master() -> io::Result<()> {
    // Ignored before they are unblocked: one that came since the fork is discarded.
    for signal in IGNORED {
        sys::ignore_signal(signal)?;
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}
