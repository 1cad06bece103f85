//! Waiting for the head of a response: the limits, and what a failure means.
//!
//! While the client still sends, silence is its fault or the backend's, whoever is waited for;
//! afterwards it is the backend's.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::retry::{Failure, Reached};
use crate::config::Timeouts;
use crate::error::End;
use crate::relay::{Deadline, RequestBody, Upload, after, earlier};
use crate::upstream::{ConnectError, Upstream};

/// How long a body is held back for a backend that ignores `Expect` (RFC 9110 §10.1.1: a client
/// need not wait for ever, and neither need we).
const CONTINUE_LIMIT: Duration = Duration::from_secs(1);

/// What made an attempt fail, for the log of the process.
pub(super) type Cause = Box<dyn std::error::Error>;

/// The wait of one attempt.
pub(super) struct HeadWait<'a> {
    timeouts: &'a Timeouts,
    upload: Option<Rc<Upload>>,
    sent_at: Instant,
    deadline: Deadline,
}

/// What the passing of time brought.
pub(super) enum Waited {
    /// The body is held back no longer: drive the connection again.
    BodyReleased,
    /// A limit is over.
    TooLong(End),
}

impl<'a> HeadWait<'a> {
    /// Begins to wait.
    pub(super) fn new(timeouts: &'a Timeouts, upload: Option<Rc<Upload>>) -> Self {
        Self {
            timeouts,
            upload,
            sent_at: Instant::now(),
            deadline: Deadline::default(),
        }
    }

    /// Ready when a limit is over. Cancel safe.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Waited> {
        let is_held_back = self.upload.as_ref().is_some_and(|u| u.is_held_back());
        let gate = is_held_back.then(|| self.sent_at + CONTINUE_LIMIT);
        let limit = self.limit();
        if self.deadline.poll(cx, earlier(gate, limit)).is_pending() {
            return Poll::Pending;
        }
        if limit.is_some_and(|limit| limit <= Instant::now()) {
            let is_clients_turn = self.upload.as_ref().is_some_and(|u| u.is_starved());
            return Poll::Ready(Waited::TooLong(match is_clients_turn {
                true => End::ClientTimeout,
                false => End::ReadTimeout,
            }));
        }
        if let Some(upload) = &self.upload {
            upload.open_gate();
        }
        Poll::Ready(Waited::BodyReleased)
    }

    fn limit(&self) -> Option<Instant> {
        match &self.upload {
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

    /// The failure that hyper's error stands for.
    pub(super) fn failure_of(
        &self,
        error: hyper::Error,
        upstream: &Upstream<RequestBody>,
    ) -> (Failure, Cause) {
        let has_client_failed = self.upload.as_ref().is_some_and(|u| u.is_failed());
        let end = if has_client_failed {
            End::ClientGone
        } else if error.is_parse() {
            End::HttpProtocolError
        } else {
            End::ConnectionTerminated
        };
        self.failure(end, upstream, error.into())
    }

    /// A failure, with how far the attempt came.
    pub(super) fn failure(
        &self,
        end: End,
        upstream: &Upstream<RequestBody>,
        cause: Cause,
    ) -> (Failure, Cause) {
        let wire = upstream.wire();
        let reached = if wire.bytes_read.get() > 0 {
            Reached::Answered
        } else if wire.bytes_written.get() > 0 {
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
        ConnectError::TlsUnavailable(_) | ConnectError::Exhausted(_) => End::InternalError,
    };
    Failure::new(end, Reached::Nothing)
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
