//! Binding every address, or saying which one cannot be had and why.
//!
//! An address whose socket the service manager lends us is not bound again: see `activation`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::debug;

use super::{Activated, Listener, Listeners};

/// Connections that may wait in each queue; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug)]
pub(crate) struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

/// Binds every address, once for each slot, and listens: what connects from here on waits for the
/// workers. Takes the sockets that the service manager has bound already.
pub(crate) fn bind(
    addresses: &[SocketAddr],
    slots: usize,
    activated: &mut Activated,
) -> Result<Listeners, BindError> {
    let listeners = rebind(&Listeners::default(), addresses, slots, activated)?;
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
    activated: &mut Activated,
) -> Result<Listeners, BindError> {
    let slots = slots.max(existing.slots());
    let mut listeners = Listeners {
        slots: vec![Vec::new(); slots],
    };
    let mut spoken_for = Vec::new();
    for &asked in addresses {
        let held = match existing.at(asked, &spoken_for) {
            held if held.is_empty() => activated.claim(asked, slots),
            held => held,
        };
        spoken_for.extend(held.first().map(Listener::id));
        let is_ours = !held.is_empty() || existing.overlaps(asked);
        if asked.port() != 0 && !is_ours {
            probe(asked).map_err(|cause| BindError {
                address: asked,
                cause,
            })?;
        }
        let bound = bind_for_all(asked, &held, &mut listeners);
        bound.map_err(|cause| BindError {
            address: asked,
            cause,
        })?;
    }
    Ok(listeners)
}

/// Adds the sockets of one address to every slot: first those that there are.
fn bind_for_all(asked: SocketAddr, held: &[Listener], listeners: &mut Listeners) -> io::Result<()> {
    let mut address = held.first().map_or(asked, |first| first.address);
    for (slot, sockets) in listeners.slots.iter_mut().enumerate() {
        let listener = match (held.get(slot), held.first()) {
            (Some(held), _) => Listener {
                asked,
                ..held.clone()
            },
            (None, Some(first)) if first.is_lent => first.join(asked),
            (None, _) => Listener::bind(asked, address, true)?,
        };
        // Port 0: the first socket chooses, the rest follow it.
        address = listener.address;
        sockets.push(listener);
    }
    Ok(())
}

impl Listeners {
    /// The sockets of an address by slot, unless they are spoken for: one port 0 is not another.
    fn at(&self, asked: SocketAddr, spoken_for: &[u64]) -> Vec<Listener> {
        let place = self.of_slot(0).iter().position(|listener| {
            let is_same = listener.asked == asked || listener.address == asked;
            is_same && !spoken_for.contains(&listener.id)
        });
        let of_slots = self.slots.iter();
        place.map_or_else(Vec::new, |place| {
            of_slots
                .filter_map(|slot| slot.get(place).cloned())
                .collect()
        })
    }

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
    /// One that the service manager opened.
    pub(super) fn lent(socket: TcpListener, address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            id: SockRef::from(&socket).cookie()?,
            socket: Rc::new(socket),
            asked: address,
            address,
            is_lent: true,
        })
    }

    fn bind(asked: SocketAddr, address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        let socket = open(address)?;
        if address.is_ipv6() {
            // [::] and 0.0.0.0 are bound separately, whatever net.ipv6.bindv6only says.
            socket.set_only_v6(only_v6)?;
        }
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
            is_lent: false,
        })
    }

    /// One more beside one that was lent, if the kernel lets it (`ReusePort=yes`, and a manager that
    /// runs as the same user); else it is shared.
    fn join(&self, asked: SocketAddr) -> Self {
        // As the manager was told by BindIPv6Only=.
        let only_v6 = SockRef::from(&*self.socket).only_v6().unwrap_or(true);
        Self::bind(asked, self.address, only_v6).unwrap_or_else(|error| {
            debug!(address = %self.address, %error, "shares the socket of slot 0");
            self.clone()
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
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
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
    Ok(socket)
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no socket on {}: {}", self.address, self.cause)
    }
}

impl std::error::Error for BindError {}
