//! A connection to a backend that many exchanges share: HTTP/2 (RFC 9113), begun without asking or
//! agreed on in TLS.
//!
//! A task of its own drives it, and ends with it; an exchange holds a stream. Unlike on a connection
//! of HTTP/1 what comes for one exchange is read for all, so each stream has a window of its own that
//! its client's pace opens, and the connection's is as wide as all of them together: a slow client
//! holds up no other.

mod acquire;
mod driver;
mod groups;
mod io;
mod request;
mod stream;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};

use self::driver::Driver;
pub(super) use self::groups::Groups;
use self::groups::{Grant, Lease, Load, Opening, Turn};
use self::io::{CountedIo, Peer};
pub(crate) use self::stream::{OpenError, Stream};
use crate::transport::Transport;

/// What streams are opened with.
#[derive(Clone)]
pub(super) struct Sender {
    requests: SendRequest<Bytes>,
    peer: Rc<Peer>,
}

/// Streams on one connection, at most, whatever the backend allows.
const STREAMS: usize = 128;
/// Bytes of a response that wait for a slow client, in each stream.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
/// Bytes that small frames take up beside what is in them, in all streams of a connection together; a
/// backend that sends more of them than slow clients take loses the connection.
const FRAMES_BYTES: usize = 64 << 20;
/// Bytes of a request's body that wait for the backend's window, in each stream.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes of a response's head, before compression.
const HEAD_BYTES: u32 = 64 << 10;

/// When a backend that keeps silent is asked whether it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Silence of a connection with open streams before it is pinged. Servers of gRPC end a
    /// connection that is pinged more often than every 5 minutes without a reason.
    pub(super) silence: Duration,
    /// How long the answer may take.
    pub(super) answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(310),
            answer: Duration::from_secs(20),
        }
    }
}

/// A connection whose backend has said what it allows.
pub(super) struct Trunk {
    requests: SendRequest<Bytes>,
    connection: Connection<CountedIo, Bytes>,
    peer: Rc<Peer>,
}

impl Trunk {
    /// Begins to speak, and waits for the settings of the backend: only then is it known to speak
    /// HTTP/2, and how many streams it takes. No request was sent where this fails.
    pub(super) async fn begin(stream: Transport, address: SocketAddr) -> Result<Self, h2::Error> {
        let (io, peer) = CountedIo::new(stream, address);
        let (requests, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(0)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES)
            .data_frame_budget(FRAMES_BYTES)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(io)
            .await?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
            Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        Ok(Self {
            requests,
            connection,
            peer,
        })
    }

    /// What streams on it are opened with.
    fn sender(&self) -> Sender {
        Sender {
            requests: self.requests.clone(),
            peer: Rc::clone(&self.peer),
        }
    }

    /// What the bookkeeping is to know of it.
    fn load(&self) -> Rc<Load> {
        Load::new(allowed(&self.connection))
    }
}

/// Streams that may be open at a time.
fn allowed(connection: &Connection<CountedIo, Bytes>) -> usize {
    connection.max_concurrent_send_streams().min(STREAMS)
}

/// Whether further streams may be opened: neither an error nor a GOAWAY came.
pub(super) fn is_open(sender: &mut Sender) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    !matches!(sender.requests.poll_ready(&mut cx), Poll::Ready(Err(_)))
}
