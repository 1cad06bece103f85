//! The limits in time of a connection of HTTP/2.
//!
//! One timer a connection, which fires once a limit: while streams are open it is only armed anew.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::config::Timeouts;
use crate::deadline::{Deadline, after, earlier};

/// How long a client may take to answer the end of its connection (RFC 9113 §6.8).
const GOAWAY_LIMIT: Duration = Duration::from_secs(5);

/// Where a connection stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// When a stream was last opened.
    pub(super) busy: Instant,
    /// Since when none is open.
    pub(super) streamless: Option<Instant>,
    /// Since when a head is on its way.
    pub(super) head: Option<Instant>,
    /// When the client was told that no further stream is served.
    pub(super) told: Option<Instant>,
    /// When it was told that all is over.
    pub(super) ended: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Tell the client that no further stream is served.
    Tell,
    /// A head takes too long.
    HeadTooSlow,
    /// Leave at once.
    End,
}

/// The limits of one connection.
pub(super) struct Limits {
    deadline: Deadline,
    head: Option<Duration>,
    idle: Option<Duration>,
    looked: Instant,
}

impl Limits {
    /// As configured.
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        Self {
            deadline: Deadline::default(),
            head: timeouts.request_head,
            idle: timeouts.keep_alive,
            looked: Instant::now(),
        }
    }

    /// Ready when something is to be done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, standing: &Standing) -> Poll<Verdict> {
        loop {
            let at = self.next(standing);
            if self.deadline.poll(cx, at).is_pending() {
                return Poll::Pending;
            }
            self.looked = Instant::now();
            if let Some(verdict) = self.judge(standing) {
                return Poll::Ready(verdict);
            }
        }
    }

    fn next(&self, standing: &Standing) -> Option<Instant> {
        if let Some(ended) = standing.ended {
            return Some(ended + GOAWAY_LIMIT);
        }
        let busy = standing.busy.max(self.looked);
        let since = standing.streamless.unwrap_or(busy);
        let silence = match standing.told {
            Some(told) => Some(told.max(since) + GOAWAY_LIMIT),
            None => after(since, self.idle),
        };
        let head = standing.head.and_then(|since| after(since, self.head));
        earlier(silence, head)
    }

    fn judge(&self, standing: &Standing) -> Option<Verdict> {
        let is_past = |since: Instant, limit: Option<Duration>| {
            after(since, limit).is_some_and(|at| at <= self.looked)
        };
        if let Some(ended) = standing.ended {
            return is_past(ended, Some(GOAWAY_LIMIT)).then_some(Verdict::End);
        }
        if standing.head.is_some_and(|since| is_past(since, self.head)) {
            return Some(Verdict::HeadTooSlow);
        }
        let since = standing.streamless?;
        match standing.told {
            Some(told) => is_past(told.max(since), Some(GOAWAY_LIMIT)).then_some(Verdict::End),
            None => is_past(since, self.idle).then_some(Verdict::Tell),
        }
    }
}

/// Whether a client that was told at this time should have stopped to open streams.
pub(super) fn should_have_stopped(told: Option<Instant>) -> bool {
    told.is_some_and(|told| told.elapsed() >= GOAWAY_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_follows_from_where_a_connection_stands() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let busy = Standing {
            busy: start,
            streamless: None,
            head: None,
            told: None,
            ended: None,
        };
        let idle = Standing {
            streamless: Some(at(10)),
            ..busy
        };
        let told = |standing, seconds| Standing {
            told: Some(at(seconds)),
            ..standing
        };
        let reading = |standing, seconds| Standing {
            head: Some(at(seconds)),
            ..standing
        };
        let ended = Standing {
            ended: Some(at(20)),
            ..reading(idle, 0)
        };
        // A head may take 7 s, an idle connection stay for 30 s.
        let cases = [
            (busy, 1000, None),
            (idle, 39, None),
            (idle, 40, Some(Verdict::Tell)),
            (told(busy, 20), 1000, None),
            (told(idle, 20), 24, None),
            (told(idle, 20), 25, Some(Verdict::End)),
            (told(idle, 2), 14, None),
            (told(idle, 2), 15, Some(Verdict::End)),
            (reading(busy, 20), 26, None),
            (reading(busy, 20), 27, Some(Verdict::HeadTooSlow)),
            (reading(told(idle, 22), 20), 27, Some(Verdict::HeadTooSlow)),
            (ended, 24, None),
            (ended, 25, Some(Verdict::End)),
        ];
        for (standing, now, expected) in cases {
            let limits = Limits {
                deadline: Deadline::default(),
                head: Some(Duration::from_secs(7)),
                idle: Some(Duration::from_secs(30)),
                looked: at(now),
            };
            assert_eq!(limits.judge(&standing), expected, "{now}: {standing:?}");
            if expected.is_none() {
                let next = limits.next(&standing).unwrap();
                assert!(next > at(now), "{now}: {standing:?}");
            }
        }
    }
}
