//! A new connection: name, TCP, TLS, HTTP, within one limit over all of them.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use super::RequestBody;
use super::error::ConnectError;
use super::link::Link;
use super::resolve::{Addresses, Resolver};
use super::shared::Trunk;
use super::tls::Tls;
use crate::deadline::before;
use crate::transport::Transport;
use crate::vhost::{Backend, BackendHost};

/// Silence before the kernel asks a peer whether it is there, and between two such questions: for
/// tunnels, which may be silent without a limit.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

/// How long what was sent on a shared connection, a question of the kernel's included, may stay
/// unacknowledged: on a connection of HTTP/1 the limits of its one exchange see to that.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// What was done to get a connection; true at every moment, also when the wait for it is given up.
#[derive(Debug, Default)]
pub(crate) struct ConnectNotes {
    /// Waited for a free connection (`maxSockets`).
    pub(crate) waited: Cell<Duration>,
    /// Waited for the resolver; `None`: the host is an address, or that of the name was known.
    pub(crate) resolved: Cell<Option<Duration>>,
    /// Took the TCP connect, all addresses tried included.
    pub(crate) connected: Cell<Option<Duration>>,
    /// Took the TLS handshake.
    pub(crate) handshaken: Cell<Option<Duration>>,
    /// The address of the connection, or the last that was tried.
    pub(crate) peer: Cell<Option<SocketAddr>>,
    /// The connection was kept from an earlier exchange.
    pub(crate) is_reused: Cell<bool>,
}

/// Notes how long it lived, so that a wait that is dropped is noted, too.
pub(super) struct Stopwatch<N: Fn(Duration)> {
    since: Instant,
    note: N,
}

impl<N: Fn(Duration)> Stopwatch<N> {
    pub(super) fn start(note: N) -> Self {
        Self {
            since: Instant::now(),
            note,
        }
    }
}

impl<N: Fn(Duration)> Drop for Stopwatch<N> {
    fn drop(&mut self) {
        (self.note)(self.since.elapsed());
    }
}

/// What new connections are made with.
pub(super) struct Connector {
    resolver: Rc<Resolver>,
    tls: Tls,
}

impl Connector {
    pub(super) fn new(resolver: Rc<Resolver>, tls: Tls) -> Self {
        Self { resolver, tls }
    }

    /// Connects for HTTP/1. Dropped half way, nothing is left but a look-up that others may profit
    /// from.
    pub(super) async fn connect<B: RequestBody>(
        &self,
        backend: &Backend,
        deadline: Option<Instant>,
        notes: &ConnectNotes,
    ) -> Result<Link<B>, ConnectError> {
        let (stream, peer) = self.reach(backend, deadline, notes).await?;
        Ok(Link::new(stream, peer))
    }

    /// The same for HTTP/2, until the backend has said what it allows.
    pub(super) async fn connect_shared(
        &self,
        backend: &Backend,
        deadline: Option<Instant>,
        notes: &ConnectNotes,
    ) -> Result<Trunk, ConnectError> {
        let (stream, peer) = self.reach(backend, deadline, notes).await?;
        // Longer than one request may wait, a connection for many is not left in doubt.
        let silence = SockRef::from(stream.tcp()).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        silence.map_err(ConnectError::Unreachable)?;
        match before(deadline, Trunk::begin(stream, peer)).await {
            Some(Ok(trunk)) => Ok(trunk),
            Some(Err(error)) => Err(ConnectError::from_http2(error)),
            None => Err(ConnectError::TimedOut),
        }
    }

    /// Name, TCP and TLS.
    async fn reach(
        &self,
        backend: &Backend,
        deadline: Option<Instant>,
        notes: &ConnectNotes,
    ) -> Result<(Transport, SocketAddr), ConnectError> {
        let addresses = self.resolve(&backend.host, deadline, notes).await?;
        let (tcp, peer) = {
            let _watch = Stopwatch::start(|took| notes.connected.set(Some(took)));
            connect_tcp(&addresses, backend.port, deadline, notes).await?
        };
        let stream = match backend.scheme.is_tls() {
            false => Transport::Plain(tcp),
            true => {
                let _watch = Stopwatch::start(|took| notes.handshaken.set(Some(took)));
                let hands = self.tls.shake_hands(tcp, backend);
                let tls = before(deadline, hands)
                    .await
                    .unwrap_or(Err(ConnectError::TimedOut))?;
                Transport::tls(tls)
            }
        };
        Ok((stream, peer))
    }

