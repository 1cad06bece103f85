//! Whether a failed attempt is repeated, where, and who is blamed. Pure (RFC 9110 §9.2.2).
//!
//! What was partly sent is never replayed, and a request that may not be repeated is never sent
//! twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error::End;

/// What is known of a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// How it failed.
    pub(crate) end: End,
    /// How far it came.
    pub(crate) reached: Reached,
    /// Whether its connection had served a request before.
    pub(crate) is_reused: bool,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// No byte of the request left.
    Nothing,
    /// It left, and the backend says that it has not looked at it (RFC 9113 §8.7).
    Declined,
    /// Some of the request left, no byte of a response came.
    Sent,
    /// A byte of the response came.
    Answered,
}

impl Failure {
    /// A failure on a connection of which nothing more is known yet.
    pub(crate) fn new(end: End, reached: Reached) -> Self {
        Self {
            end,
            reached,
            is_reused: false,
        }
    }

    /// A fault of our own.
    pub(crate) fn internal() -> Self {
        Self::new(End::InternalError, Reached::Answered)
    }
}

/// What is known of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeatable {
    /// Whether its method may be repeated.
    pub(crate) is_idempotent: bool,
    /// Whether its body is absent, or nothing of it was taken yet.
    pub(crate) is_untouched: bool,
    /// Whether its body is absent or still at hand in full.
    pub(crate) is_whole: bool,
    /// Attempts left.
    pub(crate) tries_left: u32,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The next step.
    pub(crate) next: Next,
    /// Whether the backend is to be marked dead.
    pub(crate) is_blamed: bool,
}

/// The next step after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The connection was stale: a fresh one to the same backend.
    SameBackendFresh,
    /// Another backend.
    OtherBackend,
    /// The client is told.
    GiveUp,
}

/// Judges a failed attempt.
pub(crate) fn judge(failure: Failure, request: Repeatable) -> Verdict {
    let is_stale = failure.is_reused
        && failure.reached != Reached::Answered
        && failure.end == End::ConnectionTerminated;
    let may_repeat = match failure.reached {
        // There is nobody to answer.
        _ if is_clients_fault(failure.end) => false,
        Reached::Nothing | Reached::Declined => request.is_whole,
        // A backend that keeps silent may be at work on it: not even an idempotent request is
        // sent a second time on the same patience.
        Reached::Sent => {
            request.is_idempotent
                && request.is_untouched
                && failure.end == End::ConnectionTerminated
        }
        Reached::Answered => false,
    };
    let next = match (may_repeat, request.tries_left) {
        (true, 1..) if is_stale => Next::SameBackendFresh,
        (true, 1..) => Next::OtherBackend,
        _ => Next::GiveUp,
    };
    Verdict {
        next,
        // One that says what it does not do is alive.
        is_blamed: !is_stale && failure.reached != Reached::Declined && is_backends_fault(failure),
    }
}

/// Whether the client left, or did not send what it promised.
fn is_clients_fault(end: End) -> bool {
    matches!(end, End::ClientGone | End::ClientTimeout | End::BadRequest)
}

/// Whether the failure says that the backend cannot serve. A name that does not resolve, a limit
/// of our own and an answer that is no HTTP mark nothing, as in the original.
fn is_backends_fault(failure: Failure) -> bool {
    match failure.end {
        End::ConnectionRefused
        | End::DestinationUnavailable
        | End::ConnectionTimeout
        | End::TlsProtocolError
        | End::ReadTimeout => true,
        End::ConnectionTerminated => failure.reached != Reached::Answered,
        End::Ok
        | End::ClientGone
        | End::ClientTimeout
        | End::BadRequest
        | End::HeadTooLarge
        | End::HeadTimeout
        | End::NoHost
        | End::NoSuchHost
        | End::NoLiveBackend
        | End::InvalidBackend
        | End::RedisUnavailable
        | End::ConnectionLimitReached
        | End::DnsError
        | End::DnsTimeout
        | End::HttpProtocolError
        | End::TunnelIdle
        | End::Shutdown
        | End::InternalError => false,
    }
}

/// Retries that a frontend may make, so that an outage is not multiplied: a burst, refilled
/// steadily. Frontends that never retry cost nothing.
#[derive(Default)]
pub(crate) struct RetryBudget {
    spent: HashMap<Box<str>, Tokens>,
}

struct Tokens {
    left: f64,
    filled: Instant,
}

impl RetryBudget {
    /// Retries of one frontend that may come at once.
    const BURST: f64 = 200.0;
    /// Retries of one frontend that may come each second.
    const PER_SECOND: f64 = 100.0;
    /// Frontends remembered at a time.
    const FRONTENDS: usize = 4096;

