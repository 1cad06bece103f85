//! Speaking HTTP/2 on one downstream connection (RFC 9113), with limits and drain.
//!
//! The h2 library speaks the protocol; each stream has a task of its own, and an exchange on it is
//! carried like any other. The limits here bound what one client can make us keep: streams, windows,
//! heads, resets, frames for nothing. A connection without streams ends like an idle one.

mod conduct;
mod delivery;
mod driver;
mod frames;
mod io;
mod limits;
mod patience;
mod stream;
mod websocket;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::time::timeout;

use self::conduct::Conduct;
use self::driver::{Driver, count_error};
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
/// Bytes of a response that wait for the client's socket, in each stream.
const SEND_BUFFER: usize = 32 << 10;
/// Bytes that small frames of requests take up beside what is in them, in all streams of a connection
/// together: some ten thousand messages that wait for slow backends.
const FRAMES_BYTES: usize = 4 << 20;
/// Streams that the client may reset before we have looked at them: all of them at once, as a browser
/// does whose page is closed. More often it runs out of patience ([`patience`]).
const PENDING_RESETS: usize = STREAMS as usize;
/// Streams that we reset for the client's mistakes before its connection ends. A client that has not yet
/// heard of our limit may open some too many.
const LOCAL_RESETS: usize = 256;
/// Where no limit is set for a head: how long a client may take for its preface.
const PREFACE_LIMIT: Duration = Duration::from_secs(60);

/// Serves a connection until it is over; `ahead` is what was read of it before. Whether it ended well.
pub(super) async fn serve(link: &Rc<Downlink>, proxy: &Rc<Proxy>, ahead: Bytes) -> bool {
    let conduct = Rc::new(RefCell::new(Conduct::default()));
    let stall_limit = proxy.config().server.timeouts.idle_body;
    let io = TrunkIo::new(Rc::clone(link), Rc::clone(&conduct), ahead, stall_limit);
    let Some(connection) = greet(link, proxy, io).await else {
        return false;
    };
    let mut driver = Driver::new(link, proxy, connection, conduct);
    let mut drain_begun = pin!(link.drain_begun());
    poll_fn(|cx| {
        if link.is_draining() || drain_begun.as_mut().poll(cx).is_ready() {
            driver.tell();
        }
        driver.poll(cx)
    })
    .await
}

/// Exchanges the prefaces.
async fn greet(
    link: &Rc<Downlink>,
    proxy: &Rc<Proxy>,
    io: TrunkIo,
) -> Option<Connection<TrunkIo, Bytes>> {
    let mut builder = Builder::new();
    builder
        .enable_connect_protocol()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES as u32)
        .max_local_error_reset_streams(Some(LOCAL_RESETS))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(FRAMES_BYTES);
    let limit = proxy.config().server.timeouts.request_head;
    let handshake = timeout(limit.unwrap_or(PREFACE_LIMIT), builder.handshake(io)).await;
    let is_silent = link.read() == 0;
    match handshake {
        Ok(Ok(connection)) => return Some(connection),
        Ok(Err(error)) if error.is_go_away() => {
            count_error(proxy, error.reason());
            proxy.record_refused(link, 400, End::BadRequest);
        }
        _ if is_silent => {}
        Ok(Err(_)) => proxy.record_refused(link, 0, End::ClientGone),
        Err(_) => proxy.record_refused(link, 408, End::HeadTimeout),
    }
    None
}
