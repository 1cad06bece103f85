//! Answers that no backend gave: refusals, and redirections to HTTPS.

use std::rc::Rc;
use std::time::Instant;

use http::header::{LOCATION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::told::{add_debug, proxy_status};
use super::{Exchange, Proxy, ReplyBody, redirect, reply};
use crate::error::End;
use crate::route::Route;
use crate::vhost::Host;

/// What a client gets instead of a backend's answer.
pub(super) enum OwnAnswer {
    /// Something is wrong.
    Refusal(Refusal),
    /// It is to ask elsewhere.
    Redirection(Redirection),
}

/// Where a client is to ask again.
pub(super) struct Redirection {
    status: StatusCode,
    location: HeaderValue,
}

impl From<Refusal> for OwnAnswer {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl Proxy {
    /// What the options of a frontend want to be done before any backend is asked.
    pub(super) fn redirection(
        &self,
        exchange: &mut Exchange,
        host: &Host,
        route: &Route,
        outgoing: &Outgoing,
    ) -> Option<Redirection> {
        let options = route.options.as_ref()?;
        if exchange.link().about.tls.is_some() || outgoing.is_told_https() {
            exchange.hsts.clone_from(&options.hsts);
            return None;
        }
        if !options.redirects_to_https {
            return None;
        }
        Some(Redirection {
            status: redirect::status(outgoing.method()),
            location: redirect::location(host, self.https_port, outgoing.uri())?,
        })
    }

    /// Answers in place of a backend.
    pub(super) fn answer_instead(
        &self,
        exchange: Box<Exchange>,
        own: OwnAnswer,
    ) -> Response<ReplyBody> {
        match own {
            OwnAnswer::Refusal(refusal) => self.refuse(exchange, &refusal),
            OwnAnswer::Redirection(to) => redirect_to(exchange, to),
        }
    }

    /// The one place where a failure becomes an answer.
    pub(super) fn refuse(
        &self,
        mut exchange: Box<Exchange>,
        refusal: &Refusal,
    ) -> Response<ReplyBody> {
        let answer = refusal.answer;
        let mut response = match exchange.is_grpc {
            true => reply::grpc::refusal(refusal.end, answer),
            false => reply::refusal(answer, &self.pages),
        };
        // A client that is gone is sent nothing: there is no status to speak of.
        if refusal.end != End::ClientGone {
            exchange.respond(response.status(), Instant::now());
        }
        add_hsts(response.headers_mut(), &exchange);
        if exchange.wants_debug {
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

/// Sends a client elsewhere.
fn redirect_to(mut exchange: Box<Exchange>, redirection: Redirection) -> Response<ReplyBody> {
    let mut response = reply::moved(redirection.status);
    let headers = response.headers_mut();
    headers.insert(LOCATION, redirection.location);
    exchange.respond(redirection.status, Instant::now());
    if exchange.wants_debug {
        add_debug(headers, &exchange, None);
    }
    let link = Rc::clone(exchange.link());
    link.complete(exchange, End::Ok);
    response.map(ReplyBody::Full)
}

/// Tells browsers to come by HTTPS from now on, unless the backend has told them something itself. On
/// responses by HTTPS alone (RFC 6797 §7.2).
pub(super) fn add_hsts(headers: &mut HeaderMap, exchange: &Exchange) {
    if let Some(value) = &exchange.hsts
        && !headers.contains_key(STRICT_TRANSPORT_SECURITY)
    {
        headers.insert(STRICT_TRANSPORT_SECURITY, value.clone());
    }
}
