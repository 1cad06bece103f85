//! A finished exchange, as the three sinks see it: log line, trace, metrics.
//!
//! Plain borrowed values, made once by `proxy::Exchange` when it is finished. Every sink reads the
//! same record, so they cannot disagree. Durations that were never reached are `None`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};

use super::names::CONNECT_FAILURES;
use super::trace::{SpanId, TraceId};

/// A finished exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// The peer of the socket.
    pub(crate) peer: SocketAddr,
    /// The address that the peer connected to.
    pub(crate) local: SocketAddr,
    /// The client, where a PROXY header told it.
    pub(crate) proxied_from: Option<SocketAddr>,
    /// What that client connected to.
    pub(crate) proxied_to: Option<SocketAddr>,
    /// The effective client: `X-Real-IP` of a trusted one, or whoever connected.
    pub(crate) client: IpAddr,
    /// Which connection of the worker it came on, counted from 1.
    pub(crate) connection: u64,
    /// Which request of that connection it is, counted from 1.
    pub(crate) connection_requests: u64,
    /// When the request head was complete.
    pub(crate) arrived: SystemTime,
    /// From the arrival of the head to the end.
    pub(crate) total: Duration,
    /// The request line; `None` when the head was refused: the request is `-`.
    pub(crate) request: Option<RequestLine<'a>>,
    /// The host that was asked for, normalised; `None` when there was none or it is no name.
    pub(crate) host: Option<&'a str>,
    /// `Referer`, empty when absent.
    pub(crate) referer: &'a [u8],
    /// `User-Agent`, empty when absent.
    pub(crate) user_agent: &'a [u8],
    /// Further headers of the request, as far as a log asks for them.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    /// What routing answered; `None` when it was not asked or found nothing.
    pub(crate) route: Option<RouteRecord<'a>>,
    /// How long this request waited for routing; also when it failed.
    pub(crate) lookup: Option<Lookup<'a>>,
    /// Every try, in order.
    pub(crate) attempts: &'a [AttemptRecord<'a>],
    /// Status sent to the client; 0 when none was. See [`Record::logged_status`].
    pub(crate) status: u16,
    /// From the arrival of the head until the response head was ready to be sent.
    pub(crate) responded: Option<Duration>,
    /// Bytes written to the client for this exchange: head, body and framing.
    pub(crate) bytes_sent: u64,
    /// Of these, bytes that belong to no head: body and its framing, or the tunnel's.
    pub(crate) body_bytes_sent: u64,
    /// Bytes read from the client for this exchange: head, body and framing.
    pub(crate) bytes_received: u64,
    /// What was agreed on with the client; `None` without TLS.
    pub(crate) tls: Option<TlsRecord<'a>>,
    /// The tunnel that it became; whatever the status: over HTTP/2 it is 200.
    pub(crate) tunnel: Option<TunnelRecord>,
    /// How it ended: a word of `error::End`.
    pub(crate) end: &'static str,
    /// The trace that it belongs to; `None` where there is none to tell of.
    pub(crate) trace: Option<TraceRecord<'a>>,
}

/// How a tunnel was closed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TunnelRecord {
    /// Who did first: `client` or `backend`; `None` where neither did.
    pub(crate) closed_by: Option<&'static str>,
    /// The status of a WebSocket's first Close frame; `None` where there was none.
    pub(crate) close_status: Option<u16>,
}

/// TLS with a client, as it was agreed on when the connection began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsRecord<'a> {
    /// `1.2` or `1.3`.
    pub(crate) version: &'static str,
    /// The cipher suite, by its IANA name.
    pub(crate) cipher: &'static str,
    /// The name that was asked for (SNI), if any.
    pub(crate) name: Option<&'a str>,
    /// Whether an earlier session was resumed.
    pub(crate) is_resumed: bool,
    /// How long the handshake took.
    pub(crate) took: Duration,
}

