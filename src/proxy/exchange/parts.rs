//! The parts of an exchange's record, and how the sinks see them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use crate::error::End;
use crate::listener::TlsFacts;
use crate::route::{Asked, Source};
use crate::telemetry::{AttemptRecord, Lookup, RequestLine, RouteRecord, SpanId, TlsRecord};
use crate::upstream::ConnectNotes;
use crate::vhost::{Backend, BackendId, Frontend};

/// The request line as it came.
pub(super) struct Line {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
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
    /// Its span; `None` where nothing is exported.
    pub(crate) span: Option<SpanId>,
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

/// The time spent on routing, and what the store said when it failed.
pub(super) struct LookedUp {
    pub(super) began: Duration,
    pub(super) took: Duration,
    pub(super) asked: Option<Asked>,
    pub(super) error: Option<Rc<str>>,
}

impl LookedUp {
    /// What has just been answered to a request that arrived then.
    pub(super) fn now(arrived: Instant, began: Instant, asked: Option<Asked>) -> Self {
        Self {
            began: began.saturating_duration_since(arrived),
            took: began.elapsed(),
            asked,
            error: None,
        }
    }

    pub(super) fn as_record(&self) -> Lookup<'_> {
        Lookup {
            began: self.began,
            took: self.took,
            batch: self.asked.map(|asked| asked.commands),
            peer: self.asked.and_then(|asked| asked.peer),
            error: self.error.as_deref(),
        }
    }
}

impl Routed {
    pub(super) fn as_record(&self) -> RouteRecord<'_> {
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
    pub(super) fn as_record(&self, arrived: Instant, now: Instant) -> AttemptRecord<'_> {
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

impl Line {
    /// With the target as it was written.
    pub(super) fn as_record<'a>(&'a self, target: &'a str) -> RequestLine<'a> {
        RequestLine {
            method: self.method.as_str(),
            target: target.as_bytes(),
            version: self.version(),
        }
    }

    fn version(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2.0",
            _ => "1.1",
        }
    }
}

pub(super) fn bytes_of(value: Option<&HeaderValue>) -> &[u8] {
    value.map_or(b"", HeaderValue::as_bytes)
}

pub(super) fn tls_of(facts: &TlsFacts) -> TlsRecord<'_> {
    TlsRecord {
        version: facts.version,
        cipher: facts.cipher,
        name: facts.name.as_deref(),
        is_resumed: facts.is_resumed,
        took: facts.took,
    }
}
