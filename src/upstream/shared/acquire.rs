//! A stream on a shared connection: on one that has room, on a new one, or after a wait.

use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Driver, Grant, Lease, Opening, Sender, Stream, Turn};
use crate::deadline::before;
use crate::scoreboard::Counter;
use crate::upstream::connect::Stopwatch;
use crate::upstream::{ConnectError, ConnectNotes, Origin, RequestBody, Upstreams};
use crate::vhost::Backend;

impl<B: RequestBody> Upstreams<B> {
    /// A stream, within what the backend allows, `maxSockets` and the connect limit.
    pub(in crate::upstream) async fn acquire_shared(
        &self,
        backend: &Rc<Backend>,
        notes: &ConnectNotes,
    ) -> Result<Stream<B>, ConnectError> {
        let origin = Origin(Rc::clone(backend));
        match self.shared.ask(&origin) {
            Turn::Now(Grant::Stream(lease)) => Ok(self.note_stream(lease, notes)),
            // Boxed, so that the common case does not carry the states of a handshake.
            turn => Box::pin(self.acquire_later(&origin, turn, notes)).await,
        }
    }

    async fn acquire_later(
        &self,
        origin: &Origin,
        turn: Turn<Origin, Sender>,
        notes: &ConnectNotes,
    ) -> Result<Stream<B>, ConnectError> {
        let deadline = self.deadline();
        let grant = match turn {
            Turn::Now(grant) => grant,
            Turn::Never => return Err(ConnectError::LimitReached),
            Turn::Later(turn) => self.wait_shared(origin, turn, deadline, notes).await?,
        };
        match grant {
            Grant::Stream(lease) => Ok(self.note_stream(lease, notes)),
            Grant::Open(opening) => self.open(origin, opening, deadline, notes).await,
        }
    }

    /// Waits for room on a connection, or for the right to open one.
    async fn wait_shared(
        &self,
        origin: &Origin,
        turn: oneshot::Receiver<Grant<Origin, Sender>>,
        deadline: Option<Instant>,
        notes: &ConnectNotes,
    ) -> Result<Grant<Origin, Sender>, ConnectError> {
        self.seat.add(Counter::UpstreamWaits, 1);
        let _watch = Stopwatch::start(|took| notes.waited.set(took));
        match before(deadline, turn).await {
            Some(Ok(grant)) => Ok(grant),
            // All wait for the one who connects.
            None if self.shared.is_opening(origin) => Err(ConnectError::TimedOut),
            Some(Err(_)) | None => Err(ConnectError::LimitReached),
        }
    }

    async fn open(
        &self,
        origin: &Origin,
        opening: Opening<Origin, Sender>,
        deadline: Option<Instant>,
        notes: &ConnectNotes,
    ) -> Result<Stream<B>, ConnectError> {
        let connecting = self.connector.connect_shared(&origin.0, deadline, notes);
        let trunk = connecting.await?;
        self.seat.add(Counter::UpstreamConnects, 1);
        let load = trunk.load();
        let opened = opening.opened(trunk.sender(), Rc::clone(&load));
        let (lease, place) = opened.ok_or(ConnectError::LimitReached)?;
        let driver = Driver::new(trunk, load, place, self.patience);
        tokio::task::spawn_local(driver.run());
        Ok(Stream::new(lease))
    }

    fn note_stream(&self, lease: Lease<Origin, Sender>, notes: &ConnectNotes) -> Stream<B> {
        self.seat.add(Counter::UpstreamReuses, 1);
        notes.is_reused.set(true);
        notes.peer.set(Some(lease.value.peer.address));
        Stream::new(lease)
    }
}