/// The trace of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceRecord<'a> {
    /// The trace.
    pub(crate) id: TraceId,
    /// Our span; `None` where nothing is exported.
    pub(crate) span: Option<SpanId>,
    /// The span of a trusted peer.
    pub(crate) parent: Option<SpanId>,
    /// Those of `traceparent`; 1 is sampled.
    pub(crate) flags: u8,
    /// `tracestate`, empty when absent.
    pub(crate) state: &'a [u8],
    /// Whether the client spoke HTTPS to a trusted proxy before us.
    pub(crate) is_https: bool,
    /// The host that a trusted proxy before us was asked for, where that says so.
    pub(crate) host: Option<&'a str>,
    /// The port that was asked for, where it is told.
    pub(crate) port: Option<u16>,
    /// The span of each attempt; empty where nothing is exported.
    pub(crate) attempts: &'a [SpanId],
}

/// The request line as it was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine<'a> {
    /// Method.
    pub(crate) method: &'a str,
    /// Target as it came: origin, absolute, authority or asterisk form.
    pub(crate) target: &'a [u8],
    /// `1.0` or `1.1`.
    pub(crate) version: &'a str,
}

/// The frontend that serves an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouteRecord<'a> {
    /// The key that matched: the host itself or a wildcard.
    pub(crate) key: &'a str,
    /// Its identifier.
    pub(crate) vhost: &'a str,
    /// Where the answer came from: `redis`, `cache`, `file`, `table`.
    pub(crate) source: &'static str,
    /// How old the answer was.
    pub(crate) age: Duration,
    /// What the read that fetched it cost.
    pub(crate) read: Duration,
}

/// The time spent on routing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup<'a> {
    /// From the arrival of the head to its beginning.
    pub(crate) began: Duration,
    /// How long this request waited for it.
    pub(crate) took: Duration,
    /// Commands that Redis was asked with for this request; `None` when it was not asked.
    pub(crate) batch: Option<usize>,
    /// The address of that Redis; `None` on a local socket, or where there was no connection.
    pub(crate) peer: Option<SocketAddr>,
    /// What the store said when it failed; an error of Redis begins with its code.
    pub(crate) error: Option<&'a str>,
}

/// One try against one backend. Durations without a note count from the pick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptRecord<'a> {
    /// The place of the backend in its list.
    pub(crate) id: usize,
    /// The backend's URL, with a slash at the end.
    pub(crate) url: &'a str,
    /// The address that was connected to.
    pub(crate) peer: Option<SocketAddr>,
    /// From the arrival of the head to the pick.
    pub(crate) began: Duration,
    /// How long it waited for a free connection (`maxSockets`).
    pub(crate) waited: Duration,
    /// How long the resolver took.
    pub(crate) resolved: Option<Duration>,
    /// How long the TCP connect took.
    pub(crate) connected: Option<Duration>,
    /// How long the TLS handshake took.
    pub(crate) handshaken: Option<Duration>,
    /// Whether the connection had served a request before.
    pub(crate) is_reused: bool,
    /// Until the response head was there.
    pub(crate) headed: Option<Duration>,
    /// Until the attempt was over: it failed, or the response was complete.
    pub(crate) took: Duration,
    /// The status of the backend.
    pub(crate) status: Option<u16>,
    /// Why it failed: a word of `error::End`; `None` for the one that answered, unless it broke off
    /// later, which `Record::end` tells.
    pub(crate) failure: Option<&'static str>,
}

impl AttemptRecord<'_> {
    /// How long it took to get a connection that can be used, TLS included: nothing for one that was
    /// open already; `None` when none was got.
    pub(crate) fn connect_time(&self) -> Option<Duration> {
        if self.is_reused {
            return Some(Duration::ZERO);
        }
        // The time of a connect that failed is noted, too.
        if self
            .failure
            .is_some_and(|word| CONNECT_FAILURES.contains(&word))
        {
            return None;
        }
        let handshaken = self.handshaken.unwrap_or_default();
        self.connected.map(|connected| connected + handshaken)
    }
}

