//! The record of one request and its response: opened when the head has been read, filled in by
//! each phase, finished exactly once.
//!
//! [`Exchange::finish`] is the only way into the access log, the traces and the metrics.
//! An exchange that is dropped unfinished finishes itself: its client left, or the worker ended.

mod parts;
mod sinks;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use smallvec::SmallVec;
use tracing::debug;

pub(crate) use self::parts::{Attempt, Routed};
use self::parts::{Line, LookedUp, bytes_of, tls_of};
pub(crate) use self::sinks::Sinks;
use super::Downlink;
use super::headers::{Field, Present, written_target};
use super::reply::grpc;
use crate::error::End;
use crate::relay::Upload;
use crate::route::{Asked, Route};
use crate::scoreboard::{Counter, Gauge};
use crate::telemetry::{AttemptRecord, Record, SpanId, Trace, TunnelRecord};
use crate::upstream::ConnectNotes;
use crate::vhost::{Backend, BackendId, Host};

/// One request and its response.
pub(crate) struct Exchange {
    sinks: Rc<Sinks>,
    link: Rc<Downlink>,
    /// When the head was complete, by the wall clock.
    arrived: SystemTime,
    /// The same on the monotonic clock.
    pub(crate) began: Instant,
    line: Option<Line>,
    client: IpAddr,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    /// Further headers that an access log asks for.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The host that was asked for.
    pub(crate) host: Option<Host>,
    /// What routing answered.
    pub(crate) routed: Option<Routed>,
    lookup: Option<LookedUp>,
    /// What the client is told about coming by HTTPS, which it did.
    pub(super) hsts: Option<HeaderValue>,
    /// The trace that it belongs to.
    trace: Option<Trace>,
    /// When the response head was ready to be sent.
    responded: Option<Instant>,
    /// What the client sends, where its bytes are not counted below.
    pub(crate) upload: Option<Rc<Upload>>,
    /// Every try, in order.
    pub(crate) attempts: SmallVec<[Attempt; 1]>,
    /// Status sent to the client; 0 until one is.
    status: u16,
    /// How it ends if nothing else happens.
    pub(crate) end: End,
    /// A call of gRPC: what we answer ourselves is told in its terms.
    pub(crate) is_grpc: bool,
    /// Its client is told what was done for it.
    pub(super) wants_debug: bool,
    /// The tunnel that it became.
    pub(super) tunnel: Option<TunnelRecord>,
    is_finished: bool,
}

impl Exchange {
    /// Opens the record of a request whose head has been read.
    pub(crate) fn open(
        sinks: &Rc<Sinks>,
        link: &Rc<Downlink>,
        (head, present): (&Parts, Present),
        (client, now): (IpAddr, Instant),
    ) -> Box<Self> {
        let mut exchange = Self::blank(sinks, link, client, now);
        exchange.line = Some(Line {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
        });
        exchange.is_grpc = present.has(Field::ContentType) && grpc::is_call(&head.headers);
        if present.has(Field::Referer) {
            exchange.referer = head.headers.get(header::REFERER).cloned();
        }
        exchange.user_agent = head.headers.get(header::USER_AGENT).cloned();
        for name in sinks.access_log.headers() {
            let values = head.headers.get_all(name).iter();
            exchange
                .headers
                .extend(values.map(|value| (name.clone(), value.clone())));
        }
        let authority = head.uri.authority().map(Authority::as_str);
        let is_trusted = link.about.forwarding.is_trusted;
        exchange.trace = sinks.tracer.begin(&head.headers, authority, is_trusted);
        exchange
    }

    /// The record of a head that was refused before it became a request.
    pub(crate) fn refused(
        sinks: &Rc<Sinks>,
        link: &Rc<Downlink>,
        began: Instant,
        status: u16,
    ) -> Box<Self> {
        let mut exchange = Self::blank(sinks, link, link.client_ip(), began);
        exchange.status = status;
        exchange.trace = sinks.tracer.begin(&HeaderMap::new(), None, false);
        exchange
    }

    fn blank(sinks: &Rc<Sinks>, link: &Rc<Downlink>, client: IpAddr, began: Instant) -> Box<Self> {
        sinks.seat.shift(Gauge::OpenExchanges, 1);
        Box::new(Self {
            sinks: Rc::clone(sinks),
            link: Rc::clone(link),
            arrived: SystemTime::now(),
            began,
            line: None,
            client,
            referer: None,
            user_agent: None,
            headers: Vec::new(),
            host: None,
            routed: None,
            lookup: None,
            hsts: None,
            trace: None,
            responded: None,
            upload: None,
            attempts: SmallVec::new(),
            status: 0,
            end: End::ClientGone,
            is_grpc: false,
            wants_debug: false,
            tunnel: None,
            is_finished: false,
        })
    }

    /// Notes how long routing took, whatever it answered.
    pub(crate) fn looked_up(&mut self, began: Instant, asked: Option<Asked>) {
        self.lookup = Some(LookedUp::now(self.began, began, asked));
    }

