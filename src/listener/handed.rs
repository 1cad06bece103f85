//! Sockets that go from one image of this program to the next, by the numbers of their descriptors.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::{Listener, Listeners};

/// One socket, as it is written down.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Handed {
    pub(crate) descriptor: RawFd,
    asked: SocketAddr,
    address: SocketAddr,
    is_lent: bool,
}

impl Listeners {
    /// Writes all down; `add` puts a descriptor among those that stay open, and gives its number.
    pub(crate) fn hand_over<'a>(
        &'a self,
        mut add: impl FnMut(BorrowedFd<'a>) -> RawFd,
    ) -> Vec<Vec<Handed>> {
        let mut write = |listener: &'a Listener| Handed {
            descriptor: add(listener.socket.as_fd()),
            asked: listener.asked,
            address: listener.address,
            is_lent: listener.is_lent,
        };
        let slots = self.slots.iter();
        slots
            .map(|slot| slot.iter().map(&mut write).collect())
            .collect()
    }

    /// Takes over what was written down; `open` gives a descriptor by its number.
    pub(crate) fn take_over(
        slots: &[Vec<Handed>],
        open: impl Fn(RawFd) -> io::Result<OwnedFd>,
    ) -> io::Result<Self> {
        let read = |handed: &Handed| {
            let socket = TcpListener::from(open(handed.descriptor)?);
            Ok(Listener {
                id: SockRef::from(&socket).cookie()?,
                socket: Rc::new(socket),
                asked: handed.asked,
                address: handed.address,
                is_lent: handed.is_lent,
            })
        };
        let slots = slots.iter();
        let slots = slots.map(|slot| slot.iter().map(read).collect());
        Ok(Self {
            slots: slots.collect::<io::Result<_>>()?,
        })
    }
}
