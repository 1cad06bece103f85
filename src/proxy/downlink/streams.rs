//! A connection that carries many exchanges at once (HTTP/2), and the streams on it.
//!
//! Each stream is a [`Downlink`] of its own, without a socket: an exchange sees the same as on a
//! connection of its own. What concerns the socket is the trunk's: an exchange whose response was handed
//! over waits there until the last frame of its stream is with the kernel.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::{Complete, Downlink, Phase};
use crate::error::End;

/// What a connection with streams keeps of them.
#[derive(Default)]
pub(super) struct Trunk {
    /// Handed over in full, by the stream whose last frame is still to be written.
    delivered: RefCell<VecDeque<(u32, Complete)>>,
    /// The last frame was written, but perhaps no further than into the buffer of TLS.
    written: RefCell<Vec<Complete>>,
    open: Cell<u32>,
    /// Those of them that are tunnels.
    lasting: Cell<u32>,
    /// When the last stream was over.
    idle_since: Cell<Option<Instant>>,
}

/// A stream as long as its task lives; what it has not handed over by then never reaches the client.
pub(crate) struct OpenStream {
    link: Rc<Downlink>,
}

impl OpenStream {
    /// The stream as its exchange sees it.
    pub(crate) fn link(&self) -> &Rc<Downlink> {
        &self.link
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.link.abandon();
        drop(self.link.take_switch());
        if let Some(trunk) = self.link.its_trunk() {
            trunk.open.set(trunk.open.get().saturating_sub(1));
            if self.link.drain.lasts() {
                trunk.lasting.set(trunk.lasting.get().saturating_sub(1));
            }
            if trunk.open.get() == 0 {
                trunk.idle_since.set(Some(Instant::now()));
            }
        }
    }
}

impl Downlink {
    /// Opens a stream on this connection.
    pub(crate) fn open_stream(self: &Rc<Self>, id: u32, now: Instant) -> OpenStream {
        self.enter(Phase::Busy, now);
        let before = self.requests.get();
        self.requests.set(before + 1);
        let trunk = self.trunk.get_or_init(Trunk::default);
        trunk.open.set(trunk.open.get() + 1);
        OpenStream {
            link: Self::of_stream(self, id, before, now),
        }
    }

    /// Whether this is a stream among others on a connection.
    pub(crate) fn is_stream(&self) -> bool {
        self.connection.is_some()
    }

    /// The trunk that this stream is on.
    fn its_trunk(&self) -> Option<&Trunk> {
        self.connection.as_ref()?.trunk.get()
    }

    /// Since when no stream is open; `None` while one is.
    pub(crate) fn streamless_since(&self) -> Option<Instant> {
        let Some(trunk) = self.trunk.get() else {
            return Some(self.phase().1);
        };
        trunk.idle_since.get().filter(|_| trunk.open.get() == 0)
    }

    /// Whether all open streams are tunnels, and there is one.
    pub(crate) fn has_only_tunnels(&self) -> bool {
        let trunk = self.trunk.get();
        trunk.is_some_and(|trunk| trunk.open.get() > 0 && trunk.lasting == trunk.open)
    }

    /// This stream, if it is one, goes on as a tunnel.
    pub(super) fn count_tunnel(&self) {
        if let Some(trunk) = self.its_trunk().filter(|_| !self.drain.lasts()) {
            trunk.lasting.set(trunk.lasting.get() + 1);
        }
    }

    /// The response of this stream was handed to the connection, or broken off there: its exchange is
    /// finished when the last frame is with the kernel.
    pub(crate) fn deliver(&self) {
        let Some(trunk) = self.its_trunk() else {
            return;
        };
        if let Some(complete) = self.complete.take() {
            let mut delivered = trunk.delivered.borrow_mut();
            delivered.push_back((self.stream_id, complete));
        }
    }

    /// The last frame of a stream was written.
    pub(crate) fn on_stream_written(&self, id: u32) {
        if let Some((trunk, complete)) = self.take_delivered(id) {
            trunk.written.borrow_mut().push(complete);
        }
    }

    /// The client has reset a stream: what waits to be written of it never will be.
    pub(crate) fn on_stream_reset(&self, id: u32) {
        if let Some((_, complete)) = self.take_delivered(id) {
            complete.finish(Some(End::ClientGone), Instant::now());
        }
    }

    fn take_delivered(&self, id: u32) -> Option<(&Trunk, Complete)> {
        let trunk = self.trunk.get()?;
        let mut delivered = trunk.delivered.borrow_mut();
        // What was handed over first is mostly written first.
        let place = delivered.iter().position(|(known, _)| *known == id)?;
        let (_, complete) = delivered.remove(place)?;
        Some((trunk, complete))
    }

    /// Finishes what was written, now that all of it is with the kernel.
    pub(super) fn finish_written(&self) {
        let Some(trunk) = self.trunk.get() else {
            return;
        };
        let written = trunk.written.take();
        if written.is_empty() {
            return;
        }
        let now = Instant::now();
        for complete in written {
            complete.finish(None, now);
        }
    }

    /// Finishes what was handed over on the streams of this connection, which broke before it was out.
    pub(super) fn abandon_streams(&self, cut: End) {
        let Some(trunk) = self.trunk.get() else {
            return;
        };
        let delivered = trunk.delivered.take().into_iter();
        let delivered = delivered.map(|(_, complete)| complete);
        let now = Instant::now();
        for complete in trunk.written.take().into_iter().chain(delivered) {
            complete.finish(Some(cut), now);
        }
    }
}

impl Complete {
    /// Finishes the exchange; with `cut` instead of `ok` where its last byte did not get out.
    pub(super) fn finish(self, cut: Option<End>, now: Instant) {
        let Self::Recorded(exchange, end) = self else {
            return;
        };
        let end = match (end, cut) {
            (End::Ok, Some(cut)) => cut,
            (end, _) => end,
        };
        exchange.finish_at(end, now);
    }
}
