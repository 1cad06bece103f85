//! Why and how a downstream connection comes to its end.

use super::Downlink;
use crate::error::End;
use crate::sys;

impl Downlink {
    /// The response to come is the last on this connection.
    pub(crate) fn close_after_response(&self) {
        self.is_closing.set(true);
    }

    /// Whether the response to come is the last.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// hyper answered a head with this status by itself, before it became a request.
    pub(crate) fn on_refused(&self, status: u16) {
        self.refused.set(Some(status));
    }

    /// The status of hyper's own answer to a head, if it gave one.
    pub(crate) fn refused(&self) -> Option<u16> {
        self.refused.get()
    }

    /// Whether the connection ends by our wish and not by the client's.
    pub(crate) fn must_linger(&self) -> bool {
        !self.has_client_closed.get() && (self.is_closing.get() || self.is_kept.get())
    }

    /// Bytes in the send buffer that the client has not acknowledged; `None` when there is no socket.
    pub(crate) fn unsent(&self) -> Option<u32> {
        let stream = self.stream.borrow();
        stream
            .as_ref()
            .and_then(|stream| sys::unsent_bytes(stream).ok())
    }

    /// No further request came in time.
    pub(crate) fn on_idle_over(&self) {
        self.is_idle_over.set(true);
    }

    /// Whether the connection ends for want of a further request.
    pub(crate) fn is_idle_over(&self) -> bool {
        self.is_idle_over.get()
    }

    /// The connection or stream is ended for what the client did or failed to do.
    pub(crate) fn cut(&self, end: End) {
        self.cut.set(Some(end));
    }

    /// Why it was ended, if it was.
    pub(crate) fn cut_as(&self) -> Option<End> {
        let connection = self.connection.as_ref();
        let own = self.cut.get();
        own.or_else(|| connection.and_then(|link| link.cut_as()))
    }
}
