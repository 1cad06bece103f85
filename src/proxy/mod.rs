//! Carrying one exchange through its phases, always to one answer and one record.
//!
//! [`Proxy::handle`] is the list of phases: check, route, attempt, answer. Every failure becomes
//! an answer in one place (`refuse`), every answer carries its exchange to the end.

mod attempt;
mod check;
mod client_watch;
mod downlink;
mod exchange;
mod head_wait;
pub(crate) mod headers;
mod outgoing;
mod refusal;
pub(crate) mod reply;
mod response;
mod retry;
mod switch;
mod told;
mod tries;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use self::attempt::Answer;
use self::check::{check, is_kept_by_client, is_ping};
use self::client_watch::ClientWatch;
pub(crate) use self::downlink::{Downlink, Phase};
pub(crate) use self::exchange::Exchange;
use self::exchange::Sinks;
use self::headers::Forwarding;
use self::outgoing::Outgoing;
use self::refusal::Refusal;
use self::reply::Pages;
use self::response::Relay;
pub(crate) use self::response::ReplyBody;
use self::retry::RetryBudget;
pub(crate) use self::switch::Switch;
use self::told::{add_debug, proxy_status, trace_id};
use crate::config::Config;
use crate::error::End;
use crate::relay::RequestBody;
use crate::route::{Route, RouteError, Router};
use crate::scoreboard::Slot;
use crate::telemetry::{AccessLog, Tracer};
use crate::upstream::Upstreams;
use crate::vhost::Host;

/// The scheme of plain listeners, in forwarded headers.
const HTTP: &str = "http";

/// The connection ends with this response.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Everything that exchanges of one worker share.
pub(crate) struct Proxy {
    config: Rc<Config>,
    sinks: Rc<Sinks>,
    router: Rc<Router>,
    upstreams: Rc<Upstreams<RequestBody>>,
    pages: Pages,
    budget: RefCell<RetryBudget>,
}

impl Proxy {
    /// The proxy of this worker; starts the tasks of router and pool on the current runtime.
    pub(crate) fn start(
        config: Rc<Config>,
        slot: Slot,
        access_log: Rc<AccessLog>,
        tracer: Rc<Tracer>,
    ) -> Rc<Self> {
        Rc::new(Self {
            router: Router::start(&config, slot),
            upstreams: Upstreams::start(&config, slot),
            pages: Pages::new(config.server.static_dir.clone()),
            budget: RefCell::default(),
            sinks: Rc::new(Sinks {
                access_log,
                tracer,
                slot,
                is_ending: Cell::new(false),
            }),
            config,
        })
    }

