//! Telling a client that reads slowly from one that has stopped.
//!
//! The kernel calls a socket writable only when a good part of its send buffer is free. With a large
//! buffer a slow reader may take longer than the limit for that, though it never pauses. So when
//! time is up the buffer itself is asked whether it has become less full.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use crate::deadline::{Deadline, after};
use crate::proxy::Downlink;

/// The watch over writes that the kernel does not take.
#[derive(Default)]
pub(super) struct Stall {
    deadline: Deadline,
    since: Option<Instant>,
    unsent: Option<u32>,
}

impl Stall {
    /// The kernel took something: whatever was, is over.
    pub(super) fn end(&mut self) {
        self.since = None;
        self.unsent = None;
    }

    /// Ready when the client took nothing for the limit; it may take half as long again to notice.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        link: &Downlink,
        limit: Option<Duration>,
    ) -> Poll<()> {
        loop {
            let since = *self.since.get_or_insert_with(Instant::now);
            let half = limit.map(|limit| limit / 2);
            ready!(self.deadline.poll(cx, after(since, half)));
            let unsent = link.unsent();
            let before = std::mem::replace(&mut self.unsent, unsent);
            if before.is_some_and(|before| unsent.is_none_or(|unsent| unsent >= before)) {
                return Poll::Ready(());
            }
            self.since = Some(Instant::now());
        }
    }
}
