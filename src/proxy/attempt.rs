//! Attempts: one try of an exchange against one backend, and the loop around it.
//!
//! Each try picks, connects, sends and waits for the head. What a failure means is judged by
//! `retry`; here it is only found out and carried out.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use http::{Response, StatusCode, header};

use super::exchange::Exchange;
use super::head_wait::{Cause, Chain, HeadWait, failure_to_connect, failure_to_open};
use super::outgoing::Outgoing;
use super::retry::{Failure, Next, Reached, judge};
use super::tries::{Target, Tries};
use super::{ClientWatch, Downlink, Proxy, Refusal};
use crate::error::End;
use crate::relay::{RequestBody, Upload};
use crate::route::Route;
use crate::scoreboard::Counter;
use crate::telemetry::{Event, emit};
use crate::upstream::Upstream;
use crate::vhost::{BackendId, Host};

/// A backend's answer, with what is needed to relay it.
pub(super) struct Answer {
    pub(super) response: Response<()>,
    pub(super) upstream: Upstream<RequestBody>,
    pub(super) upload: Option<Rc<Upload>>,
    /// When the head came.
    pub(super) headed: Instant,
}

impl Answer {
    /// Whether the rest of the request may still be read: not where it was refused, nor behind a
    /// response that is complete.
    pub(super) fn reads_on(&self) -> bool {
        self.response.status().as_u16() < 400 && !self.upstream.is_end_stream()
    }
}

impl Proxy {
    /// Attempts the request until a backend answers or nothing is left to try.
    pub(super) async fn attempt_until_answered(
        &self,
        exchange: &mut Exchange,
        host: &Host,
        route: &Route,
        outgoing: &mut Outgoing,
    ) -> Result<Answer, Refusal> {
        let mut tries = Tries::new(self.config.server.retry_on_error);
        loop {
            let target = tries.next(route, outgoing.is_idempotent)?;
            exchange.begin_attempt(target.id, &target.backend);
            let failure = match self.attempt(exchange, &target, outgoing).await {
                Ok(answer) => {
                    self.judge_status((host, route), target.id, &answer.response);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let verdict = judge(failure, outgoing.repeatable(tries.left));
            if verdict.is_blamed {
                self.mark_dead((host, route), target.id);
            }
            tries.last = Some(failure);
            match verdict.next {
                Next::GiveUp => return Err(tries.refusal(failure.end)),
                Next::SameBackendFresh => tries.again = Some((target.id, target.backend)),
                Next::OtherBackend => {}
            }
            if !self.draw_retry(&route.frontend.key) {
                return Err(tries.refusal(failure.end));
            }
            tries.left -= 1;
        }
    }

    fn draw_retry(&self, frontend: &str) -> bool {
        let drawn = self.budget.borrow_mut().draw(frontend, Instant::now());
        if !drawn {
            self.sinks.seat.add(Counter::RetriesRefused, 1);
        }
        drawn
    }

    /// A status that says the backend cannot serve marks it dead; the response is passed on all
    /// the same (Hipache's `lib/worker.js`). 503 with `Retry-After` is a backend in control.
    fn judge_status(&self, (host, route): (&Host, &Route), id: BackendId, response: &Response<()>) {
        let is_dead = match response.status().as_u16() {
            500 => self.config.server.dead_backend_on_500 && self.router.is_checked(),
            503 => !response.headers().contains_key(header::RETRY_AFTER),
            501..=599 => true,
            _ => false,
        };
        if is_dead {
            self.mark_dead((host, route), id);
        }
    }

    fn mark_dead(&self, (host, route): (&Host, &Route), id: BackendId) {
        if self.router.mark_dead(host, &route.frontend, id) {
            self.sinks.seat.add(Counter::DeadMarks, 1);
        }
    }

    /// One try, noted in the exchange.
    async fn attempt(
        &self,
        exchange: &mut Exchange,
        target: &Target,
        outgoing: &mut Outgoing,
    ) -> Result<Answer, Failure> {
        let tried = self.connect_and_send(exchange, target, outgoing).await;
        let Some(attempt) = exchange.attempts.last_mut() else {
            return Err(Failure::internal());
        };
        let (failure, cause) = match tried {
            Ok(answer) => {
                attempt.headed = Some(answer.headed);
                attempt.status = Some(answer.upstream.status_of(&answer.response));
                return Ok(answer);
            }
            Err(failed) => failed,
        };
        attempt.failure = Some(failure.end);
        attempt.over = Some(Instant::now());
        let is_reused = attempt.notes.is_reused.get();
        emit(&Event::AttemptFailed {
            host: exchange.host().unwrap_or_default(),
            backend: &target.backend.url,
            id: target.id,
            end: failure.end.as_str(),
            detail: &Chain(&*cause),
        });
        Err(Failure {
            is_reused,
            ..failure
        })
    }

    async fn connect_and_send(
        &self,
        exchange: &Exchange,
        target: &Target,
        outgoing: &mut Outgoing,
    ) -> Result<Answer, (Failure, Cause)> {
        let mut upstream = self.connect(exchange, target).await?;
        exchange.inject(outgoing.headers_mut());
        let also = outgoing
            .owes_forwarding
            .then(|| exchange.link().about.forwarding.fields());
        let sent = upstream.send(outgoing.head(), also, outgoing.body());
        sent.map_err(failure_to_open)?;
        let response = self
            .wait_for_head(exchange.link(), &mut upstream, outgoing)
            .await?;
        Ok(Answer {
            response,
            upstream,
            upload: outgoing.upload.clone(),
            headed: Instant::now(),
        })
    }

    async fn connect(
        &self,
        exchange: &Exchange,
        target: &Target,
    ) -> Result<Upstream<RequestBody>, (Failure, Cause)> {
        let Some(attempt) = exchange.attempts.last() else {
            return Err((Failure::internal(), "no attempt was begun".into()));
        };
        let mut watch = ClientWatch::default();
        let mut acquiring = pin!(self.upstreams.acquire(
            &target.backend,
            target.want,
            &attempt.notes,
            attempt.began,
        ));
        poll_fn(|cx| match acquiring.as_mut().poll(cx) {
            Poll::Pending if watch.is_gone(exchange.link(), cx) => {
                let gone = Failure::new(End::ClientGone, Reached::Nothing);
                Poll::Ready(Err((gone, "client reset its connection".into())))
            }
            polled => polled.map_err(|error| (failure_to_connect(&error), error.into())),
        })
        .await
    }

    /// Sends the request, and waits for the head of the response.
    async fn wait_for_head(
        &self,
        link: &Rc<Downlink>,
        upstream: &mut Upstream<RequestBody>,
        outgoing: &Outgoing,
    ) -> Result<Response<()>, (Failure, Cause)> {
        let mut wait = HeadWait::new(&self.config.server.timeouts, outgoing, link);
        let response = poll_fn(|cx| wait.poll_head(cx, upstream)).await?;
        if let Some(upload) = &outgoing.upload {
            upload.give_up_replay();
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // RFC 9110 §7.8: only on request, and only once the request was received whole.
            if !outgoing.is_upgrade || !outgoing.is_read_whole() {
                let cause = "status 101 without a whole request to upgrade".into();
                return Err((
                    Failure::new(End::HttpProtocolError, Reached::Answered),
                    cause,
                ));
            }
        }
        Ok(response)
    }
}
