//! Taking connections from a queue, and pausing when there is no room for another.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::{Listener, Proxied, TlsFacts};
use crate::telemetry::{Event, emit};
use crate::transport::Transport;

/// At most one complaint about a shortage in this time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// A connection, as it comes from the queue.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The connection, without delay for small writes.
    pub(crate) stream: TcpStream,
    /// Who came; an IPv4 address is never in its mapped IPv6 form.
    pub(crate) peer: SocketAddr,
    /// The address that was connected to.
    pub(crate) local: SocketAddr,
    /// The address of the configuration that this is.
    pub(crate) asked: SocketAddr,
}

/// A client's connection, ready for HTTP.
#[derive(Debug)]
pub(crate) struct Downstream {
    /// The connection, without delay for small writes.
    pub(crate) stream: Transport,
    /// What was agreed on, if it speaks TLS.
    pub(crate) tls: Option<TlsFacts>,
    /// The listener expects TLS, and the client began without it.
    pub(crate) misses_tls: bool,
    /// Who came; an IPv4 address is never in its mapped IPv6 form.
    pub(crate) peer: SocketAddr,
    /// The address that was connected to.
    pub(crate) local: SocketAddr,
    /// Who stands behind the peer, and whom he asked for, where a PROXY header told.
    pub(crate) proxied: Option<Proxied>,
    /// Which connection of the worker this is, from 1.
    pub(crate) number: u64,
}

/// Whether there is room for another connection, and when a lack of it was last told; one for all
/// queues of a worker.
///
/// A request needs a second descriptor, to its backend: with all of them given to clients nobody
/// would be served. So clients wait in the queue while half of them are taken. The kernel gives the
/// lowest free number, so a number below the half says that there is room.
#[derive(Debug)]
pub(crate) struct Shortage {
    told: Cell<Option<Instant>>,
    /// Numbers from here on are not for clients.
    room: RawFd,
}

/// What an error of `accept` is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The queue is empty.
    Empty,
    /// One connection, which is gone already.
    Connection,
    /// This process or the machine.
    Resource,
}

/// The queue of one listening socket, on this worker's runtime.
#[derive(Debug)]
pub(crate) struct Queue {
    socket: TcpListener,
    /// Address as it was asked for.
    asked: SocketAddr,
    /// Address with the port in force.
    address: SocketAddr,
}

impl Listener {
    /// Puts the socket on the current runtime, through a descriptor of its own. What is in the queue
    /// already is accepted, too: a poller tells of it when the socket is added.
    pub(crate) fn open_queue(&self) -> io::Result<Queue> {
        self.listen()?;
        Ok(Queue {
            socket: TcpListener::from_std(self.socket.try_clone()?)?,
            asked: self.asked,
            address: self.address,
        })
    }

    /// Accepts what is in the queue now, and gives the number. The queue of a socket that was lent
    /// outlives us: what is in it waits for the next start.
    ///
    /// Asks the kernel itself: the runtime knows only what its poller told it last.
    pub(crate) fn empty_queue(&self, receive: impl Fn(Accepted)) -> io::Result<usize> {
        if self.is_lent {
            return Ok(0);
        }
        let mut count = 0;
        loop {
            let (stream, peer) = match self.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) => match Fault::of(&error) {
                    Fault::Empty => return Ok(count),
                    Fault::Connection => continue,
                    Fault::Resource => return Err(error),
                },
            };
            stream.set_nonblocking(true)?;
            let bound = (self.asked, self.address);
            receive(introduce(bound, TcpStream::from_std(stream)?, peer));
            count += 1;
        }
    }
}

impl Queue {
    /// Accepts for ever, each connection handed to `receive`.
    /// Cancel safe: a connection is either still in the queue or was handed over.
    pub(crate) async fn accept_each(&self, shortage: &Shortage, receive: impl Fn(Accepted)) {
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    let is_last = stream.as_raw_fd() >= shortage.room;
                    receive(introduce((self.asked, self.address), stream, peer));
                    if is_last {
                        shortage.wait_for_room(&self.socket).await;
                    }
                }
                Err(error) if Fault::of(&error) == Fault::Resource => shortage.pause(&error).await,
                // A client that left while it queued. The next may be there already.
                Err(_) => {}
            }
        }
    }
}

