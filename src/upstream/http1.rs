//! HTTP/1 towards a backend (RFC 9112): one connection, one exchange at a time.
//!
//! Nothing runs beside the exchange that uses the connection: who waits for the response sends what is
//! left of the request meanwhile. What is not HTTP, or not whole, ends the connection. Invariant: one
//! that may be used again has nothing left to send, nothing left to read, and two ends that want it.

mod chunks;
mod error;
mod framing;
mod request;
mod response;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;
use tokio::task::unconstrained;

use self::chunks::Decoded;
pub(crate) use self::error::Http1Error;
use self::framing::{Framing, Incoming};
use self::request::Sending;
use super::RequestBody;
use super::fields::Fields;
use super::probe::probe;
use crate::transport::Transport;

/// Bytes that are read at once, at first and at most: twice as many after a read that could have
/// brought more.
const READ_BYTES: (usize, usize) = (8 * 1024, 64 * 1024);
/// Bytes of a response's head at most.
const HEAD_BYTES: usize = 64 * 1024;

/// A connection that speaks HTTP/1.
pub(super) struct Connection<B: RequestBody> {
    stream: Transport,
    pub(super) peer: SocketAddr,
    sending: Sending<B>,
    receiving: Receiving,
    received: BytesMut,
    read_bytes: usize,
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

/// What is expected of the backend.
#[derive(Debug)]
enum Receiving {
    /// Nothing: there is no exchange, or it is over.
    Nothing,
    /// A head; of a response without a body where the request was a `HEAD`.
    Head { is_bodiless: bool },
    /// The rest of a body.
    Body(Incoming),
    /// What follows is another protocol's.
    Switched,
}

impl<B: RequestBody> Connection<B> {
    pub(super) fn new(stream: Transport, peer: SocketAddr) -> Self {
        Self {
            stream,
            peer,
            sending: Sending::default(),
            receiving: Receiving::Nothing,
            received: BytesMut::new(),
            read_bytes: READ_BYTES.0,
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
        loop {
            while let Some(head) = response::take(&mut self.received)? {
                let status = head.response.status();
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    on_interim(&head.response);
                    continue;
                }
                self.keeps &= head.keeps();
                self.receive(head.framing(is_bodiless)?);
                return Poll::Ready(Ok(head.response));
            }
            if self.received.len() >= HEAD_BYTES {
                return Poll::Ready(Err(Http1Error::Protocol("head too large")));
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

    fn receive(&mut self, framing: Framing) {
        self.keeps &= framing.leaves_connection();
        self.receiving = match framing {
            Framing::Nothing => Receiving::Nothing,
            Framing::Switch => Receiving::Switched,
            framing => Receiving::Body(framing.into()),
        };
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
            match incoming.decode(&mut self.received)? {
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
        self.keeps && is_complete && self.received.is_empty()
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
        self.keeps &= probe(self.stream.tcp()).is_ok();
        self.is_quiet()
    }

    /// After a 101: the bare connection, and what was read of it already.
    pub(super) fn into_tunnel(self) -> Option<(Transport, Bytes)> {
        matches!(self.receiving, Receiving::Switched).then(|| (self.stream, self.received.freeze()))
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
                Poll::Ready(Err(_)) => {
                    self.sending.stop();
                    self.keeps = false;
                }
            }
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (least, most) = READ_BYTES;
        if self.received.capacity() - self.received.len() < self.read_bytes / 2 {
            self.received.reserve(self.read_bytes);
        }
        let room = self.received.capacity() - self.received.len();
        let count = ready!(pin!(self.stream.read_buf(&mut self.received)).poll(cx))?;
        if count == room {
            self.read_bytes = (self.read_bytes * 2).min(most);
        } else if count < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(least);
        }
        self.traffic.received += count as u64;
        Poll::Ready(Ok(count))
    }
}
