//! A usable connection to a backend, new or reused, within limits.
//!
//! ```text
//! acquire ── pool: kept? ──yes──→ Upstream ── send, poll_… ──→ release ──→ pool
//!              │ no: claim a place, or wait for one                into_tunnel → relay
//!              └──→ connect: resolve → TCP → TLS → HTTP
//! ```
//!
//! A backend of HTTP/2 is shared: `acquire` leads to a stream on a connection that others use, too.
//!
//! Comes after the pick and before the relay. Invariant: to one backend (scheme, host and port) a
//! worker never has more than `maxSockets` connections, tunnels and those being opened included.

mod answer;
mod connect;
mod error;
mod held;
mod http1;
mod link;
mod pool;
mod probe;
mod resolve;
mod shared;
mod tls;
mod trailers;

use std::error::Error;
use std::hash::{Hash, Hasher};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

use connect::{Connector, Stopwatch};
use link::Link;
use pool::{Claim, Grant, Limits, Pool, Turn};
use resolve::{AGES, Resolver, look_up};
use shared::{Groups, Patience, Sender};
use tls::Tls;

use crate::config::Config;
use crate::deadline::{after, before};
use crate::scoreboard::{Counter, Seat};
use crate::vhost::Backend;

pub(crate) use answer::AnswerError;
pub(crate) use connect::ConnectNotes;
pub(crate) use error::ConnectError;
pub(crate) use held::{TunnelIo, Upstream};
use link::Alone;
pub(crate) use link::Place;
pub(crate) use shared::OpenError;
pub(crate) use trailers::clean_trailers;

/// How long a connection is kept idle: below the 5 s after which Node, the usual backend, closes it,
/// as a request that crosses the close on the wire is lost or must be retried.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// The pause between two sweeps of idle connections. One that is too old is not used before it is
/// swept, either.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The body of a request to a backend.
pub(crate) trait RequestBody:
    Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static
{
}

impl<B> RequestBody for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static
{
}

/// Which connection is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A kept one if there is one that is not known to be closed.
    Any,
    /// A kept one only if the kernel has heard nothing of its end at this very moment: for requests
    /// that may not be repeated.
    Alive,
    /// A new one.
    Fresh,
}

/// All connections of a worker to backends.
pub(crate) struct Upstreams<B: RequestBody> {
    pool: Rc<Pool<Origin, Link<B>>>,
    shared: Rc<Groups<Origin, Sender>>,
    patience: Patience,
    connector: Connector,
    /// Limit of one acquisition as a whole.
    connect_limit: Option<Duration>,
    seat: Seat,
}

/// What connections are kept by: scheme, host and port of a backend, whatever else its URL says.
#[derive(Clone)]
struct Origin(Rc<Backend>);

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&*self.0, &*other.0);
        one.port == two.port && one.scheme == two.scheme && one.host == two.host
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let backend = &*self.0;
        (backend.port, backend.scheme, &backend.host).hash(state);
    }
}

impl<B: RequestBody> Upstreams<B> {
    /// Starts the sweeper, a task that ends within a second after the last handle is dropped.
    pub(crate) fn start(config: &Config, seat: Seat) -> Rc<Self> {
        let server = &config.server;
        let limits = Limits {
            claims: server.max_sockets.max(1),
            idle: server.http_keep_alive.then_some(IDLE_LIMIT),
        };
        let connector = Connector::new(
            Resolver::new(look_up, AGES),
            Tls::new(server.backend_tls.clone()),
        );
        let upstreams = Rc::new(Self {
            pool: Pool::new(limits),
            shared: Groups::new(limits, shared::is_open),
            patience: Patience::default(),
            connector,
            connect_limit: server.timeouts.connect,
            seat,
        });
        upstreams.start_sweeper(SWEEP_INTERVAL);
        upstreams
    }

    /// A usable connection or stream, kept or new, within `maxSockets` and the connect limit.
    ///
    /// `notes` say what was done, also where it fails or is dropped half way. Dropped, it leaves its
    /// place in the queue and takes no connection from others.
    ///
    /// # Errors
    ///
    /// Nothing was sent in any of them, so the request may go elsewhere.
    pub(crate) async fn acquire(
        self: &Rc<Self>,
        backend: &Rc<Backend>,
        want: Want,
        notes: &ConnectNotes,
        now: Instant,
    ) -> Result<Upstream<B>, ConnectError> {
        if backend.scheme.is_http2() {
            let stream = self.acquire_shared(backend, notes).await?;
            return Ok(Upstream::Shared(Box::new(stream)));
        }
        let alone = self.acquire_alone(backend, want, notes, now).await?;
        Ok(Upstream::Alone(alone))
    }

