//! The bytes of a shared connection, counted as they come.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sys;
use crate::transport::Transport;

/// The backend of a connection, as all who use it see it.
#[derive(Debug)]
pub(in crate::upstream) struct Peer {
    pub(super) address: SocketAddr,
    /// Bytes of HTTP that it sent.
    pub(super) heard: Cell<u64>,
}

/// The stream, counted.
#[derive(Debug)]
pub(in crate::upstream) struct CountedIo {
    stream: Transport,
    peer: Rc<Peer>,
}

impl CountedIo {
    /// Wraps a fresh stream; the second is the view that its users keep.
    pub(super) fn new(stream: Transport, address: SocketAddr) -> (Self, Rc<Peer>) {
        let peer = Rc::new(Peer {
            address,
            heard: Cell::new(0),
        });
        let io = Self {
            stream,
            peer: Rc::clone(&peer),
        };
        (io, peer)
    }
}

impl AsyncRead for CountedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let heard = &self.peer.heard;
        heard.set(heard.get() + (buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CountedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        sys::poll_write_slices(Pin::new(&mut self.stream), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
