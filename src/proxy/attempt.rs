//! Attempts: one try of an exchange against one backend, and the loop around it.
//!
//! Each try picks, connects, sends and waits for the head. What a failure means is judged by
//! `retry`; here it is only found out and carried out.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::{Body, Incoming};

use super::exchange::Exchange;
use super::head_wait::{Cause, Chain, HeadWait, Waited, failure_to_connect};
use super::headers::{self, Forwarding};
use super::retry::{Failure, Next, Reached, Repeatable, judge};
use super::{Downlink, Proxy, Refusal, reply};
use crate::balance::{BackendSet, Pick, pick};
use crate::error::End;
use crate::relay::{Interim, RequestBody, Upload};
use crate::route::Route;
use crate::scoreboard::Counter;
use crate::telemetry::{Event, emit};
use crate::upstream::{Upstream, Want};
use crate::vhost::{Backend, BackendId, Host};

/// A request as it goes to backends, for as many attempts as it takes.
pub(super) struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    upload: Option<Rc<Upload>>,
    interim: Option<Arc<Interim>>,
    is_upgrade: bool,
    is_idempotent: bool,
}

/// A backend's answer, with what is needed to relay it.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) upstream: Upstream<RequestBody>,
    pub(super) upload: Option<Rc<Upload>>,
}

/// The backend of one attempt.
struct Target {
    id: BackendId,
    backend: Rc<Backend>,
    want: Want,
}

impl Outgoing {
    /// Cleans a request for its way up.
    pub(super) fn new(mut head: Parts, body: Incoming, forwarding: &Forwarding) -> Self {
        let expects_continue = headers::expects_continue(&head.headers, head.version);
        let is_upgrade = head.version == Version::HTTP_11
            && headers::upgrade_of(&head.headers).is_some();
        if let Some(authority) = head.uri.authority() {
            // RFC 9112 §3.2.2: the target's authority replaces what Host says.
            let host = authority.as_str().rsplit('@').next().unwrap_or_default();
            if let Ok(host) = HeaderValue::from_str(host) {
                head.headers.insert(header::HOST, host);
            }
        }
        headers::prepare_request(&mut head.headers, forwarding, is_upgrade);
        // RFC 9110 §15.2: a 1xx is not sent to an HTTP/1.0 client.
        let interim = (head.version == Version::HTTP_11).then(Arc::<Interim>::default);
        let gate = interim.as_ref().filter(|_| expects_continue).cloned();
        Self {
            is_idempotent: headers::is_idempotent(&head.method),
            uri: headers::origin_form(&head.method, &head.uri),
            upload: (!body.is_end_stream()).then(|| Upload::new(body, gate, Instant::now())),
            method: head.method,
            headers: head.headers,
            interim,
            is_upgrade,
        }
    }

