//! Binding every address, or saying which one cannot be had and why.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Listener, Listeners};

/// Connections that may wait in each queue; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that cannot be listened on.
#[derive(Debug)]
pub(crate) struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

/// Binds every address, once for each slot.
pub(crate) fn bind(addresses: &[SocketAddr], slots: usize) -> Result<Listeners, BindError> {
    let mut listeners = Listeners {
        slots: (0..slots).map(|_| Vec::new()).collect(),
    };
    for &address in addresses {
        bind_for_all(address, &mut listeners).map_err(|cause| BindError { address, cause })?;
    }
    Ok(listeners)
}

fn bind_for_all(mut address: SocketAddr, listeners: &mut Listeners) -> io::Result<()> {
    if address.port() != 0 {
        probe(address)?;
    }
    for slot in &mut listeners.slots {
        let socket = open(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = std::net::TcpListener::from(socket);
        // Port 0: the first socket chooses, the rest follow it.
        address.set_port(socket.local_addr()?.port());
        slot.push(Listener { socket, address });
    }
    Ok(())
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