    async fn resolve(
        &self,
        host: &BackendHost,
        deadline: Option<Instant>,
        notes: &ConnectNotes,
    ) -> Result<Addresses, ConnectError> {
        let name = match host {
            BackendHost::Ip(ip) => return Ok(Rc::new([*ip])),
            BackendHost::Name(name) => name,
        };
        if let Some(known) = self.resolver.known(name) {
            return known;
        }
        let _watch = Stopwatch::start(|took| notes.resolved.set(Some(took)));
        self.resolver.resolve(name, deadline).await
    }
}

/// Tries the addresses in turn, each within its share of the time that is left.
async fn connect_tcp(
    addresses: &[IpAddr],
    port: u16,
    deadline: Option<Instant>,
    notes: &ConnectNotes,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut last = ConnectError::TimedOut;
    for (tried, ip) in in_turn(addresses).into_iter().enumerate() {
        let peer = SocketAddr::new(ip, port);
        notes.peer.set(Some(peer));
        let share = deadline.map(|deadline| share_of(deadline, addresses.len() - tried));
        last = match before(share, open(peer)).await {
            Some(Ok(tcp)) => return Ok((tcp, peer)),
            Some(Err(error)) => ConnectError::from_connect(error, peer),
            None => ConnectError::TimedOut,
        };
    }
    Err(last)
}

/// The order in which addresses are tried: at random, so that all of a name's backends get their
/// part, but the family that the system prefers (RFC 6724) stays in front.
fn in_turn(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut order = addresses.to_vec();
    if let [first, _, ..] = addresses {
        fastrand::shuffle(&mut order);
        order.sort_by_key(|ip| ip.is_ipv4() != first.is_ipv4());
    }
    order
}

/// When the next of so many tries must be over for all to have the same time.
fn share_of(deadline: Instant, tries: usize) -> Instant {
    let now = Instant::now();
    let tries = u32::try_from(tries).unwrap_or(u32::MAX).max(1);
    now + deadline.saturating_duration_since(now) / tries
}

async fn open(peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = match peer {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Heads and chunks are written whole: nothing is gained by waiting for more.
    socket.set_nodelay(true)?;
    let (silence, interval) = KEEPALIVE;
    let keepalive = TcpKeepalive::new()
        .with_time(silence)
        .with_interval(interval);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    socket.connect(peer).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shuffled_within_the_preferred_family_first() {
        let parse =
            |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
        let cases = [
            (vec![], vec![]),
            (vec!["10.0.0.1"], vec![true]),
            (vec!["::1", "127.0.0.1"], vec![false, true]),
            (vec!["10.0.0.1", "::1", "10.0.0.2"], vec![true, true, false]),
            (vec!["::1", "10.0.0.1", "::2"], vec![false, false, true]),
        ];
        for (list, expected) in cases {
            let order = in_turn(&parse(&list));
            let families: Vec<bool> = order.iter().map(IpAddr::is_ipv4).collect();
            assert_eq!(families, expected, "{list:?}");
        }
        let four = parse(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        let first = in_turn(&four)[0];
        assert!((0..1000).any(|_| in_turn(&four)[0] != first));
    }

    #[test]
    fn each_try_gets_its_share_of_the_time_left() {
        let deadline = Instant::now() + Duration::from_secs(10);
        for (tries, seconds) in [(1, 10), (2, 5), (5, 2), (0, 10)] {
            let share = share_of(deadline, tries).saturating_duration_since(Instant::now());
            let expected = Duration::from_secs(seconds);
            assert!(share <= expected, "{tries}: {share:?}");
            assert!(
                share > expected - Duration::from_millis(500),
                "{tries}: {share:?}"
            );
        }
        assert!(share_of(Instant::now() - Duration::from_secs(1), 3) <= Instant::now());
    }
}
