//! One downstream connection, as the exchanges on it and the I/O adapter under hyper share it.
//!
//! hyper owns the protocol; this owns the truth about the socket: what was really read and
//! written, when, and in which phase the connection is. An exchange whose response is complete
//! waits here until its last byte was handed to the kernel: only then is it finished.

mod beginning;
mod ending;
mod interim;
mod streams;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::BytesMut;
use http::Response;

pub(crate) use self::beginning::About;
pub(crate) use self::streams::OpenStream;
use self::streams::Trunk;
use super::exchange::Exchange;
use super::head_count::HeadCount;
use super::switch::Switch;
use crate::drain::DrainWatch;
use crate::error::End;
use crate::relay::TunnelTraffic;
use crate::transport::Transport;

/// Where a connection stands between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the first byte of a request.
    Idle,
    /// A head is arriving.
    Head,
    /// A request is being answered.
    Busy,
}

/// A response that hyper has in full, but the kernel perhaps not.
enum Complete {
    /// Its exchange, and how it ends if the rest is written, too.
    Recorded(Box<Exchange>, End),
    /// `__ping__`, which leaves no record.
    Unrecorded,
}

/// One downstream connection. Single-threaded, shared by reference count.
pub(crate) struct Downlink {
    /// What is known of it from its beginning.
    pub(crate) about: Rc<About>,
    /// What a tunnel on this connection carried.
    pub(crate) traffic: TunnelTraffic,
    /// The heads among what was written.
    pub(crate) heads: HeadCount,
    drain: DrainWatch,
    stream: RefCell<Option<Transport>>,
    /// The connection that this is a stream of.
    connection: Option<Rc<Downlink>>,
    /// Which one of them.
    stream_id: u32,
    /// The streams of this connection.
    trunk: OnceCell<Trunk>,
    interim: RefCell<BytesMut>,
    /// 1xx responses that this stream's task is to send.
    hints: RefCell<VecDeque<Response<()>>>,
    /// Flushes of the connection when such were last left, and bytes of them since.
    hinted: Cell<(u64, usize)>,
    complete: RefCell<Option<Complete>>,
    /// Boxed: few connections become a tunnel.
    switch: RefCell<Option<Box<Switch>>>,
    phase: Cell<Phase>,
    phase_began: Cell<Instant>,
    read: Cell<u64>,
    written: Cell<u64>,
    written_before: Cell<u64>,
    read_before: Cell<u64>,
    requests: Cell<u64>,
    flushes: Cell<u64>,
    has_ambiguous_framing: Cell<bool>,
    is_closing: Cell<bool>,
    has_client_closed: Cell<bool>,
    cut: Cell<Option<End>>,
    refused: Cell<Option<u16>>,
    is_kept: Cell<bool>,
    is_idle_over: Cell<bool>,
}

impl Downlink {
    /// The client's address, as far as the connection tells; IPv4 as IPv4.
    pub(crate) fn client_ip(&self) -> IpAddr {
        let About { peer, proxied, .. } = *self.about;
        let client = proxied.map_or(peer, |proxied| proxied.source);
        client.ip().to_canonical()
    }

    /// Whether the worker is draining: the next response is the last on this connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }

    /// The connection goes on as a tunnel, which may last.
    pub(crate) fn may_last(&self) {
        self.count_tunnel();
        self.drain.may_last();
    }

    /// Waits until the worker drains.
    pub(crate) async fn drain_begun(&self) {
        self.drain.begun().await;
    }

