//! Waiting for the head of a response: the limits, and what a failure means.
//!
//! While the client still sends, silence is its fault or the backend's, whoever is waited for;
//! afterwards it is the backend's.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Response;

use super::outgoing::Outgoing;
use super::retry::{Failure, Reached};
use super::{ClientWatch, Downlink};
use crate::config::Timeouts;
use crate::deadline::{after, earlier};
use crate::error::End;
use crate::relay::{RequestBody, Upload};
use crate::upstream::{AnswerError, ConnectError, OpenError, Upstream};

/// How long a body is held back for a backend that ignores `Expect` (RFC 9110 §10.1.1: a client
/// need not wait for ever, and neither need we).
const CONTINUE_LIMIT: Duration = Duration::from_secs(1);

/// What made an attempt fail, for the log of the process.
pub(super) type Cause = Box<dyn std::error::Error>;

/// The wait of one attempt.
pub(super) struct HeadWait<'a> {
    timeouts: &'a Timeouts,
    outgoing: &'a Outgoing,
    link: &'a Downlink,
    sent_at: Instant,
    watch: ClientWatch,
}

/// What the passing of time brought.
enum Waited {
    /// The body is held back no longer: it is to be sent now.
    BodyReleased,
    /// A limit is over.
    TooLong(End),
}

impl<'a> HeadWait<'a> {
    /// Begins to wait.
    pub(super) fn new(timeouts: &'a Timeouts, outgoing: &'a Outgoing, link: &'a Downlink) -> Self {
        Self {
            timeouts,
            outgoing,
            link,
            sent_at: Instant::now(),
            watch: ClientWatch::default(),
        }
    }

    /// Moves the request until the head of the response is there or the attempt has failed.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream<RequestBody>,
    ) -> Poll<Result<Response<()>, (Failure, Cause)>> {
        loop {
            let note = |interim: &Response<()>| self.outgoing.note_interim(interim);
            let answered = upstream.poll_response(cx, note);
            self.outgoing.pass_interim(cx, self.link);
            if let Poll::Ready(answer) = answered {
                return Poll::Ready(answer.map_err(|error| self.failure_of(error, upstream)));
            }
            let (end, cause) = if self.is_client_gone(cx) {
                (End::ClientGone, "client reset its connection")
            } else {
                match ready!(self.poll_limits(cx, upstream)) {
                    Waited::BodyReleased => continue,
                    Waited::TooLong(end) => (end, "silent for longer than the limit"),
                }
            };
            return Poll::Ready(Err(self.failure(end, upstream, cause.into())));
        }
    }

    /// While a body comes, reading it tells.
    fn is_client_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let is_read = self.upload().is_some_and(|upload| !upload.is_ended());
        !is_read && self.watch.is_gone(self.link, cx)
    }

    fn upload(&self) -> Option<&Upload> {
        self.outgoing.upload.as_deref()
    }

    fn poll_limits(
        &self,
        cx: &mut Context<'_>,
        upstream: &mut Upstream<RequestBody>,
    ) -> Poll<Waited> {
        let is_held_back = self.upload().is_some_and(Upload::is_held_back);
        let gate = is_held_back.then(|| self.sent_at + CONTINUE_LIMIT);
        let limit = self.limit();
        ready!(upstream.deadline().poll(cx, earlier(gate, limit)));
        if limit.is_some_and(|limit| limit <= Instant::now()) {
            let is_clients_turn = self.upload().is_some_and(Upload::is_starved);
            return Poll::Ready(Waited::TooLong(match is_clients_turn {
                true => End::ClientTimeout,
                false => End::ReadTimeout,
            }));
        }
        if let Some(upload) = self.upload() {
            upload.open_gate();
        }
        Poll::Ready(Waited::BodyReleased)
    }

    fn limit(&self) -> Option<Instant> {
        match self.upload() {
            Some(upload) if !upload.is_ended() && !upload.is_held_back() => {
                after(upload.moved_at().max(self.sent_at), self.timeouts.idle_body)
            }
            Some(upload) => after(
                upload.moved_at().max(self.sent_at),
                self.timeouts.first_byte,
            ),
            None => after(self.sent_at, self.timeouts.first_byte),
        }
    }

    /// The failure that an error stands for.
    fn failure_of(&self, error: AnswerError, upstream: &Upstream<RequestBody>) -> (Failure, Cause) {
        let end = if let Some(end) = self.upload().and_then(Upload::failure) {
            end
        } else if error.is_protocol() {
            End::HttpProtocolError
        } else {
            End::ConnectionTerminated
        };
        let (failure, cause) = self.failure(end, upstream, error.to_string().into());
        let reached = if error.is_declined() {
            Reached::Declined
        } else if error.is_reset_by_backend() {
            Reached::Answered
        } else {
            failure.reached
        };
        (Failure { reached, ..failure }, cause)
    }

    /// A failure, with how far the attempt came.
    fn failure(
        &self,
        end: End,
        upstream: &Upstream<RequestBody>,
        cause: Cause,
    ) -> (Failure, Cause) {
        if end == End::ReadTimeout {
            upstream.distrust();
        }
        let (written, read) = upstream.moved();
        let reached = if read > 0 {
            Reached::Answered
        } else if written > 0 || upstream.is_shared() {
            Reached::Sent
        } else {
            Reached::Nothing
        };
        (Failure::new(end, reached), cause)
    }
}

