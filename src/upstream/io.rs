//! The bytes of a connection to a backend: counted, and as hyper wants them.
//!
//! Lies below hyper while HTTP is spoken and is taken out from under it for a tunnel. Invariant:
//! what the counters of [`Wire`] say was seen here, so a caller knows whether an attempt sent or
//! received anything.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::transport::Transport;

/// What the I/O adapter of one connection saw since it was last acquired.
///
/// Below TLS nothing is counted: these are bytes of HTTP, written as soon as the layer below took
/// them.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Bytes of requests that left.
    pub(crate) bytes_written: Cell<u64>,
    /// Bytes of responses that came.
    pub(crate) bytes_read: Cell<u64>,
    /// The address of the backend.
    pub(crate) peer: SocketAddr,
    /// The next read asks the kernel first whether the connection is still idle and open.
    must_probe: Cell<bool>,
    /// There was nothing to read in this turn of the driver. Readiness changes between two turns only,
    /// and hyper asks several times in each.
    is_dry: Cell<bool>,
}

impl Wire {
    fn new(peer: SocketAddr) -> Self {
        Self {
            bytes_written: Cell::new(0),
            bytes_read: Cell::new(0),
            peer,
            must_probe: Cell::new(false),
            is_dry: Cell::new(false),
        }
    }

    /// The driver begins a turn.
    pub(super) fn begin_turn(&self) {
        self.is_dry.set(false);
    }

    /// Starts counting anew, for a further exchange.
    pub(super) fn reset(&self) {
        self.bytes_written.set(0);
        self.bytes_read.set(0);
    }

    /// Makes the next read look at the socket itself; readiness known to the runtime may be late.
    pub(super) fn request_probe(&self) {
        self.must_probe.set(true);
    }

    /// Whether the probe asked for has not been made, and asks no more for it.
    pub(super) fn withdraw_probe(&self) -> bool {
        self.must_probe.take()
    }
}

/// The stream, counted.
#[derive(Debug)]
pub(super) struct WireIo {
    pub(super) stream: Transport,
    wire: Rc<Wire>,
}

impl WireIo {
    /// Wraps a fresh stream; the second is the view that the caller keeps.
    pub(super) fn new(stream: Transport, peer: SocketAddr) -> (Self, Rc<Wire>) {
        let wire = Rc::new(Wire::new(peer));
        let io = Self {
            stream,
            wire: Rc::clone(&wire),
        };
        (io, wire)
    }

    /// The socket below.
    pub(super) fn tcp(&self) -> &TcpStream {
        self.stream.tcp()
    }
}

/// As h2 wants it.
impl AsyncRead for WireIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = &self.wire.bytes_read;
        read.set(read.get() + (buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WireIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(self, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write_vectored(self, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(self, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(self, cx)
    }
}

/// As hyper wants it.
impl hyper::rt::Read for WireIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.wire.must_probe.take() {
            probe(self.tcp())?;
        }
        if self.wire.is_dry.get() {
            return Poll::Pending;
        }
        let stream = Pin::new(&mut self.stream);
        let polled = crate::sys::poll_read_into(stream, cx, cursor, |_| ());
        self.wire.is_dry.set(polled.is_pending());
        let read = &self.wire.bytes_read;
        read.set(read.get() + ready!(polled)? as u64);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for WireIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write_vectored(self, cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let count = ready!(crate::sys::poll_write_slices(stream, cx, slices))?;
        let written = &self.wire.bytes_written;
        written.set(written.get() + count as u64);
        Poll::Ready(Ok(count))
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

/// Fails unless the kernel has nothing to read: neither bytes nor the end of the stream.
///
/// Looks at TCP below TLS, too: what a backend says unasked is nearly always its good-bye.
fn probe(tcp: &TcpStream) -> io::Result<()> {
    let mut byte = [MaybeUninit::uninit()];
    // The socket is not blocking, so neither is this.
    match SockRef::from(tcp).peek(&mut byte) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "bytes on an idle connection, expected none",
        )),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