impl Record<'_> {
    /// The identifier of the frontend, `-` where there is none.
    pub(crate) fn vhost(&self) -> &str {
        self.route.map_or("-", |route| route.vhost)
    }

    /// Status for a log line: nginx's 499 stands for a client that left before it was sent one.
    pub(crate) fn logged_status(&self) -> u16 {
        match (self.status, self.end) {
            (0, "client_gone") => 499,
            (status, _) => status,
        }
    }

    /// From the choice of the last backend to the end; zero where none was chosen.
    pub(crate) fn backend_time(&self) -> Duration {
        let last = self.attempts.last();
        last.map_or(Duration::ZERO, |last| self.total.saturating_sub(last.began))
    }

    /// What the proxy itself added until the response head was ready: all but the time in which a
    /// backend was connected to and waited for. Routing and waiting for a free connection count.
    pub(crate) fn proxy_time(&self) -> Duration {
        let waits = self.attempts.iter().map(|attempt| {
            let until = attempt.headed.unwrap_or(attempt.took);
            until.saturating_sub(attempt.waited)
        });
        self.responded
            .unwrap_or(self.total)
            .saturating_sub(waits.sum())
    }

    /// How one of its attempts ended: the last one, if nothing failed in itself, as the exchange.
    pub(crate) fn end_of(&self, attempt: &AttemptRecord<'_>) -> &'static str {
        let last = self.attempts.last();
        let is_last = last.is_some_and(|last| std::ptr::eq(last, attempt));
        attempt.failure.unwrap_or(match is_last {
            true => self.end,
            false => "ok",
        })
    }

    /// Whether it is an error: answered so, or not ended as it should.
    pub(crate) fn is_error(&self) -> bool {
        self.end != "ok" || self.logged_status() >= 400
    }

    /// The port of the client; `None` where only its address is known.
    pub(crate) fn client_port(&self) -> Option<u16> {
        let connected = self.proxied_from.unwrap_or(self.peer);
        let is_client = connected.ip().to_canonical() == self.client.to_canonical();
        is_client.then(|| connected.port())
    }

    /// The lines of a header that was asked for.
    pub(crate) fn header(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let lines = self.headers.iter().filter(move |(known, _)| known == name);
        lines.map(|(_, value)| value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_was_sent_is_logged_however_it_ended() {
        let cases = [
            (200, "ok", 200),
            (200, "client_gone", 200),
            (200, "connection_terminated", 200),
            (0, "client_gone", 499),
            (0, "shutdown", 0),
            (408, "head_timeout", 408),
        ];
        for (status, end, logged) in cases {
            let record = Record {
                status,
                end,
                ..samples::record()
            };
            assert_eq!(record.logged_status(), logged, "{status} {end}");
        }
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Records for the tests of the sinks.

    use super::*;

    /// A plain request that a backend answered.
    pub(crate) fn record<'a>() -> Record<'a> {
        Record {
            peer: ([127, 0, 0, 1], 40_000).into(),
            local: ([127, 0, 0, 1], 80).into(),
            proxied_from: None,
            proxied_to: None,
            client: [127, 0, 0, 1].into(),
            connection: 1,
            connection_requests: 1,
            arrived: std::time::UNIX_EPOCH + Duration::from_secs(1_795_323_683),
            total: Duration::from_millis(12),
            request: Some(RequestLine {
                method: "GET",
                target: b"/x?y=1",
                version: "1.1",
            }),
            host: Some("a.test"),
            referer: b"http://ref/",
            user_agent: b"UA/1",
            headers: &[],
            route: Some(route("id-a.test")),
            lookup: Some(Lookup {
                began: Duration::ZERO,
                took: Duration::from_micros(300),
                batch: Some(5),
                peer: None,
                error: None,
            }),
            attempts: &[ANSWERED],
            status: 200,
            responded: Some(Duration::from_millis(11)),
            bytes_sent: 101,
            body_bytes_sent: 4,
            bytes_received: 80,
            end: "ok",
            tls: None,
            tunnel: None,
            trace: None,
        }
    }

    /// The route to a frontend with this identifier.
    pub(crate) fn route(vhost: &str) -> RouteRecord<'_> {
        RouteRecord {
            key: "a.test",
            vhost,
            source: "redis",
            age: Duration::ZERO,
            read: Duration::from_micros(300),
        }
    }

    /// An attempt that began 6 ms before the end of [`record`] and was answered.
    pub(crate) const ANSWERED: AttemptRecord<'_> = AttemptRecord {
        id: 0,
        url: "http://127.0.0.1:8080/",
        peer: None,
        began: Duration::from_millis(6),
        waited: Duration::ZERO,
        resolved: None,
        connected: Some(Duration::from_micros(100)),
        handshaken: None,
        is_reused: false,
        headed: Some(Duration::from_millis(5)),
        took: Duration::from_millis(6),
        status: Some(200),
        failure: None,
    };
}
