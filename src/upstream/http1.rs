//! HTTP/1 towards a backend (RFC 9112): one connection, one exchange at a time.
//!
//! Nothing runs beside the exchange that uses the connection: who waits for the response sends what is
//! left of the request meanwhile. What is not HTTP, or not whole, ends the connection. Invariant: one
//! that may be used again has nothing left to send, nothing left to read, and two ends that want it.

mod chunks;
mod error;
mod framing;
mod received;
mod request;
mod response;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::task::unconstrained;

use self::chunks::Decoded;
pub(crate) use self::error::Http1Error;
use self::framing::Receiving;
use self::received::Received;
use self::request::Sending;
use super::RequestBody;
use super::probe::is_silent;
use crate::fields::Fields;
use crate::transport::Transport;

/// Bytes of a response's head at most.
const HEAD_BYTES: usize = 64 * 1024;

/// A connection that speaks HTTP/1.
pub(super) struct Connection<B: RequestBody> {
    stream: Transport,
    pub(super) peer: SocketAddr,
    sending: Sending<B>,
    receiving: Receiving,
    received: Received,
    /// A reset that was met in writing: the kernel tells of it once, and whoever reads next would take
    /// it for an orderly end.
    reset: Option<io::Error>,
    /// Whether another exchange may follow, once this one is complete.
    keeps: bool,
    traffic: Traffic,
}

/// Bytes of HTTP since the connection was last taken for an exchange: below TLS nothing is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    /// Of the request: taken by the layer below.
    pub(crate) sent: u64,
    /// Of the response.
    pub(crate) received: u64,
}

impl<B: RequestBody> Connection<B> {
    pub(super) fn new(stream: Transport, peer: SocketAddr) -> Self {
        Self {
            stream,
            peer,
            sending: Sending::default(),
            receiving: Receiving::Nothing,
            received: Received::default(),
            reset: None,
            keeps: true,
            traffic: Traffic::default(),
        }
    }

    /// Begins an exchange; [`Connection::poll_response`] moves it.
    pub(super) fn begin(&mut self, head: &Request<()>, also: Option<&Fields>, body: B) {
        self.traffic = Traffic::default();
        self.receiving = Receiving::Head {
            is_bodiless: head.method() == Method::HEAD,
        };
        self.sending.begin(head, also, body);
    }