/// The failure that stands for not having got a connection.
pub(super) fn failure_to_connect(error: &ConnectError) -> Failure {
    let end = match error {
        ConnectError::LimitReached => End::ConnectionLimitReached,
        ConnectError::ResolveFailed(_) => End::DnsError,
        ConnectError::ResolveTimedOut => End::DnsTimeout,
        ConnectError::Refused(_) => End::ConnectionRefused,
        ConnectError::Unreachable(_) => End::DestinationUnavailable,
        ConnectError::TimedOut => End::ConnectionTimeout,
        ConnectError::Tls(_) => End::TlsProtocolError,
        ConnectError::NotHttp2(_) => End::HttpProtocolError,
        ConnectError::TlsUnavailable(_) | ConnectError::Exhausted(_) => End::InternalError,
    };
    Failure::new(end, Reached::Nothing)
}

/// The failure that stands for a stream that was not opened. A connection that has just come to its
/// end is like one whose end came a moment later.
pub(super) fn failure_to_open(error: OpenError) -> (Failure, Cause) {
    let failure = match &error {
        OpenError::NoWebSocket => Failure::new(End::HttpProtocolError, Reached::Nothing),
        OpenError::Closed(_) => Failure::new(End::ConnectionTerminated, Reached::Declined),
    };
    (failure, error.into())
}

/// An error with its causes, in one line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::rc::Rc;

    use super::*;
    use crate::telemetry::names::CONNECT_FAILURES;

    /// The error after this one: every kind once, and a new one is asked for its place.
    fn next(error: Option<&ConnectError>) -> Option<ConnectError> {
        let io = || io::Error::from(io::ErrorKind::Other);
        Some(match error {
            None => ConnectError::LimitReached,
            Some(ConnectError::LimitReached) => ConnectError::ResolveFailed(Rc::new(io())),
            Some(ConnectError::ResolveFailed(_)) => ConnectError::ResolveTimedOut,
            Some(ConnectError::ResolveTimedOut) => ConnectError::Refused(io()),
            Some(ConnectError::Refused(_)) => ConnectError::Unreachable(io()),
            Some(ConnectError::Unreachable(_)) => ConnectError::TimedOut,
            Some(ConnectError::TimedOut) => ConnectError::Tls(io()),
            Some(ConnectError::Tls(_)) => ConnectError::NotHttp2(None),
            Some(ConnectError::NotHttp2(_)) => ConnectError::TlsUnavailable("none".into()),
            Some(ConnectError::TlsUnavailable(_)) => ConnectError::Exhausted(io()),
            Some(ConnectError::Exhausted(_)) => return None,
        })
    }

    #[test]
    fn what_telemetry_calls_a_failure_to_connect_is_one() {
        let errors = std::iter::successors(next(None), |error| next(Some(error)));
        // There a connection was made, and what came on it was no HTTP/2.
        let errors = errors.filter(|error| !matches!(error, ConnectError::NotHttp2(_)));
        let words = errors.map(|error| failure_to_connect(&error).end.as_str());
        let told: BTreeSet<_> = CONNECT_FAILURES.into_iter().collect();
        assert_eq!(words.collect::<BTreeSet<_>>(), told);
    }
}
