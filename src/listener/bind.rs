//! Binding every address, or saying which one cannot be had and why.
//!
//! An address whose socket the service manager lends us is not bound again: see `activation`.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

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

/// Binds every address, once for each slot; takes the sockets that the service manager has bound
/// already.
pub(crate) fn bind(
    addresses: &[SocketAddr],
    slots: usize,
    activated: &mut Activated,
) -> Result<Listeners, BindError> {
    let mut listeners = Listeners {
        slots: (0..slots).map(|_| Vec::new()).collect(),
    };
    for &address in addresses {
        let lent = activated.claim(address, slots);
        let bound = if lent.is_empty() {
            bind_for_all(address, &mut listeners)
        } else {
            share(lent, address, &mut listeners)
        };
        bound.map_err(|cause| BindError { address, cause })?;
    }
    Ok(listeners)
}

/// Gives the sockets that were lent to the first slots. Those of the others join them, if the kernel
/// lets them (`ReusePort=yes`, and a manager that runs as the same user); else they share the first.
fn share(lent: Vec<TcpListener>, address: SocketAddr, listeners: &mut Listeners) -> io::Result<()> {
    let first = lent[0].try_clone()?;
    let mut lent = lent.into_iter();
    for (index, slot) in listeners.slots.iter_mut().enumerate() {
        let (socket, is_lent) = match lent.next() {
            Some(socket) => (socket, true),
            None => match join(&first, address) {
                Ok(socket) => (socket, false),
                Err(error) => {
                    debug!(slot = index, %address, %error, "shares the socket of slot 0");
                    (first.try_clone()?, true)
                }
            },
        };
        slot.push(Listener {
            socket,
            address,
            is_lent,
        });
    }
    Ok(())
}

fn join(first: &TcpListener, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address)?;
    if address.is_ipv6() {
        // As the manager was told by BindIPv6Only=.
        socket.set_only_v6(SockRef::from(first).only_v6()?)?;
    }
    listen(&socket, address)?;
    Ok(socket.into())
}

fn bind_for_all(mut address: SocketAddr, listeners: &mut Listeners) -> io::Result<()> {
    if address.port() != 0 {
        probe(address)?;
    }
    for slot in &mut listeners.slots {
        let socket = open(address)?;
        listen(&socket, address)?;
        let socket = TcpListener::from(socket);
        // Port 0: the first socket chooses, the rest follow it.
        address.set_port(socket.local_addr()?.port());
        slot.push(Listener {
            socket,
            address,
            is_lent: false,
        });
    }
    Ok(())
}

fn listen(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)
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
