//! The body of a response on its way into a stream, as fast as the client makes room for it.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, SendStream};

use crate::deadline::{Deadline, after};
use crate::error::End;
use crate::proxy::{Downlink, ReplyBody};
use crate::streams::{Pump, PumpError};

/// Bytes that a client has to make room for within the limit, where something waits for it: with less
/// it keeps a backend, a place and memory for next to nothing.
const LEAST_BYTES: usize = 1024;

/// Hands a body over to its stream.
pub(super) struct Delivery {
    pump: Pump<ReplyBody>,
    link: Rc<Downlink>,
    limit: Option<Duration>,
    deadline: Deadline,
    /// Since when the client owes us room, and how much it made.
    owes_since: Option<Instant>,
    made: usize,
}

impl Delivery {
    pub(super) fn new(
        body: ReplyBody,
        send: SendStream<Bytes>,
        link: &Rc<Downlink>,
        limit: Option<Duration>,
    ) -> Self {
        Self {
            pump: Pump::new(body, send),
            link: Rc::clone(link),
            limit,
            deadline: Deadline::default(),
            owes_since: None,
            made: 0,
        }
    }

    /// Ready when it is over, well or not: the link knows.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (link, made) = (&self.link, &mut self.made);
        let polled = self.pump.poll(cx, |count| {
            link.on_written(count);
            *made += count;
        });
        match polled {
            Poll::Ready(Ok(())) => self.link.deliver(),
            Poll::Ready(Err(PumpError::Body(broken))) => {
                self.pump.reset(broken.reason());
                self.link.deliver();
            }
            Poll::Ready(Err(PumpError::Stream)) => {}
            Poll::Pending => {
                if self.pump.poll_reset(cx).is_pending() {
                    ready!(self.poll_stall(cx));
                    self.link.cut(End::ClientTimeout);
                    self.pump.reset(Reason::CANCEL);
                }
            }
        }
        Poll::Ready(())
    }

    /// Ready when the client has made next to no room for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.pump.is_waiting() {
            self.owes_since = None;
            return Poll::Pending;
        }
        if self.made >= LEAST_BYTES || self.owes_since.is_none() {
            self.made = 0;
            self.owes_since = Some(Instant::now());
        }
        let at = self.owes_since.and_then(|since| after(since, self.limit));
        self.deadline.poll(cx, at)
    }
}
