//! A connection that carries many exchanges at once (HTTP/2), and the streams on it.
//!
//! Each stream is a [`Downlink`] of its own, without a socket: an exchange sees the same as on a
//! connection of its own. What concerns the socket is the trunk's: an exchange whose response is
//! complete waits there until all that the connection had was handed to the kernel.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::{Complete, Downlink, Phase};
use crate::error::End;
use crate::proxy::exchange::Exchange;

/// What a connection with streams keeps of them.
#[derive(Default)]
pub(super) struct Trunk {
    completed: RefCell<Vec<Complete>>,
    streams: RefCell<Vec<Weak<Downlink>>>,
    idle_since: Cell<Option<Instant>>,
}

impl Downlink {
    /// Opens a stream on this connection.
    pub(crate) fn open_stream(self: &Rc<Self>, now: Instant) -> Rc<Self> {
        self.enter(Phase::Busy, now);
        self.requests.set(self.requests.get() + 1);
        let mut stream = Self::without_socket(self);
        stream.requests = Cell::new(self.requests.get() - 1);
        let stream = Rc::new(stream);
        let trunk = self.trunk.get_or_init(Trunk::default);
        let mut streams = trunk.streams.borrow_mut();
        streams.retain(|known| known.strong_count() > 0);
        streams.push(Rc::downgrade(&stream));
        stream
    }

    /// Whether this is a stream among others on a connection.
    pub(crate) fn is_stream(&self) -> bool {
        self.connection.is_some()
    }

    /// Since when no stream is open; `None` while one is.
    pub(crate) fn streamless_since(&self, now: Instant) -> Option<Instant> {
        let Some(trunk) = self.trunk.get() else {
            return Some(self.phase().1);
        };
        let is_open = |stream: &Weak<Self>| stream.strong_count() > 0;
        if trunk.streams.borrow().iter().any(is_open) {
            trunk.idle_since.set(None);
            return None;
        }
        let since = trunk.idle_since.get().unwrap_or(now);
        trunk.idle_since.set(Some(since));
        Some(since)
    }

    /// Whether all open streams are tunnels, and there is one.
    pub(crate) fn has_only_tunnels(&self) -> bool {
        let streams = self.trunk.get().map(|trunk| trunk.streams.borrow());
        let mut open = streams
            .iter()
            .flat_map(|list| list.iter().filter_map(Weak::upgrade));
        open.next()
            .is_some_and(|first| first.drain.lasts() && open.all(|one| one.drain.lasts()))
    }

    /// Whether some stream has waited longer than this for its client to take what it has.
    pub(crate) fn has_stalled_stream(&self, limit: Duration, now: Instant) -> bool {
        let is_stalled = |stream: Rc<Self>| {
            let since = stream.offered.get();
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        let Some(trunk) = self.trunk.get() else {
            return false;
        };
        let streams = trunk.streams.borrow();
        streams.iter().filter_map(Weak::upgrade).any(is_stalled)
    }

    /// Part of a response was offered to the client, who has not asked for more yet; `None`: he has.
    pub(crate) fn offer(&self, since: Option<Instant>) {
        self.offered.set(since);
    }

    /// Leaves a complete response to the connection, if this is a stream: it is finished when all
    /// that the connection has is with the kernel.
    pub(super) fn complete_on_trunk(&self, complete: Complete) -> Option<Complete> {
        let Some(trunk) = self.connection.as_ref().and_then(|link| link.trunk.get()) else {
            return Some(complete);
        };
        trunk.completed.borrow_mut().push(complete);
        None
    }

    /// Finishes what is complete on the streams of this connection; `cut` when it broke before.
    pub(super) fn finish_streams(&self, cut: Option<End>) {
        let Some(trunk) = self.trunk.get() else {
            return;
        };
        for complete in trunk.completed.take() {
            complete.finish(cut);
        }
    }
}

impl Complete {
    /// Finishes the exchange; with `cut` instead of `ok` where the connection broke before its last
    /// byte was out.
    pub(super) fn finish(self, cut: Option<End>) {
        let Self::Recorded(exchange, end) = self else {
            return;
        };
        let exchange: Box<Exchange> = exchange;
        exchange.finish(match (end, cut) {
            (End::Ok, Some(cut)) => cut,
            (end, _) => end,
        });
    }
}
