//! Sockets: bind, accept within limits, say who came.
//!
//! The master makes one `SO_REUSEPORT` socket for every address and worker slot, so the kernel
//! wakes one worker a connection, and keeps them all: a dead worker's queue waits for whoever
//! accepts from it next. Every worker inherits all of them, and accepts from those it is told.

mod accept;
mod activation;
mod bind;
mod quiesce;

use std::io;
use std::net::{SocketAddr, TcpListener};

pub(crate) use accept::{Downstream, Queue, Shortage};
pub(crate) use activation::Activated;
pub(crate) use bind::bind;

/// The listening sockets of all slots.
#[derive(Debug)]
pub(crate) struct Listeners {
    slots: Vec<Vec<Listener>>,
}

/// One listening socket: the queue of one slot at one address. Non-blocking.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    /// Address with the port in force.
    address: SocketAddr,
    /// It is the service manager's, who goes on with it after us.
    is_lent: bool,
}

impl Listeners {
    /// The sockets of a slot; none when there is no such slot or they were closed.
    pub(crate) fn of_slot(&self, slot: usize) -> &[Listener] {
        self.slots.get(slot).map_or(&[], Vec::as_slice)
    }

    /// Every address once, with the port in force.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.of_slot(0).iter().map(|listener| listener.address)
    }

    /// Closes this process's descriptors of the slots that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        for (slot, listeners) in self.slots.iter_mut().enumerate() {
            if !keep(slot) {
                listeners.clear();
            }
        }
    }

    /// Begins no further handshake on any socket, in no process; those in progress complete.
    /// To be called before the last descriptor is closed: see `quiesce`. A socket that was lent goes
    /// on: its newcomers wait for the next start.
    pub(crate) fn refuse_newcomers(&self) -> io::Result<()> {
        self.slots
            .iter()
            .flatten()
            .filter(|listener| !listener.is_lent)
            .try_for_each(|listener| quiesce::refuse_newcomers(&listener.socket))
    }
}

#[cfg(test)]
mod tests;