    /// Runs an I/O operation on the socket.
    pub(crate) fn with_stream<T>(
        &self,
        operation: impl FnOnce(Pin<&mut Transport>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.stream.borrow_mut().as_mut() {
            Some(stream) => operation(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Takes the socket away from HTTP: for a tunnel or for closing.
    pub(crate) fn take_stream(&self) -> Option<Transport> {
        self.stream.borrow_mut().take()
    }

    /// The phase and when it began.
    pub(crate) fn phase(&self) -> (Phase, Instant) {
        (self.phase.get(), self.phase_began.get())
    }

    /// Enters a phase.
    pub(crate) fn enter(&self, phase: Phase, now: Instant) {
        self.phase.set(phase);
        self.phase_began.set(now);
    }

    /// Idle time is measured anew: the worker drains, and the limit is another.
    pub(crate) fn restart_idle(&self) {
        if self.phase.get() == Phase::Idle {
            self.phase_began.set(Instant::now());
        }
    }

    /// Bytes came from the client.
    pub(crate) fn on_read(&self, count: usize) {
        if count == 0 {
            self.has_client_closed.set(true);
        }
        self.read.set(self.read.get() + count as u64);
    }

    /// Bytes were handed to the kernel.
    pub(crate) fn on_written(&self, count: usize) {
        self.written.set(self.written.get() + count as u64);
    }

    /// Which request of this connection is the last one begun, counted from 1.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Bytes read so far on this connection.
    pub(crate) fn read(&self) -> u64 {
        self.read.get()
    }

    /// The head that just arrived carries both framings (RFC 9112 §6.1).
    pub(crate) fn flag_ambiguous_framing(&self) {
        self.has_ambiguous_framing.set(true);
    }

    /// Begins an exchange: whether its head carried both framings. What hyper answered so far,
    /// if its last byte is not out yet, is finished with what was written of it.
    pub(crate) fn begin(&self, now: Instant, is_kept: bool) -> bool {
        self.finish_complete();
        self.enter(Phase::Busy, now);
        self.is_kept.set(is_kept);
        self.requests.set(self.requests.get() + 1);
        self.has_ambiguous_framing.replace(false)
    }

    /// The response is complete; the exchange is finished when it is flushed.
    pub(crate) fn complete(&self, exchange: Box<Exchange>, end: End) {
        *self.complete.borrow_mut() = Some(Complete::Recorded(exchange, end));
    }

    /// The response is complete and leaves no record.
    pub(crate) fn complete_unrecorded(&self) {
        *self.complete.borrow_mut() = Some(Complete::Unrecorded);
    }

    /// Everything that hyper had was handed to the kernel.
    pub(crate) fn on_flushed(&self) {
        self.flushes.set(self.flushes.get() + 1);
        self.finish_written();
        if let Some(now) = self.finish_complete() {
            self.enter(Phase::Idle, now);
        }
    }

    /// How often all that hyper had was handed to the kernel.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.get()
    }

    /// The connection broke: an exchange whose response was complete did not reach the client.
    pub(crate) fn abandon(&self) {
        let cut = self.cut_as().unwrap_or(End::ClientGone);
        if let Some(complete) = self.complete.take() {
            complete.finish(Some(cut), Instant::now());
        }
        self.abandon_streams(cut);
    }

    /// Finishes what is complete; when that was.
    fn finish_complete(&self) -> Option<Instant> {
        let complete = self.complete.take()?;
        let now = Instant::now();
        match complete {
            Complete::Recorded(exchange, end) => exchange.finish_at(end, now),
            Complete::Unrecorded => {
                self.settle();
            }
        }
        Some(now)
    }

    /// Called by each exchange as it finishes: bytes read and written for it, and how many of these
    /// were no head. The next one counts from here.
    pub(crate) fn settle(&self) -> (u64, u64, u64) {
        let read = self.read.get() - self.read_before.replace(self.read.get());
        let written = self.written.get() - self.written_before.replace(self.written.get());
        let (up, down) = (self.traffic.up.get(), self.traffic.down.get());
        let body = self.heads.settle(written + down);
        (read + up, written + down, body)
    }

    /// Leaves the tunnel to be opened once the 101 is out.
    pub(crate) fn leave_switch(&self, switch: Switch) {
        *self.switch.borrow_mut() = Some(Box::new(switch));
    }

    /// The tunnel to open, if the last response was a 101.
    pub(crate) fn take_switch(&self) -> Option<Box<Switch>> {
        self.switch.take()
    }
}
