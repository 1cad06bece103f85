//! The record of one request and its response: opened when the head has been read, filled in by
//! each phase, finished exactly once.
//!
//! [`Exchange::finish`] is the only way into the access log and, later, into traces and metrics.
//! An exchange that is dropped unfinished finishes itself: its client left, or the worker ended.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use smallvec::SmallVec;
use tracing::debug;

use super::Downlink;
use super::headers::written_target;
use crate::error::End;
use crate::route::{Route, Source};
use crate::scoreboard::{Counter, Gauge, Slot};
use crate::telemetry::{AccessLog, Record, RequestLine};
use crate::upstream::ConnectNotes;
use crate::vhost::{Backend, BackendId, Frontend, Host};

/// Where finished exchanges go.
pub(crate) struct Sinks {
    /// The access log of this worker.
    pub(crate) access_log: Rc<AccessLog>,
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
    /// The host that was asked for.
    pub(crate) host: Option<Host>,
    /// What routing answered.
    pub(crate) routed: Option<Routed>,
    /// Every try, in order.
    pub(crate) attempts: SmallVec<[Attempt; 1]>,
    /// Status sent to the client; 0 until one is.
    pub(crate) status: u16,
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
    /// How long this request waited for it.
    pub(crate) took: Duration,
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
            host: None,
            routed: None,
            attempts: SmallVec::new(),
            status: 0,
            end: End::ClientGone,
            is_finished: false,
        })
    }

    /// Notes what routing answered.
    pub(crate) fn route(&mut self, route: &Route, took: Duration) {
        self.routed = Some(Routed {
            frontend: Rc::clone(&route.frontend),
            source: route.source,
            age: route.age,
            read: route.read,
            took,
        });
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

    /// Finishes the record: one line, and later one trace and the metrics.
    pub(crate) fn finish(mut self: Box<Self>, end: End) {
        self.record(end);
    }

    /// The whole record in the log of the process, for those who set `server.debug`.
    fn tell(&self, now: Instant) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let route = self.routed.as_ref();
        debug!(
            connection = self.link.number,
            host = self.host(),
            end = self.end.as_str(),
            status = self.status,
            total = ?now.saturating_duration_since(self.began),
            source = route.map(|route| route.source.as_str()),
            lookup = ?route.map(|route| route.took),
            read = ?route.map(|route| route.read),
            age = ?route.map(|route| route.age),
            attempts = ?self.attempts,
            "exchange finished"
        );
    }

    fn record(&mut self, end: End) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        let now = Instant::now();
        let bytes_sent = self.link.settle();
        self.end = end;
        self.sinks.slot.shift(Gauge::OpenExchanges, -1);
        self.sinks.slot.add(Counter::Exchanges, 1);
        let backend = self.attempts.last().map_or(Duration::ZERO, |attempt| {
            now.saturating_duration_since(attempt.began)
        });
        let target = self.line.as_ref().map(|line| written_target(&line.uri));
        let request = self.line.as_ref().zip(target.as_deref());
        self.tell(now);
        self.sinks.access_log.write(&Record {
            client: self.client,
            arrived: self.arrived,
            request: request.map(|(line, target)| RequestLine {
                method: line.method.as_str(),
                target: target.as_bytes(),
                version: line.version(),
            }),
            status: logged_status(self.status, end),
            bytes_sent,
            referer: bytes_of(self.referer.as_ref()),
            user_agent: bytes_of(self.user_agent.as_ref()),
            vhost: self
                .routed
                .as_ref()
                .map_or(b"-", |routed| routed.frontend.vhost.as_bytes()),
            total: now.saturating_duration_since(self.began),
            backend,
        });
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

/// nginx's 499 stands for a client that left before it was sent a status.
fn logged_status(sent: u16, end: End) -> u16 {
    match (sent, end) {
        (0, End::ClientGone) => 499,
        (sent, _) => sent,
    }
}

fn bytes_of(value: Option<&HeaderValue>) -> &[u8] {
    value.map_or(b"", HeaderValue::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_was_sent_is_logged_however_it_ended() {
        let cases = [
            (200, End::Ok, 200),
            (200, End::ClientGone, 200),
            (200, End::ConnectionTerminated, 200),
            (0, End::ClientGone, 499),
            (0, End::Shutdown, 0),
            (408, End::HeadTimeout, 408),
        ];
        for (sent, end, logged) in cases {
            assert_eq!(logged_status(sent, end), logged, "{sent} {end:?}");
        }
    }
}
