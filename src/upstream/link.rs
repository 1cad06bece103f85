//! One HTTP/1 connection to a backend, driven by the exchange that uses it.
//!
//! hyper's driver is not a task of its own: [`Alone::poll_drive`] moves it, so a response wakes
//! one task and not two. Invariant: a driver that is over is never polled again.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, Parts, SendRequest};
use tokio::task::unconstrained;

use super::io::{Wire, WireIo};
use super::pool::Claim;
use super::{Origin, RequestBody};
use crate::deadline::Deadline;
use crate::transport::Transport;

/// A connection without its place in the pool.
pub(super) struct Link<B: RequestBody> {
    sender: SendRequest<B>,
    drive: Drive<B>,
    pub(super) wire: Rc<Wire>,
    deadline: Deadline,
}

/// How far the driver is. Once over it is taken apart: a request that it had not begun with goes
/// back to its sender only when the driver is dropped.
enum Drive<B: RequestBody> {
    /// To be polled. Boxed once a connection: it is large, and an exchange hands it on many times.
    On(Box<Connection<WireIo, B>>),
    /// Closed cleanly, or upgraded: what is left.
    Ended(Parts<WireIo>),
    /// Ended by an error, and closed.
    Failed,
}

impl<B: RequestBody> Link<B> {
    pub(super) fn new(
        sender: SendRequest<B>,
        driver: Connection<WireIo, B>,
        wire: Rc<Wire>,
    ) -> Self {
        Self {
            sender,
            drive: Drive::On(Box::new(driver)),
            wire,
            deadline: Deadline::default(),
        }
    }

    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let Drive::On(driver) = &mut self.drive else {
            return Poll::Ready(Ok(()));
        };
        self.wire.begin_turn();
        // Not `poll`: it would shut the socket down that a tunnel still needs.
        let result = ready!(driver.poll_without_shutdown(cx));
        let over = mem::replace(&mut self.drive, Drive::Failed);
        if let (Drive::On(driver), Ok(())) = (over, &result) {
            self.drive = Drive::Ended(driver.into_parts());
        }
        Poll::Ready(result)
    }

    /// Lets hyper come to rest and notice a close, and tells whether a request may follow.
    ///
    /// Nobody is woken for what comes later. The budget of the task does not count, or a used-up
    /// one would make every connection look idle.
    pub(super) fn settle(&mut self) -> bool {
        let turn = pin!(unconstrained(poll_fn(|cx| self.poll_drive(cx))));
        // How it ended does not matter here: it is not used again.
        let _ = turn.poll(&mut Context::from_waker(Waker::noop()));
        self.is_reusable()
    }

    /// As [`Link::settle`], with a look at the socket itself: what the kernel knows, and not what
    /// the runtime was told in its last turn.
    pub(super) fn settle_probed(&mut self) -> bool {
        self.wire.request_probe();
        let is_reusable = self.settle();
        // Where hyper did not read, nothing was seen.
        let was_missed = self.wire.withdraw_probe();
        is_reusable && !was_missed
    }

    fn is_reusable(&self) -> bool {
        matches!(self.drive, Drive::On(_)) && self.sender.is_ready()
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

    /// Queues a request; [`Alone::poll_drive`] moves it. One at a time.
    ///
    /// Dropping the future before the response head came closes the connection.
    ///
    /// # Errors
    ///
    /// With the request where hyper had not yet begun to write it, without it otherwise.
    pub(crate) fn send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        self.link.sender.try_send_request(request)
    }

    /// Drives the connection: ready when it is over (closed, failed or upgraded), and ever after; an
    /// error is told once.
    ///
    /// A connection may be over while the rest of a response is still to be read from its body.
    pub(crate) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.link.poll_drive(cx)
    }

    /// The timer for what its exchange waits for. One for all exchanges on the connection: making it
    /// costs more than moving it.
    pub(super) fn deadline(&mut self) -> &mut Deadline {
        &mut self.link.deadline
    }

    /// What was sent and received since it was acquired.
    pub(crate) fn wire(&self) -> &Rc<Wire> {
        &self.link.wire
    }

    /// Whether a further request could be sent: the last exchange is complete in both directions and
    /// neither side asked for a close.
    #[cfg(test)]
    pub(crate) fn is_reusable(&self) -> bool {
        self.link.is_reusable()
    }

    /// Gives the connection back: kept for others if it can be reused, else closed.
    pub(crate) fn release(self) {
        let Self { mut link, claim } = self;
        // Mostly hyper has come to rest while it handed out the end of the body. A close that came
        // with it is noticed by the next who acquires the connection, or by the sweep.
        if link.is_reusable() || link.settle() {
            claim.keep(link, Instant::now());
        }
    }

    /// After a 101: the bare connection and what was already read of it. `None` unless the driver
    /// has ended without an error.
    pub(crate) fn into_tunnel(self) -> Option<(Transport, Bytes, Place)> {
        let Self { link, claim } = self;
        let Drive::Ended(parts) = link.drive else {
            return None;
        };
        Some((parts.io.stream, parts.read_buf, Place::of(claim)))
    }
}

impl<B: RequestBody> fmt::Debug for Alone<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alone")
            .field("wire", &self.link.wire)
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