impl Shortage {
    /// For a queue whose connections are few and need no second descriptor.
    pub(crate) fn unreserved() -> Self {
        Self {
            told: Cell::new(None),
            room: RawFd::MAX,
        }
    }

    /// Room as the limit of this process has it.
    pub(crate) fn new() -> Self {
        // Where it cannot be read or is endless, `accept` itself will tell of a shortage.
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let room = RawFd::try_from(limit / 2).unwrap_or(RawFd::MAX);
        Self {
            told: Cell::default(),
            room: if room == 0 { RawFd::MAX } else { room },
        }
    }

    /// Waits until a new descriptor would leave enough for connections to backends.
    async fn wait_for_room(&self, any: &impl AsFd) {
        let error = io::Error::other("half of all descriptors are taken, the rest is for backends");
        loop {
            self.pause(&error).await;
            // A copy, closed at once, takes the number that the next connection would get.
            match any.as_fd().try_clone_to_owned() {
                Ok(copy) if copy.as_raw_fd() >= self.room => {}
                // An error here is met again by `accept`, which tells it.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Waits a little, so that a connection may end meanwhile; tells why at most once a minute.
    async fn pause(&self, error: &io::Error) {
        let now = Instant::now();
        let is_due = self
            .told
            .get()
            .is_none_or(|told| now.duration_since(told) >= COMPLAINT_INTERVAL);
        if is_due {
            self.told.set(Some(now));
            emit(&Event::Problem {
                doing: "accepting connections; they wait in the queue",
                error,
            });
        }
        // Not the same for all workers, or they would wake and fail together.
        sleep(Duration::from_millis(fastrand::u64(50..100))).await;
    }
}

fn introduce(
    (asked, bound): (SocketAddr, SocketAddr),
    stream: TcpStream,
    peer: SocketAddr,
) -> Accepted {
    // Both fail only when the client has already left, which reading from it will show.
    let _ = stream.set_nodelay(true);
    let local = if bound.ip().is_unspecified() {
        stream.local_addr().unwrap_or(bound)
    } else {
        bound
    };
    Accepted {
        stream,
        peer: unmap(peer),
        local,
        asked,
    }
}

impl Downstream {
    /// The client, as far as is known from the connection.
    pub(crate) fn client(&self) -> SocketAddr {
        self.proxied.map_or(self.peer, |proxied| proxied.source)
    }

    /// The port that the client connected to.
    pub(crate) fn port(&self) -> u16 {
        let asked = self
            .proxied
            .map_or(self.local, |proxied| proxied.destination);
        asked.port()
    }
}

impl Fault {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock => return Self::Empty,
            ErrorKind::Interrupted => return Self::Connection,
            _ => {}
        }
        // accept(2), "Error handling": errors already pending on the new connection are passed on
        // and are to be treated like EAGAIN by trying again. EPERM: a firewall's rule.
        match error.raw_os_error() {
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::EOPNOTSUPP
                | libc::ETIMEDOUT
                | libc::EPERM,
            ) => Self::Connection,
            _ => Self::Resource,
        }
    }
}

/// The address without its mapping: `::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 §2.5.5.2).
fn unmap(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shortage_makes_the_queue_wait() {
        let cases = [
            (libc::EAGAIN, Fault::Empty),
            (libc::EINTR, Fault::Connection),
            (libc::ECONNABORTED, Fault::Connection),
            (libc::EHOSTUNREACH, Fault::Connection),
            (libc::EMFILE, Fault::Resource),
            (libc::ENFILE, Fault::Resource),
            (libc::ENOMEM, Fault::Resource),
            (libc::ENOBUFS, Fault::Resource),
            (libc::EBADF, Fault::Resource),
        ];
        for (code, expected) in cases {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(Fault::of(&error), expected, "{error}");
        }
    }

    #[test]
    fn a_mapped_address_is_told_as_ipv4_and_others_as_they_are() {
        let cases = [
            ("[::ffff:192.0.2.1]:80", "192.0.2.1:80"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
        ];
        for (from, to) in cases {
            assert_eq!(unmap(from.parse().unwrap()).to_string(), to, "{from}");
        }
    }
}
