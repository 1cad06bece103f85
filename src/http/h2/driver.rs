//! Drives a connection of HTTP/2: takes its streams, keeps its limits, and tells of what the library
//! refused or ended by itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::task::spawn_local;

use super::conduct::{Conduct, Head, Refusal};
use super::io::TrunkIo;
use super::limits::{Limits, Standing, Verdict, should_have_stopped};
use super::stream;
use crate::error::End;
use crate::proxy::{Downlink, Proxy};
use crate::scoreboard::Counter;

/// One connection.
pub(super) struct Driver<'a> {
    link: &'a Rc<Downlink>,
    proxy: &'a Rc<Proxy>,
    connection: Connection<TrunkIo, Bytes>,
    conduct: Rc<RefCell<Conduct>>,
    limits: Limits,
    /// When the client was told that no further stream is served.
    told: Option<Instant>,
    /// When it was told that all is over.
    ended: Option<Instant>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        link: &'a Rc<Downlink>,
        proxy: &'a Rc<Proxy>,
        connection: Connection<TrunkIo, Bytes>,
        conduct: Rc<RefCell<Conduct>>,
    ) -> Self {
        Self {
            link,
            proxy,
            connection,
            conduct,
            limits: Limits::new(&proxy.config().server.timeouts),
            told: None,
            ended: None,
        }
    }

    /// Tells the client that no further stream is served; what is under way goes on (RFC 9113 §6.8).
    pub(super) fn tell(&mut self) {
        if self.told.is_none() {
            self.told = Some(Instant::now());
            self.link.on_idle_over();
            self.connection.graceful_shutdown();
        }
    }

    /// Ready when the connection is over: whether what was last written to it may still arrive.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.told.is_some() && self.link.has_only_tunnels() {
            self.link.may_last();
        }
        loop {
            let polled = self.connection.poll_accept(cx);
            if !matches!(polled, Poll::Ready(Some(Ok(_)))) {
                // Only now: what was reset may have been handed over all the same.
                self.record_refused();
            }
            match polled {
                Poll::Ready(Some(Ok((request, respond)))) => self.open(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(self.fail(&error)),
                Poll::Ready(None) => {
                    self.record_cut_head();
                    return Poll::Ready(true);
                }
                Poll::Pending if self.is_too_much() => self.end(End::BadRequest),
                Poll::Pending => match self.limits.poll(cx, &self.standing()) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Verdict::End) => return Poll::Ready(false),
                    Poll::Ready(Verdict::Tell) => self.tell(),
                    Poll::Ready(Verdict::HeadTooSlow) => {
                        self.record_open_head(408, End::HeadTimeout);
                        self.end(End::HeadTimeout);
                    }
                },
            }
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            busy: self.link.phase().1,
            streamless: self.link.streamless_since(),
            head: self.conduct.borrow().head_since(),
            told: self.told,
            ended: self.ended,
        }
    }

    fn open(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let id = respond.stream_id().as_u32();
        self.conduct.borrow_mut().open(id);
        if should_have_stopped(self.told) {
            // RFC 9113 §8.7: safe to be sent again elsewhere.
            respond.send_reset(Reason::REFUSED_STREAM);
            return self.proxy.seat().add(Counter::StreamsRefused, 1);
        }
        let stream = self.link.open_stream(id, Instant::now());
        // Ends with its stream; all of them with the connection.
        let proxy = Rc::clone(self.proxy);
        // Boxed: the runtime moves what it is given several times, and again at its end.
        spawn_local(Box::pin(stream::serve(proxy, stream, request, respond)));
    }

    fn is_too_much(&self) -> bool {
        self.ended.is_none() && self.conduct.borrow_mut().is_too_much()
    }

    /// Ends the connection with all its streams, for what the client did.
    fn end(&mut self, end: End) {
        self.ended = Some(Instant::now());
        self.link.cut(end);
        count_error(self.proxy, Some(Reason::ENHANCE_YOUR_CALM));
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    }

    /// The connection failed; whether the client has been told why.
    fn fail(&self, error: &h2::Error) -> bool {
        if error.is_go_away() && error.is_remote() {
            return true;
        }
        if !error.is_go_away() {
            self.record_cut_head();
            return false;
        }
        self.link.cut(End::BadRequest);
        count_error(self.proxy, error.reason());
        match error.reason() {
            Some(Reason::ENHANCE_YOUR_CALM) => self.record_open_head(431, End::HeadTooLarge),
            _ => self.record_open_head(400, End::BadRequest),
        }
        true
    }

    fn record_refused(&self) {
        let refused = self.conduct.borrow_mut().take_refused();
        for (head, refusal) in refused {
            match refusal {
                Refusal::Reset(Reason::REFUSED_STREAM) => {
                    self.proxy.seat().add(Counter::StreamsRefused, 1);
                }
                Refusal::Reset(_) => self.record(head, 400, End::BadRequest),
                Refusal::TooLarge => self.record(head, 431, End::HeadTooLarge),
            }
        }
    }

    /// The client left in the middle of a head.
    fn record_cut_head(&self) {
        let is_open = self.conduct.borrow().head_since().is_some();
        if is_open && self.ended.is_none() {
            self.record_open_head(0, End::ClientGone);
        }
    }

    fn record_open_head(&self, status: u16, end: End) {
        let head = self.conduct.borrow().open_head();
        if let Some(head) = head {
            self.record(head, status, end);
        }
    }

    /// Leaves a line for a head that never became a request.
    fn record(&self, head: Head, status: u16, end: End) {
        let stream = self.link.open_stream(head.stream, Instant::now());
        stream.link().on_read(head.bytes);
        self.proxy.record_refused(stream.link(), status, end);
    }
}

/// Counts a connection that was ended for its client's mistakes.
pub(super) fn count_error(proxy: &Proxy, reason: Option<Reason>) {
    let counter = match reason {
        Some(Reason::PROTOCOL_ERROR) => Counter::Http2ProtocolErrors,
        Some(Reason::FLOW_CONTROL_ERROR) => Counter::Http2FlowControlErrors,
        Some(Reason::STREAM_CLOSED) => Counter::Http2StreamClosed,
        Some(Reason::FRAME_SIZE_ERROR) => Counter::Http2FrameSizeErrors,
        Some(Reason::COMPRESSION_ERROR) => Counter::Http2CompressionErrors,
        Some(Reason::ENHANCE_YOUR_CALM) => Counter::Http2EnhanceYourCalm,
        _ => Counter::Http2OtherErrors,
    };
    proxy.seat().add(counter, 1);
}