    /// The worker ends now: exchanges still in flight are recorded as cut by us.
    pub(crate) fn end_now(&self) {
        self.sinks.is_ending.set(true);
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The state shared by all that happens on a connection of this peer.
    pub(crate) fn is_trusted(&self, peer: std::net::IpAddr) -> bool {
        let peer = peer.to_canonical();
        let trusted = &self.config.http.trusted_proxies;
        trusted.iter().any(|net| net.contains(&peer))
    }

    /// The counters of this worker.
    pub(crate) fn slot(&self) -> Slot {
        self.sinks.slot
    }

    /// Records a head that was refused before it became a request.
    pub(crate) fn record_refused(&self, link: &Rc<Downlink>, status: u16, end: End) {
        let (_, began) = link.phase();
        Exchange::refused(&self.sinks, link, began, status).finish(end);
    }

    /// Carries one request to its answer.
    pub(crate) async fn handle(
        self: Rc<Self>,
        request: Request<Incoming>,
        link: Rc<Downlink>,
    ) -> Result<Response<ReplyBody>, Infallible> {
        let now = Instant::now();
        let (head, body) = request.into_parts();
        let is_ambiguous = link.begin(now, is_kept_by_client(&head));
        if is_ping(&head) {
            link.complete_unrecorded();
            return Ok(reply::ping().map(ReplyBody::Full));
        }
        let client = headers::effective_client(&head.headers, link.peer_ip(), link.is_trusted);
        let wants_debug = link.is_trusted && head.headers.contains_key("x-debug");
        let mut exchange = Exchange::open(&self.sinks, &link, &head, (client, now));
        let carried = match check(&head, is_ambiguous) {
            Ok(host) => {
                exchange.host = Some(host.clone());
                self.carry(&mut exchange, host, head, body).await
            }
            Err(refusal) => {
                link.close_after_response();
                Err(refusal)
            }
        };
        let trace_header = self.config.telemetry.trace_header.clone();
        let told = trace_header.zip(exchange.trace().map(trace_id));
        let mut response = match carried {
            Ok(answer) => self.pass_on(exchange, answer, wants_debug),
            Err(refusal) => self.refuse(exchange, &refusal, wants_debug),
        };
        if let Some((name, id)) = told {
            response.headers_mut().insert(name, id);
        }
        if link.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, CLOSE);
            link.close_after_response();
        }
        Ok(response)
    }

    /// Routes the request and attempts it until a backend answers.
    async fn carry(
        &self,
        exchange: &mut Exchange,
        host: Host,
        head: Parts,
        body: Incoming,
    ) -> Result<Answer, Refusal> {
        let route = self.route(exchange, &host).await?;
        let forwarding = Forwarding {
            peer: exchange.link().peer_ip(),
            is_trusted: exchange.link().is_trusted,
            scheme: HTTP,
            port: exchange.link().local.port(),
        };
        let mut outgoing = Outgoing::new(head, body, &forwarding);
        if !self.config.server.http_keep_alive {
            outgoing.close_after();
        }
        self.attempt_until_answered(exchange, &host, &route, &mut outgoing)
            .await
    }

    async fn route(&self, exchange: &mut Exchange, host: &Host) -> Result<Route, Refusal> {
        let began = Instant::now();
        let batch = Cell::new(None);
        let resolved = self.router.resolve(host, &batch).await;
        exchange.looked_up(began, batch.get());
        match resolved {
            Ok(route) => {
                exchange.route(&route);
                Ok(route)
            }
            Err(RouteError::NotFound) => Err(End::NoSuchHost.into()),
            Err(RouteError::Unavailable { cause }) => {
                tracing::debug!(host = host.as_str(), %cause, "no route");
                exchange.lookup_failed(cause);
                Err(End::RedisUnavailable.into())
            }
        }
    }

    /// Turns a backend's answer into ours.
    fn pass_on(
        &self,
        mut exchange: Box<Exchange>,
        answer: Answer,
        wants_debug: bool,
    ) -> Response<ReplyBody> {
        let (mut head, incoming) = answer.response.into_parts();
        let is_upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let is_early = answer.upload.as_ref().is_some_and(|u| !u.is_ended());
        // RFC 9110 §15.5.22: a 426 names the protocol that is wanted.
        let keeps_upgrade = is_upgrade || head.status == StatusCode::UPGRADE_REQUIRED;
        headers::prepare_response(&mut head.headers, keeps_upgrade);
        // The status line is ours: HTTP/1.1 whatever the backend speaks (RFC 9112 §2.3).
        head.version = Version::HTTP_11;
        exchange.respond(head.status);
        if wants_debug {
            add_debug(&mut head.headers, &exchange, None);
        }
        if is_upgrade {
            return self.switch(exchange, answer.upstream, head);
        }
        if is_early && head.status.as_u16() >= 400 {
            // A refusal of a body that still comes: the rest will not be read (RFC 9112 §9.3).
            head.headers.insert(header::CONNECTION, CLOSE);
            exchange.link().close_after_response();
        }
        if http_body::Body::is_end_stream(&incoming) {
            answer.upstream.release();
            let link = Rc::clone(exchange.link());
            link.complete(exchange, End::Ok);
            return Response::from_parts(head, ReplyBody::Empty);
        }
        let idle_limit = self.config.server.timeouts.idle_body;
        let relay = Relay::new(
            incoming,
            answer.upstream,
            answer.upload,
            exchange,
            idle_limit,
        );
        Response::from_parts(head, ReplyBody::Relay(relay))
    }

    /// Leaves both ends for the tunnel that begins when the 101 is out.
    fn switch(
        &self,
        exchange: Box<Exchange>,
        upstream: crate::upstream::Upstream<RequestBody>,
        head: http::response::Parts,
    ) -> Response<ReplyBody> {
        let Some((upstream, ahead, place)) = upstream.into_tunnel() else {
            let refusal = End::HttpProtocolError.into();
            return self.refuse(exchange, &refusal, false);
        };
        let link = Rc::clone(exchange.link());
        link.leave_switch(Switch {
            upstream,
            ahead,
            _place: place,
            exchange,
        });
        Response::from_parts(head, ReplyBody::Empty)
    }

    /// The one place where a failure becomes an answer.
    fn refuse(
        &self,
        mut exchange: Box<Exchange>,
        refusal: &Refusal,
        wants_debug: bool,
    ) -> Response<ReplyBody> {
        let answer = refusal.answer;
        let mut response = reply::refusal(answer, &self.pages);
        exchange.respond(answer.status);
        if wants_debug {
            add_debug(response.headers_mut(), &exchange, Some(answer.reason));
        }
        if self.config.telemetry.proxy_status
            && let Some(status) = proxy_status(refusal.end, exchange.trace())
        {
            response.headers_mut().insert("proxy-status", status);
        }
        let link = Rc::clone(exchange.link());
        link.complete(exchange, refusal.end);
        response.map(ReplyBody::Full)
    }
}