    /// Draws one retry; whether there was one.
    pub(crate) fn draw(&mut self, frontend: &str, now: Instant) -> bool {
        if self.spent.len() >= Self::FRONTENDS {
            self.forget_full(now);
        }
        let tokens = match self.spent.get_mut(frontend) {
            Some(tokens) => tokens,
            None => self.spent.entry(frontend.into()).or_insert(Tokens {
                left: Self::BURST,
                filled: now,
            }),
        };
        tokens.fill(now);
        if tokens.left < 1.0 {
            return false;
        }
        tokens.left -= 1.0;
        true
    }

    /// Drops frontends whose budget is full again; all, if none is: a budget is a bound on
    /// trouble, not a ledger.
    fn forget_full(&mut self, now: Instant) {
        self.spent.retain(|_, tokens| {
            tokens.fill(now);
            tokens.left < Self::BURST
        });
        if self.spent.len() >= Self::FRONTENDS {
            self.spent.clear();
        }
    }
}

impl Tokens {
    fn fill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.filled);
        let grown = self.left + passed.as_secs_f64() * RetryBudget::PER_SECOND;
        self.left = grown.min(RetryBudget::BURST);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Repeatable = Repeatable {
        is_idempotent: true,
        is_untouched: true,
        is_whole: true,
        tries_left: 3,
    };
    const POST: Repeatable = Repeatable {
        is_idempotent: false,
        ..GET
    };

    fn failure(end: End, reached: Reached, is_reused: bool) -> Failure {
        Failure {
            end,
            reached,
            is_reused,
        }
    }

    /// The verdict on an attempt that ended like this, as `(next, is_blamed)`.
    fn on(end: End, reached: Reached, is_reused: bool, request: Repeatable) -> (Next, bool) {
        let verdict = judge(failure(end, reached, is_reused), request);
        (verdict.next, verdict.is_blamed)
    }

    #[test]
    fn verdicts() {
        use End::{ConnectionRefused as Refused, ConnectionTerminated as Closed};
        use End::{HttpProtocolError as Garbage, ReadTimeout as Silence};
        use Next::{GiveUp, OtherBackend, SameBackendFresh};
        use Reached::{Answered, Declined, Nothing, Sent};
        const LAST: Repeatable = Repeatable {
            tries_left: 0,
            ..GET
        };
        // Its body was begun, and what was taken of it is still at hand; or is not.
        const PUT: Repeatable = Repeatable {
            is_untouched: false,
            ..GET
        };
        const GONE: Repeatable = Repeatable {
            is_whole: false,
            ..PUT
        };
        assert_eq!(on(Refused, Nothing, false, GET), (OtherBackend, true));
        assert_eq!(on(Refused, Nothing, false, POST), (OtherBackend, true));
        assert_eq!(on(Refused, Nothing, false, LAST), (GiveUp, true));
        for end in [End::ClientGone, End::ClientTimeout, End::BadRequest] {
            assert_eq!(on(end, Nothing, false, GET), (GiveUp, false), "{end:?}");
        }
        assert_eq!(on(Closed, Sent, true, GET), (SameBackendFresh, false));
        assert_eq!(on(Closed, Nothing, true, POST), (SameBackendFresh, false));
        assert_eq!(on(Closed, Sent, true, POST), (GiveUp, false));
        assert_eq!(on(Closed, Sent, false, GET), (OtherBackend, true));
        assert_eq!(on(Closed, Sent, false, POST), (GiveUp, true));
        assert_eq!(on(Closed, Sent, true, PUT), (GiveUp, false));
        assert_eq!(on(Closed, Nothing, true, PUT), (SameBackendFresh, false));
        assert_eq!(on(Closed, Nothing, true, GONE), (GiveUp, false));
        assert_eq!(on(Closed, Declined, true, POST), (SameBackendFresh, false));
        assert_eq!(on(Closed, Declined, false, POST), (OtherBackend, false));
        assert_eq!(on(Closed, Declined, true, GONE), (GiveUp, false));
        assert_eq!(on(Silence, Sent, false, GET), (GiveUp, true));
        assert_eq!(on(Closed, Answered, false, GET), (GiveUp, false));
        assert_eq!(on(Garbage, Answered, false, GET), (GiveUp, false));
    }

    #[test]
    fn a_budget_has_an_end_and_comes_back() {
        let mut budget = RetryBudget::default();
        let now = Instant::now();
        let drawn = (0..1000).filter(|_| budget.draw("a", now)).count();
        assert_eq!(drawn, 200);
        assert!(budget.draw("b", now), "frontends do not share");
        assert!(budget.draw("a", now + Duration::from_millis(20)));
    }

    #[test]
    fn frontends_remembered_are_bounded() {
        let mut budget = RetryBudget::default();
        let now = Instant::now();
        for i in 0..10_000 {
            budget.draw(&i.to_string(), now);
        }
        assert!(budget.spent.len() <= RetryBudget::FRONTENDS);
    }
}
