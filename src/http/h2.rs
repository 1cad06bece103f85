//! Speaking HTTP/2 on one downstream connection (RFC 9113), with limits and drain.
//!
//! hyper speaks the protocol and runs each stream in a task of its own; an exchange on it is carried
//! like any other. The limits here bound what one client can make us keep: streams, windows, heads,
//! resets. A connection without streams ends like an idle one; one whose client takes nothing of
//! what it asked for ends as a whole.

mod io;
mod stream;
mod websocket;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use tokio::task::spawn_local;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::io::TrunkIo;
use super::HEAD_BYTES;
use crate::error::End;
use crate::proxy::{Downlink, Proxy};

/// What a client sends first (RFC 9113 §3.4), as far as it differs from any request of HTTP/1.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Streams at a time on one connection; RFC 9113 §6.5.2 advises no fewer than 100.
const STREAMS: u32 = 128;
/// Bytes of a request's body that a stream may send ahead of us.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of a response that wait for the client's window, in each stream.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that the client may reset before we have looked at them: the guard against rapid reset.
const PENDING_RESETS: usize = 20;
/// Streams that we reset for the client's mistakes before its connection ends.
const LOCAL_RESETS: usize = 64;
/// How often limits are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How long a client may take to answer the end of its connection (RFC 9113 §6.8).
const GOAWAY_LIMIT: Duration = Duration::from_secs(5);

/// Serves a connection until it is over; `ahead` is what was read of it before.
pub(super) async fn serve(link: &Rc<Downlink>, proxy: &Rc<Proxy>, ahead: Bytes) -> bool {
    let io = TrunkIo::new(Rc::clone(link), ahead, &proxy.config().server.timeouts);
    let service = {
        let (proxy, link) = (Rc::clone(proxy), Rc::clone(link));
        service_fn(move |request| stream::serve(Rc::clone(&proxy), Rc::clone(&link), request))
    };
    let mut builder = http2::Builder::new(LocalTasks);
    builder
        .enable_connect_protocol()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_send_buf_size(SEND_BUFFER);
    let mut connection = builder.serve_connection(io, service);
    let mut warden = Warden::new(link, proxy);
    let mut drain_begun = pin!(link.drain_begun());
    let mut is_told = false;
    poll_fn(|cx| {
        let is_draining = link.is_draining() || drain_begun.as_mut().poll(cx).is_ready();
        let verdict = warden.poll(cx, is_told);
        if !is_told && (is_draining || verdict == Verdict::Tell) {
            is_told = true;
            warden.told = Some(Instant::now());
            Pin::new(&mut connection).graceful_shutdown();
        }
        if verdict == Verdict::End {
            return Poll::Ready(false);
        }
        Pin::new(&mut connection)
            .poll(cx)
            .map(|result| result.is_ok())
    })
    .await
}

/// What the watch over a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Go on.
    Fine,
    /// Tell the client that no further stream is served.
    Tell,
    /// Leave at once.
    End,
}

/// Looks at the limits of a connection, once a second.
struct Warden<'a> {
    link: &'a Rc<Downlink>,
    ticks: Interval,
    idle: Option<Duration>,
    stall: Option<Duration>,
    /// When the client was told that it is over.
    told: Option<Instant>,
}

impl<'a> Warden<'a> {
    fn new(link: &'a Rc<Downlink>, proxy: &Proxy) -> Self {
        let mut ticks = interval(WATCH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let timeouts = &proxy.config().server.timeouts;
        Self {
            link,
            ticks,
            idle: timeouts.keep_alive,
            stall: timeouts.idle_body,
            told: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, is_told: bool) -> Verdict {
        let mut verdict = Verdict::Fine;
        while self.ticks.poll_tick(cx).is_ready() {
            let now = Instant::now();
            let is_stalled = |limit| self.link.has_stalled_stream(limit, now);
            if self.stall.is_some_and(is_stalled) {
                self.link.on_timeout(End::ClientTimeout);
                return Verdict::End;
            }
            let Some(since) = self.link.streamless_since(now) else {
                if is_told && self.link.has_only_tunnels() {
                    self.link.may_last();
                }
                continue;
            };
            let is_past = |from: Instant, limit| now.saturating_duration_since(from) >= limit;
            let is_unanswered = self
                .told
                .is_some_and(|told| is_past(told.max(since), GOAWAY_LIMIT));
            if is_told && is_unanswered {
                return Verdict::End;
            }
            if self.idle.is_some_and(|limit| is_past(since, limit)) {
                verdict = Verdict::Tell;
            }
        }
        verdict
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy)]
struct LocalTasks;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, task: F) {
        // Each ends with its stream; all of them with the connection.
        spawn_local(task);
    }
}