    async fn acquire_alone(
        self: &Rc<Self>,
        backend: &Rc<Backend>,
        want: Want,
        notes: &ConnectNotes,
        now: Instant,
    ) -> Result<Alone<B>, ConnectError> {
        let origin = Origin(Rc::clone(backend));
        if let Some(kept) = self.take_kept(&origin, want, now) {
            return Ok(self.note_reuse(kept, notes));
        }
        let deadline = after(now, self.connect_limit);
        let claim = match self.pool.claim(&origin) {
            Turn::Now(claim) => claim,
            Turn::Never => return Err(ConnectError::LimitReached),
            Turn::Later(turn) => match self.wait(turn, deadline, notes).await? {
                Grant::New(claim) => claim,
                // The link, if it is not usable, is closed here and its place is ours.
                Grant::Kept(link, claim) => match renew(link, claim, want) {
                    Ok(kept) => return Ok(self.note_reuse(kept, notes)),
                    Err(claim) => claim,
                },
            },
        };
        // Boxed, so that the common case does not carry the states of a handshake.
        let link = Box::pin(self.connector.connect(&origin.0, deadline, notes)).await?;
        self.seat.add(Counter::UpstreamConnects, 1);
        Ok(Alone::new(link, claim))
    }

    /// The first kept connection that is still usable; those that are not are closed on the way.
    fn take_kept(&self, origin: &Origin, want: Want, now: Instant) -> Option<Alone<B>> {
        if want == Want::Fresh {
            return None;
        }
        loop {
            let (link, claim) = self.pool.take(origin, now)?;
            if let Ok(upstream) = renew(link, claim, want) {
                return Some(upstream);
            }
        }
    }

    /// When an acquisition that begins now must be over.
    fn deadline(&self) -> Option<Instant> {
        after(Instant::now(), self.connect_limit)
    }

    /// Waits in the queue of the backend.
    async fn wait(
        &self,
        turn: oneshot::Receiver<Grant<Origin, Link<B>>>,
        deadline: Option<Instant>,
        notes: &ConnectNotes,
    ) -> Result<Grant<Origin, Link<B>>, ConnectError> {
        self.seat.add(Counter::UpstreamWaits, 1);
        let _watch = Stopwatch::start(|took| notes.waited.set(took));
        match before(deadline, turn).await {
            Some(Ok(grant)) => Ok(grant),
            Some(Err(_)) | None => Err(ConnectError::LimitReached),
        }
    }

    fn note_reuse(&self, kept: Alone<B>, notes: &ConnectNotes) -> Alone<B> {
        self.seat.add(Counter::UpstreamReuses, 1);
        notes.is_reused.set(true);
        notes.peer.set(Some(kept.peer()));
        kept
    }

    fn start_sweeper(self: &Rc<Self>, pause: Duration) {
        let upstreams = Rc::downgrade(self);
        tokio::task::spawn_local(sweep_while_alive(upstreams, pause));
    }

    /// Closes what is idle for too long or was closed by its backend.
    fn sweep(&self, now: Instant) {
        self.pool.sweep(now, Link::is_quiet);
        self.shared.sweep(now);
    }
}

/// Makes a kept connection ready for a further exchange, or closes it and leaves its place.
fn renew<B: RequestBody>(
    mut link: Link<B>,
    claim: Claim<Origin, Link<B>>,
    want: Want,
) -> Result<Alone<B>, Claim<Origin, Link<B>>> {
    let is_usable = match want {
        Want::Any => link.is_quiet(),
        Want::Alive => link.is_quiet_by_kernel(),
        Want::Fresh => false,
    };
    if !is_usable {
        return Err(claim);
    }
    Ok(Alone::new(link, claim))
}

/// The sweeper's life: it keeps nothing alive.
async fn sweep_while_alive<B: RequestBody>(upstreams: Weak<Upstreams<B>>, pause: Duration) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(upstreams) = upstreams.upgrade() else {
            return;
        };
        upstreams.sweep(Instant::now());
    }
}

#[cfg(test)]
mod tests;