    /// Notes why the store did not answer.
    pub(crate) fn lookup_failed(&mut self, cause: Rc<str>) {
        if let Some(lookup) = &mut self.lookup {
            lookup.error = Some(cause);
        }
    }

    /// Notes what routing answered.
    pub(crate) fn route(&mut self, route: &Route) {
        self.routed = Some(Routed {
            frontend: Rc::clone(&route.frontend),
            source: route.source,
            age: route.age,
            read: route.read,
        });
    }

    /// Notes the status that the client is sent, and since when that is known.
    pub(crate) fn respond(&mut self, status: StatusCode, now: Instant) {
        self.status = status.as_u16();
        self.responded = Some(now);
    }

    /// Begins an attempt.
    pub(crate) fn begin_attempt(&mut self, id: BackendId, backend: &Rc<Backend>) {
        self.sinks.seat.add(Counter::Attempts, 1);
        if !self.attempts.is_empty() {
            self.sinks.seat.add(Counter::Retries, 1);
        }
        let tracer = &self.sinks.tracer;
        self.attempts.push(Attempt {
            span: self.trace.as_ref().and_then(|_| tracer.next_span()),
            id,
            backend: Rc::clone(backend),
            began: Instant::now(),
            notes: ConnectNotes::default(),
            headed: None,
            status: None,
            failure: None,
            over: None,
        });
    }

    /// Tells a backend which trace the request of the latest attempt belongs to.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        let span = self.attempts.last().and_then(|attempt| attempt.span);
        if let (Some(trace), Some(span)) = (&self.trace, span) {
            self.sinks.tracer.inject(trace, span, headers);
        }
    }

    /// The trace that it belongs to.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// The name of the host that was asked for.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_ref().map(Host::as_str)
    }

    /// The connection this exchange came on.
    pub(crate) fn link(&self) -> &Rc<Downlink> {
        &self.link
    }

    /// Finishes the record: one line, one trace, and the metrics.
    pub(crate) fn finish(self: Box<Self>, end: End) {
        self.finish_at(end, Instant::now());
    }

    /// The same, at this time.
    pub(crate) fn finish_at(mut self: Box<Self>, end: End, now: Instant) {
        self.record(end, now);
    }

    fn record(&mut self, end: End, now: Instant) {
        self.is_finished = true;
        self.sinks.seat.shift(Gauge::OpenExchanges, -1);
        self.sinks.seat.add(Counter::Exchanges, 1);
        let (bytes_received, bytes_sent, body_bytes_sent) = self.link.settle();
        let target = self.line.as_ref().map(|line| written_target(&line.uri));
        let request = self.line.as_ref().zip(target.as_deref());
        let request = request.map(|(line, target)| line.as_record(target));
        let attempts: SmallVec<[AttemptRecord<'_>; 2]> = self
            .attempts
            .iter()
            .map(|attempt| attempt.as_record(self.began, now))
            .collect();
        let spans = self.attempts.iter().filter_map(|attempt| attempt.span);
        let spans: SmallVec<[SpanId; 2]> = spans.collect();
        let about = &self.link.about;
        let record = Record {
            peer: about.peer,
            local: about.local,
            proxied_from: about.proxied.map(|proxied| proxied.source),
            proxied_to: about.proxied.map(|proxied| proxied.destination),
            client: self.client,
            connection: about.number,
            connection_requests: self.link.requests(),
            arrived: self.arrived,
            total: now.saturating_duration_since(self.began),
            request,
            host: self.host(),
            referer: bytes_of(self.referer.as_ref()),
            user_agent: bytes_of(self.user_agent.as_ref()),
            headers: &self.headers,
            route: self.routed.as_ref().map(Routed::as_record),
            lookup: self.lookup.as_ref().map(LookedUp::as_record),
            attempts: &attempts,
            status: self.status,
            responded: self
                .responded
                .map(|at| at.saturating_duration_since(self.began)),
            bytes_sent,
            body_bytes_sent,
            bytes_received: bytes_received
                + self.upload.as_ref().map_or(0, |upload| upload.taken()),
            end: end.as_str(),
            tls: about.tls.as_ref().map(tls_of),
            tunnel: self.tunnel,
            trace: self.trace.as_ref().map(|trace| trace.as_record(&spans)),
        };
        debug!(?record, "exchange finished");
        let is_exported = self.sinks.tracer.write(&record);
        self.sinks.metrics.record(&record, is_exported);
        self.sinks.access_log.write(&record);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        let end = if self.sinks.is_ending.get() {
            End::Shutdown
        } else {
            self.link.cut_as().unwrap_or(self.end)
        };
        self.record(end, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names::WORDS;

    #[test]
    fn every_end_has_a_label_in_the_metrics() {
        let words: Vec<_> = End::ALL.into_iter().map(End::as_str).collect();
        assert_eq!(words, WORDS);
    }
}
