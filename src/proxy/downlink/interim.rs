//! 1xx responses on their way past hyper, whose server cannot send them.

use std::io;
use std::task::{Context, Poll};

use bytes::Buf;
use tokio::io::AsyncWrite;

use super::Downlink;

/// Bytes that may wait for a client that does not read; further ones are let go.
const WAITING_BYTES: usize = 64 * 1024;

impl Downlink {
    /// Sends the head of a 1xx response. At the boundary of two responses hyper has nothing
    /// buffered, so the bytes cannot land inside another message; what the socket does not take at
    /// once goes before anything that hyper writes later. `false` when there is no room for it.
    pub(crate) fn send_interim(&self, cx: &mut Context<'_>, head: &[u8]) -> bool {
        if self.complete.borrow().is_some() || self.interim.borrow().len() > WAITING_BYTES {
            return false;
        }
        self.interim.borrow_mut().extend_from_slice(head);
        // An error is met again by hyper's next write, which has someone to tell.
        let _ = self.poll_interim(cx);
        true
    }

    /// Writes what is left of 1xx responses.
    pub(crate) fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.interim.borrow_mut();
        while !interim.is_empty() {
            let polled = self.with_stream(|stream| stream.poll_write(cx, &interim));
            match polled {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.on_written(count);
                    self.heads.add_interim(count);
                    interim.advance(count);
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}
