//! One connection of HTTP/1 to a backend, with its place in the pool while it is in use.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};

use super::http1::{Connection, Http1Error, Traffic};
use super::pool::Claim;
use super::{Origin, RequestBody};
use crate::deadline::Deadline;
use crate::fields::Fields;
use crate::transport::Transport;

/// A connection without its place in the pool. Boxed: it is large, and handed on many times.
pub(super) struct Link<B: RequestBody>(Box<Timed<B>>);

/// A connection, with the timer for what its exchange waits for. One for all exchanges on the
/// connection: making it costs more than moving it.
struct Timed<B: RequestBody> {
    connection: Connection<B>,
    deadline: Deadline,
}

impl<B: RequestBody> Link<B> {
    pub(super) fn new(stream: Transport, peer: SocketAddr) -> Self {
        Self(Box::new(Timed {
            connection: Connection::new(stream, peer),
            deadline: Deadline::default(),
        }))
    }

    /// Whether a request may follow, as far as the runtime knows.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.0.connection.is_quiet()
    }

    /// The same, as far as the kernel knows: readiness known to the runtime may be late.
    pub(super) fn is_quiet_by_kernel(&mut self) -> bool {
        self.0.connection.is_quiet_by_kernel()
    }
}

/// A connection to a backend, in use. Dropping it closes it and frees its place.
pub(crate) struct Alone<B: RequestBody> {
    // Dropped in this order: closed before its place is free.
    link: Link<B>,
    claim: Claim<Origin, Link<B>>,
}

impl<B: RequestBody> Alone<B> {
    pub(super) fn new(link: Link<B>, claim: Claim<Origin, Link<B>>) -> Self {
        Self { link, claim }
    }

    /// Takes a request, with these fields as well; [`Alone::poll_response`] moves it. One at a time.
    pub(super) fn send(&mut self, head: &Request<()>, also: Option<&Fields>, body: B) {
        self.link.0.connection.begin(head, also, body);
    }

    /// Moves the request on, and waits for the head of its response; tells 1xx responses as they come.
    ///
    /// # Errors
    ///
    /// What ended the connection.
    pub(super) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        on_interim: impl FnMut(&Response<()>),
    ) -> Poll<Result<Response<()>, Http1Error>> {
        self.link.0.connection.poll_response(cx, on_interim)
    }

    /// Moves the request on, and waits for the next piece of the response's body.
    ///
    /// # Errors
    ///
    /// What ended the connection.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        self.link.0.connection.poll_frame(cx)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.link.0.connection.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.link.0.connection.size_hint()
    }

    /// The timer for what its exchange waits for.
    pub(super) fn deadline(&mut self) -> &mut Deadline {
        &mut self.link.0.deadline
    }

    /// The address of the backend.
    pub(super) fn peer(&self) -> SocketAddr {
        self.link.0.connection.peer
    }

    /// What was sent and received of this exchange.
    pub(super) fn traffic(&self) -> Traffic {
        self.link.0.connection.traffic()
    }

    /// Whether a further request could be sent: the last exchange is complete in both directions and
    /// neither side asked for a close.
    pub(super) fn is_reusable(&self) -> bool {
        self.link.0.connection.is_reusable()
    }

    /// Gives the connection back, on which nothing has moved since then: kept for others if it can be
    /// reused, else closed. A close that came with the end of the response is noticed by the next who
    /// acquires it, or by the sweep.
    pub(crate) fn release(self, since: Instant) {
        if self.is_reusable() {
            self.claim.keep(self.link, since);
        }
    }

    /// After a 101: the bare connection and what was already read of it. `None` without one.
    pub(crate) fn into_tunnel(self) -> Option<(Transport, Bytes, Place)> {
        let Self { link, claim } = self;
        let (stream, ahead) = link.0.connection.into_tunnel()?;
        Some((stream, ahead, Place::of(claim)))
    }
}

impl<B: RequestBody> fmt::Debug for Alone<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alone")
            .field("peer", &self.peer())
            .field("traffic", &self.traffic())
            .finish_non_exhaustive()
    }
}

/// The place of a tunnel among the connections to its backend (`maxSockets`), free when dropped.
pub(crate) struct Place {
    /// The claim, without the type of the pool.
    _claim: Box<dyn Any>,
}

impl Place {
    /// What frees the place when it is dropped.
    pub(super) fn of(claim: impl Any) -> Self {
        Self {
            _claim: Box::new(claim),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}
