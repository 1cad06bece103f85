//! Carrying one exchange through its phases, always to one answer and one record.
//!
//! [`Proxy::handle`] is the list of phases: check, route, attempt, answer. Every failure becomes
//! an answer in one place (`refuse`), every answer carries its exchange to the end.

mod attempt;
mod check;
mod client_watch;
mod date;
mod downlink;
mod exchange;
mod head_count;
mod head_wait;
pub(crate) mod headers;
mod hints;
mod outgoing;
mod own_answers;
mod passed_on;
mod persistence;
mod redirect;
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
use std::time::{Instant, SystemTime};

use http::{HeaderValue, Request, Response};

use self::attempt::Answer;
use self::check::{Circumstances, check, is_ping};
use self::client_watch::ClientWatch;
use self::date::Dates;
pub(crate) use self::downlink::{Downlink, OpenStream, Phase};
pub(crate) use self::exchange::Exchange;
use self::exchange::Sinks;
pub(crate) use self::headers::settle_length;
use self::headers::{Field, Forwarding, Present};
use self::outgoing::Outgoing;
use self::own_answers::OwnAnswer;
use self::persistence::{announce_close, is_kept_by_client};
use self::refusal::Refusal;
use self::reply::Pages;
pub(crate) use self::response::ReplyBody;
use self::retry::RetryBudget;
pub(crate) use self::switch::Switch;
use self::told::trace_id;
use crate::config::Config;
use crate::error::End;
use crate::listener::Downstream;
use crate::relay::{ClientBody, RequestBody};
use crate::route::{Route, RouteError, Router};
use crate::scoreboard::Seat;
use crate::telemetry::{AccessLog, Methods, Metrics, Tracer};
use crate::upstream::Upstreams;
use crate::vhost::Host;

/// The scheme of plain listeners, in forwarded headers.
const HTTP: &str = "http";
/// ... and of those with TLS.
const HTTPS: &str = "https";

/// What a look at a request brought.
enum Begun {
    /// It is answered already.
    Answered(Response<ReplyBody>),
    /// It is to be carried to a backend of this host.
    Asked(Box<Exchange>, Host, Box<Outgoing>),
}

/// Everything that exchanges of one worker share.
pub(crate) struct Proxy {
    config: Rc<Config>,
    sinks: Rc<Sinks>,
    /// The routes of this worker.
    pub(crate) router: Rc<Router>,
    upstreams: Rc<Upstreams<RequestBody>>,
    pages: Pages,
    budget: RefCell<RetryBudget>,
    dates: Dates,
    /// Where HTTPS is, if not where it usually is.
    https_port: Option<u16>,
}

