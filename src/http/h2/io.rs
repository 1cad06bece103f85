//! The client's stream as the library of HTTP/2 sees it: what was read ahead first.
//!
//! Shows all that passes to [`Conduct`], tells when all that the connection had is with the kernel, and
//! ends a connection whose client takes nothing at all.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conduct::Conduct;
use crate::error::End;
use crate::http::stall::Stall;
use crate::proxy::Downlink;
use crate::sys;
use crate::transport::Transport;

/// The downstream socket below HTTP/2.
pub(super) struct TrunkIo {
    link: Rc<Downlink>,
    conduct: Rc<RefCell<Conduct>>,
    ahead: Bytes,
    stall: Stall,
    stall_limit: Option<Duration>,
}

impl TrunkIo {
    /// The adapter of one connection.
    pub(super) fn new(
        link: Rc<Downlink>,
        conduct: Rc<RefCell<Conduct>>,
        ahead: Bytes,
        stall_limit: Option<Duration>,
    ) -> Self {
        Self {
            link,
            conduct,
            ahead,
            stall: Stall::default(),
            stall_limit,
        }
    }

    fn on_written(&self, slices: &[IoSlice<'_>], mut count: usize) {
        let mut conduct = self.conduct.borrow_mut();
        for slice in slices {
            let written = &slice[..count.min(slice.len())];
            conduct.on_written(written, &self.link);
            count -= written.len();
        }
    }
}

impl AsyncRead for TrunkIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.conduct.borrow_mut().is_too_much() {
            // Whoever drives the connection looks at it now.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if this.ahead.is_empty() {
            ready!(this.link.with_stream(|stream| stream.poll_read(cx, buffer)))?;
            this.link.on_read(buffer.filled().len() - before);
        } else {
            let count = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead[..count]);
            this.ahead.advance(count);
        }
        let read = &buffer.filled()[before..];
        this.conduct.borrow_mut().on_read(read, &this.link);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrunkIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let write = |stream: Pin<&mut Transport>| sys::poll_write_slices(stream, cx, slices);
        match this.link.with_stream(write) {
            Poll::Ready(written) => {
                this.stall.end();
                if let Ok(count) = written {
                    this.on_written(slices, count);
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                ready!(this.stall.poll(cx, &this.link, this.stall_limit));
                this.link.cut(End::ClientTimeout);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called once the buffer of the connection is empty.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = |stream: Pin<&mut Transport>| AsyncWrite::poll_flush(stream, cx);
        ready!(self.link.with_stream(flush))?;
        self.link.on_flushed();
        Poll::Ready(Ok(()))
    }

    /// Leaves the socket open: `close` shuts it down with care.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
