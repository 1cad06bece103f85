//! The byte pipe after a 101: both ways until both are closed, one fails, or silence is too long.
//!
//! Moves bytes and nothing else. An end of file is passed on to the other side (RFC 9293 §3.6); the
//! pipe ends with the backend's.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Deadline, after};

/// Bytes of one direction's buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// Silence allowed once the client has closed its side. The backend may still send, but one that
/// never answers a close must not keep the tunnel for ever.
const HALF_CLOSED_LIMIT: Duration = Duration::from_secs(60);

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    /// The backend closed, or both sides did.
    Closed,
    /// The client's connection failed.
    DownstreamFailed,
    /// The backend's connection failed.
    UpstreamFailed,
    /// Nothing moved for longer than the limit.
    Idle,
}

/// What a tunnel carried; true at any moment, also when it is cut.
#[derive(Debug, Default)]
pub(crate) struct TunnelTraffic {
    /// Bytes from the backend to the client.
    pub(crate) down: Cell<u64>,
    /// Bytes from the client to the backend.
    pub(crate) up: Cell<u64>,
}

/// One direction of the pipe.
struct Direction<'a> {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    state: Flow,
    moved: &'a Cell<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Closing,
    Closed,
}

/// Which side of a direction failed.
enum Failure {
    Reader,
    Writer,
}

/// Carries bytes between two connections, what was read ahead of each first.
pub(crate) async fn tunnel<D, U>(
    downstream: (&mut D, Bytes),
    upstream: (&mut U, Bytes),
    idle_limit: Option<Duration>,
    traffic: &TunnelTraffic,
) -> TunnelEnd
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (client, client_ahead) = downstream;
    let (backend, backend_ahead) = upstream;
    let mut up = Direction::new(&client_ahead, &traffic.up);
    let mut down = Direction::new(&backend_ahead, &traffic.down);
    let mut deadline = Deadline::default();
    let mut moved_at = Instant::now();
    let mut is_half_closed = false;
    poll_fn(|cx| {
        let before = traffic.up.get() + traffic.down.get();
        let upward = up.poll(cx, client, backend);
        let downward = down.poll(cx, backend, client);
        match (&upward, &downward) {
            (Poll::Ready(Err(Failure::Reader)), _) | (_, Poll::Ready(Err(Failure::Writer))) => {
                return Poll::Ready(TunnelEnd::DownstreamFailed);
            }
            (Poll::Ready(Err(Failure::Writer)), _) | (_, Poll::Ready(Err(Failure::Reader))) => {
                return Poll::Ready(TunnelEnd::UpstreamFailed);
            }
            // A backend that has closed takes nothing more either, as the original has it; a client
            // may close its side and still wait for the rest.
            (_, Poll::Ready(Ok(()))) => return Poll::Ready(TunnelEnd::Closed),
            _ => {}
        }
        let has_closed = upward.is_ready() && !std::mem::replace(&mut is_half_closed, true);
        if has_closed || traffic.up.get() + traffic.down.get() != before {
            moved_at = Instant::now();
        }
        let limit = match upward {
            Poll::Ready(_) => {
                Some(idle_limit.map_or(HALF_CLOSED_LIMIT, |l| l.min(HALF_CLOSED_LIMIT)))
            }
            Poll::Pending => idle_limit,
        };
        deadline
            .poll(cx, after(moved_at, limit))
            .map(|()| TunnelEnd::Idle)
    })
    .await
}

impl<'a> Direction<'a> {
    fn new(ahead: &Bytes, moved: &'a Cell<u64>) -> Self {
        let mut buffer = vec![0; BUFFER_BYTES.max(ahead.len())];
        buffer[..ahead.len()].copy_from_slice(ahead);
        Self {
            buffer,
            start: 0,
            end: ahead.len(),
            state: Flow::Open,
            moved,
        }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.start < self.end {
                ready!(self.poll_write(cx, writer))?;
                continue;
            }
            match self.state {
                Flow::Open => ready!(self.poll_fill(cx, reader, writer))?,
                Flow::Closing => {
                    // A peer that is already gone cannot be told that the other side is.
                    let _ = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                    self.state = Flow::Closed;
                }
                Flow::Closed => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_fill<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match Pin::new(reader).poll_read(cx, &mut buffer) {
            Poll::Pending => {
                // What a TLS session has buffered must leave before we wait for more.
                let _ = Pin::new(writer).poll_flush(cx);
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::Reader)),
            Poll::Ready(Ok(())) => {
                (self.start, self.end) = (0, buffer.filled().len());
                if self.end == 0 {
                    self.state = Flow::Closing;
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_write<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Failure>>
    where
        W: AsyncWrite + Unpin,
    {
        let pending = &self.buffer[self.start..self.end];
        match ready!(Pin::new(writer).poll_write(cx, pending)) {
            Ok(written) if written > 0 => {
                self.start += written;
                self.moved.set(self.moved.get() + written as u64);
                Poll::Ready(Ok(()))
            }
            _ => Poll::Ready(Err(Failure::Writer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn bytes_read_ahead_come_first_and_half_closes_are_passed_on() {
        block_on(async {
            let (mut client, mut downstream) = duplex(64);
            let (mut upstream, mut backend) = duplex(64);
            let traffic = TunnelTraffic::default();
            let pipe = tunnel(
                (&mut downstream, Bytes::from_static(b"a")),
                (&mut upstream, Bytes::from_static(b"z")),
                None,
                &traffic,
            );
            let peers = async {
                client.write_all(b"bc").await.unwrap();
                client.shutdown().await.unwrap();
                let mut got = Vec::new();
                backend.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"abc");
                backend.write_all(b"yx").await.unwrap();
                backend.shutdown().await.unwrap();
                got.clear();
                client.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"zyx");
            };
            let (end, ()) = tokio::join!(pipe, peers);
            assert_eq!(end, TunnelEnd::Closed);
            assert_eq!((traffic.up.get(), traffic.down.get()), (3, 3));
        });
    }

    #[test]
    fn a_close_of_the_client_s_side_is_no_silence() {
        block_on(async {
            let (mut client, mut downstream) = duplex(64);
            let (mut upstream, mut backend) = duplex(64);
            let traffic = TunnelTraffic::default();
            let limit = Duration::from_millis(400);
            let pipe = tunnel(
                (&mut downstream, Bytes::new()),
                (&mut upstream, Bytes::new()),
                Some(limit),
                &traffic,
            );
            let peers = async {
                tokio::time::sleep(limit * 3 / 4).await;
                client.shutdown().await.unwrap();
                tokio::time::sleep(limit / 2).await;
                backend.write_all(b"late").await.unwrap();
                backend.shutdown().await.unwrap();
                let mut got = Vec::new();
                client.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"late");
            };
            // Where the tunnel ends too early the client waits in vain.
            let both = tokio::time::timeout(limit * 5, async { tokio::join!(pipe, peers) });
            assert_eq!(both.await.map(|(end, ())| end), Ok(TunnelEnd::Closed));
        });
    }

    #[test]
    fn silence_ends_a_tunnel_only_with_a_limit() {
        block_on(async {
            let (_client, mut downstream) = duplex(64);
            let (mut upstream, _backend) = duplex(64);
            let traffic = TunnelTraffic::default();
            let end = tunnel(
                (&mut downstream, Bytes::new()),
                (&mut upstream, Bytes::new()),
                Some(Duration::from_millis(10)),
                &traffic,
            )
            .await;
            assert_eq!(end, TunnelEnd::Idle);
        });
    }
}
