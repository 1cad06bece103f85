//! The record of one request and its response: opened when the head has been read, filled in by
//! each phase, finished exactly once.
//!
//! [`Exchange::finish`] is the only way into the access log, the metrics and, later, into traces.
//! An exchange that is dropped unfinished finishes itself: its client left, or the worker ended.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use smallvec::SmallVec;
use tracing::debug;

use super::Downlink;
use super::headers::written_target;
use crate::error::End;
use crate::route::{Route, Source};
use crate::scoreboard::{Counter, Gauge, Slot};
use crate::telemetry::{
    AccessLog, AttemptRecord, Lookup, Metrics, Record, RequestLine, RouteRecord,
};
use crate::upstream::ConnectNotes;
use crate::vhost::{Backend, BackendId, Frontend, Host};

/// Where finished exchanges go.
pub(crate) struct Sinks {
    /// The access log of this worker.
    pub(crate) access_log: Rc<AccessLog>,
    /// The metrics of this worker.
    pub(crate) metrics: Metrics,
    /// The counters of this worker.
    pub(crate) slot: Slot,
    /// The worker ends now: what is still in flight was cut by us.
    pub(crate) is_ending: Cell<bool>,
}

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
    lookup: Option<Lookup>,
    /// When the response head was ready to be sent.
    responded: Option<Instant>,
    /// Every try, in order.
    pub(crate) attempts: SmallVec<[Attempt; 1]>,
    /// Status sent to the client; 0 until one is.
    status: u16,
    /// How it ends if nothing else happens.
    pub(crate) end: End,
    is_finished: bool,
}

/// The request line as it came.
struct Line {
    method: Method,
    uri: Uri,
    version: Version,
}

/// The answer of routing, and what it cost this request.
pub(crate) struct Routed {
    /// The frontend that matched.
    pub(crate) frontend: Rc<Frontend>,
    /// Where the answer came from.
    pub(crate) source: Source,
    /// How old the answer was.
    pub(crate) age: Duration,
    /// What the read that fetched it cost.
    pub(crate) read: Duration,
}

/// One try against one backend.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// The place of the backend in its list.
    pub(crate) id: BackendId,
    /// The backend.
    pub(crate) backend: Rc<Backend>,
    /// When it was picked.
    pub(crate) began: Instant,
    /// How the connection was come by.
    pub(crate) notes: ConnectNotes,
    /// When the response head was there.
    pub(crate) headed: Option<Instant>,
    /// The status of the backend.
    pub(crate) status: Option<StatusCode>,
    /// Why it failed.
    pub(crate) failure: Option<End>,
    /// When it failed; one that answered is over with the exchange.
    pub(crate) over: Option<Instant>,
}

impl Exchange {
    /// Opens the record of a request whose head has been read.
    pub(crate) fn open(
        sinks: &Rc<Sinks>,
        link: &Rc<Downlink>,
        head: &Parts,
        (client, now): (IpAddr, Instant),
    ) -> Box<Self> {
        let mut exchange = Self::blank(sinks, link, client, now);
        exchange.line = Some(Line {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
        });
        exchange.referer = head.headers.get(header::REFERER).cloned();
        exchange.user_agent = head.headers.get(header::USER_AGENT).cloned();
        for name in sinks.access_log.headers() {
            let values = head.headers.get_all(name).iter();
            exchange
                .headers
                .extend(values.map(|value| (name.clone(), value.clone())));
        }
        exchange
    }

    /// The record of a head that was refused before it became a request.
    pub(crate) fn refused(
        sinks: &Rc<Sinks>,
        link: &Rc<Downlink>,
        began: Instant,
        status: u16,
    ) -> Box<Self> {
        let mut exchange = Self::blank(sinks, link, link.peer_ip(), began);
        exchange.status = status;
        exchange
    }