    /// Waits for the head of the response, and sends the request meanwhile; tells 1xx responses as they
    /// come.
    ///
    /// # Errors
    ///
    /// What ended the connection.
    pub(super) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        on_interim: impl FnMut(&Response<()>),
    ) -> Poll<Result<Response<()>, Http1Error>> {
        let polled = self.poll_head(cx, on_interim);
        if matches!(polled, Poll::Ready(Err(_))) {
            self.give_up();
        }
        polled
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        mut on_interim: impl FnMut(&Response<()>),
    ) -> Poll<Result<Response<()>, Http1Error>> {
        let Receiving::Head { is_bodiless } = self.receiving else {
            return Poll::Ready(Err(Http1Error::Closed));
        };
        let mut has_interim = false;
        loop {
            while let Some(head) = response::take(&mut self.received.bytes)? {
                let status = head.response.status();
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    on_interim(&head.response);
                    has_interim = true;
                    continue;
                }
                self.receiving = head.rest(is_bodiless)?;
                self.keeps &= head.keeps() && self.receiving.leaves_connection();
                return Poll::Ready(Ok(head.response));
            }
            if self.received.bytes.len() >= HEAD_BYTES {
                return Poll::Ready(Err(Http1Error::Protocol("head too large")));
            }
            if has_interim {
                // The limits are looked at between two reads, also where a backend says for ever that it
                // goes on.
                self.send(cx)?;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Read first: of a connection that is closed by now nothing is sent.
            match self.poll_read(cx)? {
                Poll::Ready(0) => return Poll::Ready(Err(Http1Error::Closed)),
                Poll::Ready(_) if self.traffic.sent == 0 => {
                    return Poll::Ready(Err(Http1Error::Protocol("response without a request")));
                }
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.send(cx)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// The next piece of the response's body, while the rest of the request goes on; `None` at its end.
    ///
    /// # Errors
    ///
    /// What ended the connection.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        let polled = self.poll_body(cx);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.give_up();
        }
        polled
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http1Error>>> {
        self.send(cx)?;
        loop {
            let Receiving::Body(incoming) = &mut self.receiving else {
                return Poll::Ready(None);
            };
            match incoming.decode(&mut self.received.bytes)? {
                Decoded::Starved => {}
                Decoded::Frame(frame) => {
                    if incoming.is_over() {
                        self.receiving = Receiving::Nothing;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Decoded::End => self.receiving = Receiving::Nothing,
            }
            if matches!(self.receiving, Receiving::Body(_)) && ready!(self.poll_read(cx))? == 0 {
                self.end_of_stream()?;
            }
        }
    }

    /// The backend has closed its side.
    fn end_of_stream(&mut self) -> Result<(), Http1Error> {
        if !matches!(&self.receiving, Receiving::Body(incoming) if incoming.ends_with_stream()) {
            return Err(Http1Error::Closed);
        }
        self.receiving = Receiving::Nothing;
        Ok(())
    }

    /// Whether nothing more comes of the response.
    pub(super) fn is_end_stream(&self) -> bool {
        !matches!(self.receiving, Receiving::Body(_))
    }

    /// What is still to come of the response's body.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.receiving {
            Receiving::Body(incoming) => incoming.size_hint(),
            _ => SizeHint::with_exact(0),
        }
    }

    /// What was sent and received of this exchange.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Whether another exchange may follow at once.
    pub(super) fn is_reusable(&self) -> bool {
        let is_complete = matches!(self.receiving, Receiving::Nothing) && self.sending.is_done();
        self.keeps && is_complete && self.received.bytes.is_empty()
    }

    /// The same, as far as the runtime has heard of the backend by now: a close, or bytes that nobody
    /// asked for, make it unfit. Nobody is woken for what comes later. The budget of the task does not
    /// count, or a used-up one would make every connection look quiet.
    pub(super) fn is_quiet(&mut self) -> bool {
        if !self.is_reusable() {
            return false;
        }
        let idle = &mut Context::from_waker(Waker::noop());
        let look = pin!(unconstrained(std::future::poll_fn(|cx| self.poll_read(cx))));
        let is_quiet = look.poll(idle).is_pending();
        self.keeps &= is_quiet;
        is_quiet
    }

    /// The same by a look at the socket itself: what the kernel knows by now.
    pub(super) fn is_quiet_by_kernel(&mut self) -> bool {
        self.keeps &= is_silent(self.stream.tcp());
        self.is_quiet()
    }

    /// After a 101 to a request that is out: the bare connection, and what was read of it already.
    pub(super) fn into_tunnel(self) -> Option<(Transport, Bytes)> {
        let has_switched = matches!(self.receiving, Receiving::Switched);
        (has_switched && self.sending.is_done())
            .then(|| (self.stream, self.received.bytes.freeze()))
    }

    fn give_up(&mut self) {
        self.keeps = false;
        self.receiving = Receiving::Nothing;
    }

    /// Sends what there is, as far as the backend takes it. Where it takes no more the rest is let go:
    /// what it has to say is still read.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), Http1Error> {
        while !self.sending.is_done() {
            self.sending.fill(cx)?;
            match self.sending.poll_write(&mut self.stream, cx) {
                Poll::Pending | Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(count)) => self.traffic.sent += count as u64,
                Poll::Ready(Err(error)) => {
                    self.sending.stop();
                    self.keeps = false;
                    // The end of TLS has a mark of its own.
                    let is_plain = matches!(self.stream, Transport::Plain(_));
                    let is_reset = is_plain && error.kind() == ErrorKind::ConnectionReset;
                    self.reset = is_reset.then_some(error);
                }
            }
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let count = ready!(self.received.poll_read(&mut self.stream, cx))?;
        if count == 0
            && let Some(error) = self.reset.take()
        {
            return Poll::Ready(Err(error));
        }
        self.traffic.received += count as u64;
        Poll::Ready(Ok(count))
    }
}
