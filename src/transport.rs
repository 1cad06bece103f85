//! The bytes of one TCP connection, plain or under TLS: of a client, or to a backend.
//!
//! What lies above sees one stream. What concerns the socket itself (its queue, a reset that nobody
//! reads) is asked of TCP below.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::sys;

/// The stream of a connection.
#[derive(Debug)]
pub(crate) enum Transport {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP, by whichever end we are.
    Tls(Box<TlsStream<Tcp>>),
}

/// TCP below TLS. What TLS has is mostly one record, but it offers even that as a list of pieces, which
/// costs the kernel more than a plain send.
#[derive(Debug)]
pub(crate) struct Tcp(TcpStream);

impl Transport {
    /// TLS, once hands were shaken.
    pub(crate) fn tls(session: impl Into<TlsStream<Tcp>>) -> Self {
        Self::Tls(Box::new(session.into()))
    }

    /// The connection below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.get_ref().0.0,
        }
    }

    /// Looks at the socket without reading from it: see [`TcpStream::poll_peek`]. Below TLS, too, a
    /// reset is seen like this.
    pub(crate) fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        self.tcp().poll_peek(cx, buffer)
    }

    fn is_tls_server(&self) -> bool {
        matches!(self, Self::Tls(tls) if matches!(**tls, TlsStream::Server(_)))
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        self.tcp().as_raw_fd()
    }
}

/// Calls a method of the stream that is there.
macro_rules! delegate {
    ($stream:expr, $method:ident, $($argument:expr),+) => {
        match $stream {
            Transport::Plain(tcp) => Pin::new(tcp).$method($($argument),+),
            Transport::Tls(tls) => Pin::new(tls.as_mut()).$method($($argument),+),
        }
    };
}

impl AsyncRead for Transport {
    /// A client's TCP stream that ends without TLS's own end mark is at its end all the same: HTTP
    /// marks where requests end, and many clients leave so. The end of a backend's may be all that
    /// marks the end of a response: there it is a cut.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match ready!(delegate!(this, poll_read, cx, buffer)) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && this.is_tls_server() => {
                Poll::Ready(Ok(()))
            }
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    /// With TLS, a write may have stayed in its buffer: only this hands it to the kernel.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), poll_shutdown, cx)
    }
}

impl From<TcpStream> for Tcp {
    fn from(tcp: TcpStream) -> Self {
        Self(tcp)
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        sys::poll_write_slices(Pin::new(&mut self.get_mut().0), cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
