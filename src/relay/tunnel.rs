//! The byte pipe after a 101: both ways until both are closed, one fails, or silence is too long.
//!
//! Moves bytes, and notes who ended it. An end of file is passed on to the other side (RFC 9293 §3.6);
//! the pipe ends with the backend's.

mod direction;

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use self::direction::{Direction, Failure};
use super::frames::Frames;
use crate::deadline::{Deadline, after};

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

/// One of the two that a tunnel connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Downstream.
    Client,
    /// Upstream.
    Backend,
}

/// Who ended a tunnel first, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// A WebSocket's Close frame came, with this status.
    Said(Side, u16),
    /// A connection ended without one.
    Cut(Side),
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TunnelOver {
    /// Why.
    pub(crate) end: TunnelEnd,
    /// By whom; `None` where neither side closed.
    pub(crate) closing: Option<Closing>,
}

/// What a tunnel carried; true at any moment, also when it is cut.
#[derive(Debug, Default)]
pub(crate) struct TunnelTraffic {
    /// Bytes from the backend to the client.
    pub(crate) down: Cell<u64>,
    /// Bytes from the client to the backend.
    pub(crate) up: Cell<u64>,
}

/// What a tunnel is told from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TunnelTerms {
    /// Silence after which it ends.
    pub(crate) idle_limit: Option<Duration>,
    /// Its bytes are frames of RFC 6455.
    pub(crate) is_websocket: bool,
}

/// Carries bytes between two connections, what was read ahead of each first.
pub(crate) async fn tunnel<D, U>(
    downstream: (&mut D, Bytes),
    upstream: (&mut U, Bytes),
    terms: TunnelTerms,
    traffic: &TunnelTraffic,
) -> TunnelOver
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (client, client_ahead) = downstream;
    let (backend, backend_ahead) = upstream;
    let closing = Cell::new(None);
    let frames = || terms.is_websocket.then(Frames::default);
    let mut up = Direction::new(
        &client_ahead,
        &traffic.up,
        (Side::Client, &closing),
        frames(),
    );
    let mut down = Direction::new(
        &backend_ahead,
        &traffic.down,
        (Side::Backend, &closing),
        frames(),
    );
    let mut deadline = Deadline::default();
    let mut moved_at = Instant::now();
    let mut is_half_closed = false;
    let end = poll_fn(|cx| {
        let before = traffic.up.get() + traffic.down.get();
        let upward = up.poll(cx, client, backend);
        let downward = down.poll(cx, backend, client);
        if let Some(end) = verdict(&upward, &downward) {
            return Poll::Ready(end);
        }
        let has_closed = upward.is_ready() && !std::mem::replace(&mut is_half_closed, true);
        if has_closed || traffic.up.get() + traffic.down.get() != before {
            moved_at = Instant::now();
        }
        let limit = match upward {
            Poll::Ready(_) => {
                let limit = terms.idle_limit;
                Some(limit.map_or(HALF_CLOSED_LIMIT, |l| l.min(HALF_CLOSED_LIMIT)))
            }
            Poll::Pending => terms.idle_limit,
        };
        deadline
            .poll(cx, after(moved_at, limit))
            .map(|()| TunnelEnd::Idle)
    })
    .await;
    let cut = match end {
        TunnelEnd::DownstreamFailed => Some(Closing::Cut(Side::Client)),
        TunnelEnd::UpstreamFailed => Some(Closing::Cut(Side::Backend)),
        TunnelEnd::Closed | TunnelEnd::Idle => None,
    };
    let closing = closing.get().or(cut);
    TunnelOver { end, closing }
}

/// Whether a tunnel is over, by how its two directions stand.
fn verdict(
    upward: &Poll<Result<(), Failure>>,
    downward: &Poll<Result<(), Failure>>,
) -> Option<TunnelEnd> {
    match (upward, downward) {
        (Poll::Ready(Err(Failure::Reader)), _) | (_, Poll::Ready(Err(Failure::Writer))) => {
            Some(TunnelEnd::DownstreamFailed)
        }
        (Poll::Ready(Err(Failure::Writer)), _) | (_, Poll::Ready(Err(Failure::Reader))) => {
            Some(TunnelEnd::UpstreamFailed)
        }
        // A backend that has closed takes nothing more either, as the original has it; a client
        // may close its side and still wait for the rest.
        (_, Poll::Ready(Ok(()))) => Some(TunnelEnd::Closed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn terms(idle_limit: Option<Duration>) -> TunnelTerms {
        TunnelTerms {
            idle_limit,
            is_websocket: false,
        }
    }

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
                terms(None),
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
            let (over, ()) = tokio::join!(pipe, peers);
            let closing = Some(Closing::Cut(Side::Client));
            let end = TunnelEnd::Closed;
            assert_eq!(over, TunnelOver { end, closing });
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
                terms(Some(limit)),
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
            assert_eq!(both.await.map(|(over, ())| over.end), Ok(TunnelEnd::Closed));
        });
    }

    #[test]
    fn silence_ends_a_tunnel_only_with_a_limit() {
        block_on(async {
            let (_client, mut downstream) = duplex(64);
            let (mut upstream, _backend) = duplex(64);
            let traffic = TunnelTraffic::default();
            let over = tunnel(
                (&mut downstream, Bytes::new()),
                (&mut upstream, Bytes::new()),
                terms(Some(Duration::from_millis(10))),
                &traffic,
            )
            .await;
            let (end, closing) = (TunnelEnd::Idle, None);
            assert_eq!(over, TunnelOver { end, closing });
        });
    }

    #[test]
    fn the_first_close_frame_of_a_websocket_is_told() {
        const BYE: [u8; 4] = [0x88, 2, 0x03, 0xE9];
        use Closing::{Cut, Said};
        use Side::{Backend, Client};
        let bye = || Bytes::from_static(&BYE);
        let cases = [
            (bye(), Bytes::new(), true, Said(Client, 1001)),
            (Bytes::new(), bye(), true, Said(Backend, 1001)),
            (bye(), bye(), true, Said(Client, 1001)),
            (Bytes::new(), Bytes::new(), true, Cut(Backend)),
            (bye(), bye(), false, Cut(Backend)),
        ];
        for (from_client, from_backend, is_websocket, expected) in cases {
            block_on(async {
                let (_client, mut downstream) = duplex(64);
                let (mut upstream, backend) = duplex(64);
                drop(backend);
                let terms = TunnelTerms {
                    is_websocket,
                    ..terms(None)
                };
                let over = tunnel(
                    (&mut downstream, from_client),
                    (&mut upstream, from_backend),
                    terms,
                    &TunnelTraffic::default(),
                )
                .await;
                assert_eq!(over.closing, Some(expected));
            });
        }
    }
}
