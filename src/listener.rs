//! Sockets: bind, accept within limits, say who came.
//!
//! The master makes one `SO_REUSEPORT` socket for every address and slot, so the kernel wakes one
//! worker a connection, and keeps them all: a dead worker's queue waits for whoever accepts from it
//! next. Every worker inherits all of them, and accepts from those it is told. A reload keeps the
//! sockets of addresses that stay: two sets share them then.

mod accept;
mod activation;
mod bind;
mod handed;
mod proxied;
mod proxy_header;
mod quiesce;
mod tls_facts;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

pub(crate) use accept::{Accepted, Downstream, Queue, Shortage};
pub(crate) use activation::Activated;
pub(crate) use bind::{bind, rebind};
pub(crate) use handed::Handed;
pub(crate) use proxied::read_proxy_header;
pub(crate) use proxy_header::Proxied;
pub(crate) use tls_facts::TlsFacts;

/// The listening sockets of all slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    slots: Vec<Vec<Listener>>,
}

/// One socket: the queue of one slot at one address. Non-blocking. Clones are the same socket.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    socket: Rc<TcpListener>,
    /// What the kernel calls it: the same in every process, and never given to another socket.
    id: u64,
    /// Address as it was asked for: port 0 lets the system choose.
    asked: SocketAddr,
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

    /// How many slots there are, those included that have no worker any more.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Every address once, with the port in force.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.of_slot(0).iter().map(|listener| listener.address)
    }

    /// Those that the other set has not.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let kept: Vec<u64> = other.iter().map(Listener::id).collect();
        let mut rest = self.clone();
        rest.retain(|id| !kept.contains(&id));
        rest
    }

    /// All sockets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.slots.iter().flatten()
    }

    /// Closes this set's descriptors of the sockets that are not to be kept.
    pub(crate) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        for listeners in &mut self.slots {
            listeners.retain(|listener| keep(listener.id));
        }
    }

    /// Begins no further handshake on any socket, in no process; those in progress complete.
    /// To be called before the last descriptor is closed: see `quiesce`. A socket that was lent goes
    /// on: its newcomers wait for the next start.
    pub(crate) fn refuse_newcomers(&self) -> io::Result<()> {
        self.iter()
            .filter(|listener| !listener.is_lent)
            .try_for_each(|listener| quiesce::refuse_newcomers(&listener.socket))
    }
}

impl Listener {
    /// The number of the socket.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether it was told to begin no further handshake, by any process: nobody accepts from it
    /// in the end.
    pub(crate) fn refuses_newcomers(&self) -> bool {
        quiesce::refuses_newcomers(&self.socket)
    }
}

#[cfg(test)]
mod tests;