    fn blank(sinks: &Rc<Sinks>, link: &Rc<Downlink>, client: IpAddr, began: Instant) -> Box<Self> {
        sinks.slot.shift(Gauge::OpenExchanges, 1);
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
            responded: None,
            attempts: SmallVec::new(),
            status: 0,
            end: End::ClientGone,
            is_finished: false,
        })
    }

    /// Notes how long routing took, whatever it answered.
    pub(crate) fn looked_up(&mut self, began: Instant) {
        self.lookup = Some(Lookup {
            began: began.saturating_duration_since(self.began),
            took: began.elapsed(),
        });
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

    /// Notes the status that the client is sent now.
    pub(crate) fn respond(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.responded = Some(Instant::now());
    }

    /// Begins an attempt.
    pub(crate) fn begin_attempt(&mut self, id: BackendId, backend: &Rc<Backend>) {
        self.sinks.slot.add(Counter::Attempts, 1);
        if !self.attempts.is_empty() {
            self.sinks.slot.add(Counter::Retries, 1);
        }
        self.attempts.push(Attempt {
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

    /// The name of the host that was asked for.
    pub(crate) fn host(&self) -> Option<&str> {
        self.host.as_ref().map(Host::as_str)
    }

    /// The connection this exchange came on.
    pub(crate) fn link(&self) -> &Rc<Downlink> {
        &self.link
    }

    /// Finishes the record: one line, the metrics, and later one trace.
    pub(crate) fn finish(mut self: Box<Self>, end: End) {
        self.record(end);
    }

    fn record(&mut self, end: End) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        let now = Instant::now();
        self.sinks.slot.shift(Gauge::OpenExchanges, -1);
        self.sinks.slot.add(Counter::Exchanges, 1);
        let (bytes_received, bytes_sent, body_bytes_sent) = self.link.settle();
        let target = self.line.as_ref().map(|line| written_target(&line.uri));
        let request = self.line.as_ref().zip(target.as_deref());
        let attempts: SmallVec<[AttemptRecord<'_>; 2]> = self
            .attempts
            .iter()
            .map(|attempt| attempt.as_record(self.began, now))
            .collect();
        let record = Record {
            peer: self.link.peer,
            local: self.link.local,
            client: self.client,
            connection: self.link.number,
            connection_requests: self.link.requests(),
            arrived: self.arrived,
            total: now.saturating_duration_since(self.began),
            request: request.map(|(line, target)| RequestLine {
                method: line.method.as_str(),
                target: target.as_bytes(),
                version: line.version(),
            }),
            host: self.host(),
            referer: bytes_of(self.referer.as_ref()),
            user_agent: bytes_of(self.user_agent.as_ref()),
            headers: &self.headers,
            route: self.routed.as_ref().map(Routed::as_record),
            lookup: self.lookup,
            attempts: &attempts,
            status: self.status,
            responded: self
                .responded
                .map(|at| at.saturating_duration_since(self.began)),
            bytes_sent,
            body_bytes_sent,
            bytes_received,
            end: end.as_str(),
        };
        debug!(?record, "exchange finished");
        self.sinks.metrics.record(&record, None);
        self.sinks.access_log.write(&record);
    }
}

impl Routed {
    fn as_record(&self) -> RouteRecord<'_> {
        RouteRecord {
            key: &self.frontend.key,
            vhost: &self.frontend.vhost,
            source: self.source.as_str(),
            age: self.age,
            read: self.read,
        }
    }
}

impl Attempt {
    fn as_record(&self, arrived: Instant, now: Instant) -> AttemptRecord<'_> {
        let since = |at: Instant| at.saturating_duration_since(self.began);
        AttemptRecord {
            id: self.id,
            url: &self.backend.url,
            peer: self.notes.peer.get(),
            began: self.began.saturating_duration_since(arrived),
            waited: self.notes.waited.get(),
            resolved: self.notes.resolved.get(),
            connected: self.notes.connected.get(),
            handshaken: self.notes.handshaken.get(),
            is_reused: self.notes.is_reused.get(),
            headed: self.headed.map(since),
            took: since(self.over.unwrap_or(now)),
            status: self.status.map(|status| status.as_u16()),
            failure: self.failure.map(End::as_str),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let end = if self.sinks.is_ending.get() {
            End::Shutdown
        } else {
            self.link.timed_out().unwrap_or(self.end)
        };
        self.record(end);
    }
}

impl Line {
    fn version(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2.0",
            _ => "1.1",
        }
    }
}

fn bytes_of(value: Option<&HeaderValue>) -> &[u8] {
    value.map_or(b"", HeaderValue::as_bytes)
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