    /// Asks backends to close: `httpKeepAlive` is off.
    pub(super) fn close_after(&mut self) {
        if !self.is_upgrade {
            self.headers
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    fn repeatable(&self, tries_left: u32) -> Repeatable {
        Repeatable {
            is_idempotent: self.is_idempotent,
            is_whole: self.upload.as_ref().is_none_or(|upload| upload.is_whole()),
            tries_left,
        }
    }

    /// Sends on what 1xx responses have come.
    fn pass_interim(&self, cx: &mut Context<'_>, link: &Downlink) {
        if let Some(interim) = &self.interim {
            let heads = interim.take();
            if !heads.is_empty() {
                link.send_interim(cx, &heads);
            }
        }
    }

    /// The request of one attempt; the last one takes the headers along.
    fn request(&mut self, is_last: bool) -> Request<RequestBody> {
        let body = match &self.upload {
            Some(upload) => upload.attempt(),
            None => RequestBody::Empty,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = if is_last {
            std::mem::take(&mut self.headers)
        } else {
            self.headers.clone()
        };
        if let Some(interim) = &self.interim {
            interim.watch(&mut request);
        }
        request
    }
}

/// The tries of one exchange.
struct Tries {
    allowed: u32,
    left: u32,
    tried: BackendSet,
    again: Option<(BackendId, Rc<Backend>)>,
    last: Option<Failure>,
}

impl Tries {
    fn new(retries: u32) -> Self {
        Self {
            allowed: retries,
            left: retries,
            tried: BackendSet::default(),
            again: None,
            last: None,
        }
    }

    /// The backend to try next, and on which connection.
    fn next(&mut self, route: &Route, is_idempotent: bool) -> Result<Target, Refusal> {
        if let Some((id, backend)) = self.again.take() {
            let want = Want::Fresh;
            return Ok(Target { id, backend, want });
        }
        match pick(&route.frontend, &route.dead, &self.tried, fastrand_below) {
            Pick::Backend(id, backend) => {
                self.tried.insert(id);
                // What cannot be repeated must not meet a connection that is already dead.
                let want = match is_idempotent && self.left > 0 {
                    true => Want::Any,
                    false => Want::Alive,
                };
                Ok(Target { id, backend, want })
            }
            Pick::NoneLeft => Err(self.refusal(End::NoLiveBackend)),
            Pick::Invalid => Err(self.refusal(End::InvalidBackend)),
        }
    }

    /// The answer when nothing is left to try: about the last failure, if there was one.
    fn refusal(&self, nothing_left: End) -> Refusal {
        let Some(failure) = self.last else {
            return nothing_left.into();
        };
        let reason = match reply::answer(failure.end).status {
            StatusCode::BAD_GATEWAY if self.allowed == 0 => Some("Retry on error is disabled"),
            StatusCode::BAD_GATEWAY => Some("Reached max retries limit"),
            _ => None,
        };
        Refusal {
            end: failure.end,
            reason,
        }
    }
}

fn fastrand_below(count: usize) -> usize {
    fastrand::usize(..count)
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
            let attempted = self
                .attempt(exchange, &target, outgoing, tries.left == 0)
                .await;
            let failure = match attempted {
                Ok(answer) => {
                    self.judge_status((host, route), target.id, &answer.response);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let verdict = judge(failure, outgoing.repeatable(tries.left));
            if verdict.is_blamed {
                self.router.mark_dead(host, &route.frontend, target.id);
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
            self.sinks.slot.add(Counter::RetriesRefused, 1);
        }
        drawn
    }

    /// A status that says the backend cannot serve marks it dead; the response is passed on all
    /// the same (Hipache's `lib/worker.js`). 503 with `Retry-After` is a backend in control.
    fn judge_status(
        &self,
        (host, route): (&Host, &Route),
        id: BackendId,
        response: &Response<Incoming>,
    ) {
        let is_dead = match response.status().as_u16() {
            500 => self.config.server.dead_backend_on_500 && self.router.is_checked(),
            503 => !response.headers().contains_key(header::RETRY_AFTER),
            501..=599 => true,
            _ => false,
        };
        if is_dead {
            self.router.mark_dead(host, &route.frontend, id);
        }
    }

    /// One try: connect, send, wait for the head.
    async fn attempt(
        &self,
        exchange: &mut Exchange,
        target: &Target,
        outgoing: &mut Outgoing,
        is_last: bool,
    ) -> Result<Answer, Failure> {
        let tried = match exchange.attempts.last() {
            Some(attempt) => {
                let acquired = self
                    .upstreams
                    .acquire(&target.backend, target.want, &attempt.notes)
                    .await;
                match acquired {
                    Ok(upstream) => {
                        let request = outgoing.request(is_last);
                        self.exchange_heads(exchange.link(), upstream, request, outgoing)
                            .await
                    }
                    Err(error) => Err((failure_to_connect(&error), Box::new(error) as Cause)),
                }
            }
            None => return Err(Failure::internal()),
        };
        let Some(attempt) = exchange.attempts.last_mut() else {
            return Err(Failure::internal());
        };
        match tried {
            Ok(answer) => {
                attempt.headed = Some(Instant::now());
                attempt.status = Some(answer.response.status());
                Ok(answer)
            }
            Err((failure, cause)) => {
                attempt.failure = Some(failure.end);
                let host = exchange.host();
                emit(&Event::AttemptFailed {
                    host: host.unwrap_or_default(),
                    backend: &target.backend.url,
                    id: target.id,
                    end: failure.end.as_str(),
                    detail: &Chain(&*cause),
                });
                Err(Failure {
                    is_reused: attempt.notes.is_reused.get(),
                    ..failure
                })
            }
        }
    }

    /// Sends the request and waits for the response's head, driving the connection itself.
    async fn exchange_heads(
        &self,
        link: &Rc<Downlink>,
        mut upstream: Upstream<RequestBody>,
        request: Request<RequestBody>,
        outgoing: &Outgoing,
    ) -> Result<Answer, (Failure, Cause)> {
        let mut wait = HeadWait::new(&self.config.server.timeouts, outgoing.upload.clone());
        let mut sending = pin!(upstream.send(request));
        let result = poll_fn(|cx| {
            loop {
                let is_over = upstream.poll_drive(cx).is_ready();
                outgoing.pass_interim(cx, link);
                // The driver above, polled in this very call, is all that makes it ready.
                let idle = &mut Context::from_waker(Waker::noop());
                if let Poll::Ready(result) = sending.as_mut().poll(idle) {
                    return Poll::Ready(result.map_err(|error| wait.failure_of(error.into_error(), &upstream)));
                }
                if is_over {
                    let cause = "connection ended without a word".into();
                    return Poll::Ready(Err(wait.failure(End::ConnectionTerminated, &upstream, cause)));
                }
                match wait.poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Waited::BodyReleased) => {}
                    Poll::Ready(Waited::TooLong(end)) => {
                        let cause = "silent for too long".into();
                        return Poll::Ready(Err(wait.failure(end, &upstream, cause)));
                    }
                }
            }
        })
        .await;
        let response = result?;
        if let Some(upload) = &outgoing.upload {
            upload.give_up_replay();
        }
        let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if is_switch && !outgoing.is_upgrade {
            let cause = "status 101 without a request to upgrade".into();
            return Err((Failure::new(End::HttpProtocolError, Reached::Answered), cause));
        }
        if is_switch {
            // The driver lets go of the connection at the 101; nothing more is waited for.
            let _ = poll_fn(|cx| upstream.poll_drive(cx)).await;
        }
        Ok(Answer {
            response,
            upstream,
            upload: outgoing.upload.clone(),
        })
    }
}
