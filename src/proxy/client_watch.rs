//! Noticing that a client has gone while nobody reads from it.

use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::Downlink;

/// Looks out for a client that goes away while nobody reads from it.
///
/// A reset is one; a closed sending side is none: a client may close it and still wait for the
/// response (RFC 9112 §9.6). The watch ends with the first thing that is no reset.
#[derive(Debug, Default)]
pub(crate) struct ClientWatch {
    is_over: bool,
}

impl ClientWatch {
    /// Whether the client has reset the connection; if not, the task is woken when it does.
    pub(crate) fn is_gone(&mut self, link: &Downlink, cx: &mut Context<'_>) -> bool {
        // A stream that its client gives up is dropped by its task.
        if self.is_over || link.is_stream() {
            return false;
        }
        let mut byte = [0];
        let peeked = link.with_stream(|stream| stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)));
        self.is_over = peeked.is_ready();
        matches!(peeked, Poll::Ready(Err(_)))
    }
}