impl Proxy {
    /// The proxy of this worker; starts the tasks of router and pool on the current runtime.
    pub(crate) fn start(
        config: Rc<Config>,
        seat: Seat,
        access_log: Rc<AccessLog>,
        tracer: Rc<Tracer>,
    ) -> Rc<Self> {
        let methods = Methods::new(&config.telemetry.known_methods);
        Rc::new(Self {
            router: Router::start(&config, seat),
            upstreams: Upstreams::start(&config, seat),
            pages: Pages::new(config.server.static_dir.clone()),
            budget: RefCell::default(),
            dates: Dates::default(),
            https_port: redirect::https_port(&config),
            sinks: Rc::new(Sinks {
                access_log,
                metrics: Metrics::new(seat, methods, config.telemetry.exemplars),
                tracer,
                seat,
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

    /// What backends are told about the client of a connection.
    pub(crate) fn forwarding(&self, downstream: &Downstream) -> Forwarding {
        // Behind a balancer that sends PROXY headers it is the client that is trusted or not.
        let client = downstream.client().ip().to_canonical();
        let trusted = &self.config.http.trusted_proxies;
        let is_trusted = trusted.iter().any(|net| net.contains(&client));
        let scheme = if downstream.tls.is_some() {
            HTTPS
        } else {
            HTTP
        };
        Forwarding::new(client, is_trusted, scheme, downstream.port())
    }

    /// The counters of this worker.
    pub(crate) fn seat(&self) -> Seat {
        self.sinks.seat
    }

    /// What a response says in `Date` where its backend did not (RFC 9110 §6.6.1).
    pub(crate) fn date(&self) -> HeaderValue {
        self.dates.at(SystemTime::now())
    }

    /// Records a head that was refused before it became a request.
    pub(crate) fn record_refused(&self, link: &Rc<Downlink>, status: u16, end: End) {
        let (_, began) = link.phase();
        Exchange::refused(&self.sinks, link, began, status).finish(end);
    }

    /// Carries one request, whose head came at this time, to its answer.
    ///
    /// What needs no wait is done at once, so that the future keeps no more than what is still needed:
    /// there is one for every request under way, and it is handed on several times.
    pub(crate) fn handle(
        self: Rc<Self>,
        request: Request<ClientBody>,
        link: Rc<Downlink>,
        came: Instant,
    ) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> {
        let mut begun = self.begin(request, &link, came);
        async move {
            let response = match begun {
                Begun::Answered(response) => response,
                Begun::Asked(mut exchange, ref host, ref mut outgoing) => {
                    let carried = self.carry(&mut exchange, host, outgoing).await;
                    self.answer(exchange, carried)
                }
            };
            Ok(announce_close(&link, response))
        }
    }

    /// Looks at a request, and cleans it for its way up.
    fn begin(&self, request: Request<ClientBody>, link: &Rc<Downlink>, now: Instant) -> Begun {
        let (head, body) = request.into_parts();
        let present = Present::of(&head.headers);
        let is_ambiguous = link.begin(now, is_kept_by_client(&head, present));
        let told = headers::host_of(&head.uri, &head.headers);
        if is_ping(&head, told) {
            link.complete_unrecorded();
            return Begun::Answered(reply::ping().map(ReplyBody::Full));
        }
        let is_trusted = link.about.forwarding.is_trusted;
        let is_told = is_trusted && present.has(Field::XRealIp);
        let client = headers::effective_client(&head.headers, link.client_ip(), is_told);
        let mut exchange = Exchange::open(&self.sinks, link, (&head, present), (client, now));
        exchange.wants_debug = is_trusted && present.has(Field::XDebug);
        let host = match check(&head, present, told, &Circumstances::of(link, is_ambiguous)) {
            Ok(host) => host,
            Err(refusal) => {
                // Where a head is wrong, what follows it is not to be relied on either.
                link.close_after_response();
                return Begun::Answered(self.answer(exchange, Err(refusal.into())));
            }
        };
        exchange.host = Some(host.clone());
        let head = (head, present);
        let outgoing = Outgoing::new(head, body, &link.about.forwarding, self.seat());
        let mut outgoing = Box::new(outgoing);
        if link.is_stream() {
            exchange.upload.clone_from(&outgoing.upload);
        }
        if !self.config.server.http_keep_alive {
            outgoing.close_after();
        }
        Begun::Asked(exchange, host, outgoing)
    }

    fn answer(
        &self,
        exchange: Box<Exchange>,
        carried: Result<Answer, OwnAnswer>,
    ) -> Response<ReplyBody> {
        let trace_header = self.config.telemetry.trace_header.as_ref();
        let told = trace_header.and_then(|name| Some((name, trace_id(exchange.trace()?))));
        let mut response = match carried {
            Ok(answer) => self.pass_on(exchange, answer),
            Err(own) => self.answer_instead(exchange, own),
        };
        if let Some((name, id)) = told {
            response.headers_mut().insert(name, id);
        }
        response
    }

    /// Routes the request and attempts it until a backend answers.
    async fn carry(
        &self,
        exchange: &mut Exchange,
        host: &Host,
        outgoing: &mut Outgoing,
    ) -> Result<Answer, OwnAnswer> {
        let answered = self.route_and_attempt(exchange, host, outgoing).await;
        // While a backend's response goes on the body may, too: nothing is closed for that.
        let reads_on = answered.as_ref().is_ok_and(Answer::reads_on);
        if !reads_on && !outgoing.is_read_whole() {
            exchange.link().close_after_response();
        }
        answered
    }

    async fn route_and_attempt(
        &self,
        exchange: &mut Exchange,
        host: &Host,
        outgoing: &mut Outgoing,
    ) -> Result<Answer, OwnAnswer> {
        let route = self.route(exchange, host).await?;
        if let Some(to) = self.redirection(exchange, host, &route, outgoing) {
            return Err(OwnAnswer::Redirection(to));
        }
        self.attempt_until_answered(exchange, host, &route, outgoing)
            .await
            .map_err(OwnAnswer::Refusal)
    }

    async fn route(&self, exchange: &mut Exchange, host: &Host) -> Result<Route, Refusal> {
        let began = Instant::now();
        let asked = Cell::new(None);
        let resolved = self.router.resolve(host, &asked).await;
        exchange.looked_up(began, asked.get());
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
}
