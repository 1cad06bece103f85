//! Binding every address, or saying which one cannot be had and why.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Listener, Listeners};

/// Connections that may wait in each queue; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug)]
pub(crate) struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

/// Binds every address, once for each slot, and listens: what connects from here on waits for the
/// workers.
pub(crate) fn bind(addresses: &[SocketAddr], slots: usize) -> Result<Listeners, BindError> {
    let listeners = rebind(&Listeners::default(), addresses, slots)?;
    for listener in listeners.iter() {
        let address = listener.address;
        listener
            .listen()
            .map_err(|cause| BindError { address, cause })?;
    }
    Ok(listeners)
}

/// The sockets of these addresses for so many slots, at least as many as there are: those that
/// exist, and new ones for the rest. A new socket does not listen yet, so that nobody is led to it
/// before somebody accepts there.
pub(crate) fn rebind(
    existing: &Listeners,
    addresses: &[SocketAddr],
    slots: usize,
) -> Result<Listeners, BindError> {
    let mut listeners = Listeners {
        slots: vec![Vec::new(); slots.max(existing.slots())],
    };
    let mut spoken_for = Vec::new();
    for &address in addresses {
        let known = existing.of_slot(0).iter().position(|listener| {
            let is_same = listener.asked == address || listener.address == address;
            is_same && !spoken_for.contains(&listener.id)
        });
        spoken_for.extend(known.map(|place| existing.of_slot(0)[place].id));
        bind_for_all(address, (existing, known), &mut listeners)
            .map_err(|cause| BindError { address, cause })?;
    }
    Ok(listeners)
}

/// Adds the sockets of one address to every slot. `known` is its place among those that exist.
fn bind_for_all(
    asked: SocketAddr,
    (existing, known): (&Listeners, Option<usize>),
    listeners: &mut Listeners,
) -> io::Result<()> {
    let mut address = match known {
        Some(place) => existing.of_slot(0)[place].address,
        None if asked.port() == 0 || existing.overlaps(asked) => asked,
        None => {
            probe(asked)?;
            asked
        }
    };
    for (slot, sockets) in listeners.slots.iter_mut().enumerate() {
        let kept = known.and_then(|place| existing.of_slot(slot).get(place));
        let listener = match kept {
            Some(kept) => Listener {
                asked,
                ..kept.clone()
            },
            None => Listener::bind(asked, address)?,
        };
        // Port 0: the first socket chooses, the rest follow it.
        address = listener.address;
        sockets.push(listener);
    }
    Ok(())
}

impl Listeners {
    /// Whether a socket of ours has the same port, on another address of the family: on all of them,
    /// or this one is. The kernel would call it in use.
    fn overlaps(&self, address: SocketAddr) -> bool {
        self.iter().any(|listener| {
            listener.address.port() == address.port()
                && listener.address.is_ipv4() == address.is_ipv4()
        })
    }
}

impl Listener {
    fn bind(asked: SocketAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = open(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let id = socket.cookie()?;
        let socket = TcpListener::from(socket);
        Ok(Self {
            id,
            asked,
            address: socket.local_addr()?,
            socket: Rc::new(socket),
        })
    }

    /// Lets clients in; does nothing where they are.
    pub(super) fn listen(&self) -> io::Result<()> {
        SockRef::from(&*self.socket).listen(BACKLOG)
    }
}

/// Binds once without sharing: sockets that share a port would join those of a second proxy by the
/// same user without an error, and each would get some of the other's connections.
fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = open(address)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    // Closed in a program that is executed: `Socket::new` says so to the kernel.
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of a former process that are still closing do not hold the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::] and 0.0.0.0 are bound separately, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no socket on {}: {}", self.address, self.cause)
    }
}

impl std::error::Error for BindError {}
