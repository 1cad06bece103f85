//! hyper's I/O below HTTP/2: what was read ahead first, then the client's stream.
//!
//! Tells when all that the connection had is with the kernel, and ends a connection whose client
//! takes nothing at all.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::config::Timeouts;
use crate::error::End;
use crate::http::stall::Stall;
use crate::listener::ClientStream;
use crate::proxy::Downlink;

/// The downstream socket as hyper sees it.
pub(super) struct TrunkIo {
    link: Rc<Downlink>,
    ahead: Bytes,
    stall: Stall,
    stall_limit: Option<Duration>,
}

impl TrunkIo {
    /// The adapter of one connection.
    pub(super) fn new(link: Rc<Downlink>, ahead: Bytes, timeouts: &Timeouts) -> Self {
        Self {
            link,
            ahead,
            stall: Stall::default(),
            stall_limit: timeouts.idle_body,
        }
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut ClientStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match self.link.with_stream(|stream| write(stream, cx)) {
            Poll::Ready(written) => {
                self.stall.end();
                Poll::Ready(written)
            }
            Poll::Pending => {
                ready!(self.stall.poll(cx, &self.link, self.stall_limit));
                self.link.on_timeout(End::ClientTimeout);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl hyper::rt::Read for TrunkIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(cursor.remaining());
            cursor.put_slice(&this.ahead[..count]);
            this.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        let read =
            |stream: Pin<&mut ClientStream>| crate::sys::poll_read_into(stream, cx, cursor, |_| ());
        let count = ready!(this.link.with_stream(read))?;
        this.link.on_read(count);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for TrunkIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = |stream: Pin<&mut ClientStream>, cx: &mut Context<'_>| {
            AsyncWrite::poll_write(stream, cx, bytes)
        };
        self.get_mut().poll_write_with(cx, write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = |stream: Pin<&mut ClientStream>, cx: &mut Context<'_>| {
            crate::sys::poll_write_slices(stream, cx, slices)
        };
        self.get_mut().poll_write_with(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called once the buffer of the connection is empty.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = |stream: Pin<&mut ClientStream>| AsyncWrite::poll_flush(stream, cx);
        ready!(self.link.with_stream(flush))?;
        self.link.on_flushed();
        Poll::Ready(Ok(()))
    }

    /// Leaves the socket open: `close` shuts it down with care.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
