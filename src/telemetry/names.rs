//! The names of metrics and labels, and the closed sets that label values come from.
//!
//! Names are OpenTelemetry's; those of Prometheus are made from them, so that what is scraped and
//! what is pushed cannot disagree. To add a metric: a constant here (the name of the semantic
//! conventions where there is one, else `hipache.…`, and its unit in UCUM), its cells in
//! `scoreboard`, its lines in `gather`, its row in `docs/metrics.md`; a test compares that table
//! with this file. A label is added only if its values are a closed set or bounded; host, path and
//! backend never are one. What is exposed once is not renamed.

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What only grows.
    Counter,
    /// What goes up and down and can be added up: OpenTelemetry's UpDownCounter.
    Level,
    /// What goes up and down and cannot.
    Gauge,
    Histogram,
}

/// A metric: name, kind, unit, and what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// In UCUM; empty where there is none.
    pub(crate) unit: &'static str,
    pub(crate) help: &'static str,
}

impl Metric {
    /// The name in Prometheus, as OpenTelemetry's compatibility rules make it, without the `_total`
    /// of a counter's sample.
    pub(crate) fn exposed(&self) -> String {
        // There `_count` belongs to histograms.
        match self.name {
            "process.thread.count" => return "process_threads".to_owned(),
            "process.unix.file_descriptor.count" => return "process_open_fds".to_owned(),
            _ => {}
        }
        let mut name = self.name.replace('.', "_");
        let suffix = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        if !name.ends_with(suffix) {
            name.push_str(suffix);
        }
        name
    }
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $unit:literal $help:literal;)*) => {
        $(#[doc = $help]
        pub(crate) const $constant: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            help: $help,
        };)*
        /// Every metric, in the order of this file.
        #[cfg(test)]
        pub(crate) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    REQUEST_DURATION: Histogram "http.server.request.duration" "s" "Duration of HTTP requests, tunnels excepted.";
    ACTIVE_REQUESTS: Level "http.server.active_requests" "{request}" "Requests in flight, tunnels included.";
    EXCHANGES: Counter "hipache.exchanges" "{exchange}" "Exchanges finished, by how they ended.";
    CONNECTIONS: Counter "hipache.connections" "{connection}" "Connections accepted.";
    SILENT: Counter "hipache.connections_silent" "{connection}" "Connections that ended without a single byte.";
    HANDSHAKES: Counter "hipache.tls.handshakes" "{handshake}" "TLS handshakes with clients, by what was agreed on.";
    HANDSHAKES_FAILED: Counter "hipache.tls.handshakes_failed" "{handshake}" "TLS handshakes with clients that came to nothing, by reason.";
    HANDSHAKE_DURATION: Histogram "hipache.tls.handshake.duration" "s" "Duration of TLS handshakes with clients, that of finding the certificate included.";
    HTTP2_ERRORS: Counter "hipache.http2.connection_errors" "{connection}" "HTTP/2 connections ended for a mistake of their client, by the error code that it was told.";
    STREAMS_REFUSED: Counter "hipache.http2.streams_refused" "{stream}" "HTTP/2 streams refused unseen: too many at a time, or long after the end was told.";
    CERTIFICATES: Level "hipache.tls.names" "{name}" "Names whose certificate, or want of one, is kept.";
    CERTIFICATES_EVICTED: Counter "hipache.tls.names_evicted" "{name}" "Names forgotten to make room for others.";
    PROXY_UNTRUSTED: Counter "hipache.proxy_headers_untrusted" "{connection}" "Connections closed because their peer may not send PROXY headers.";
    PROXY_MALFORMED: Counter "hipache.proxy_headers_malformed" "{connection}" "Connections closed because their PROXY header was malformed, cut or late.";
    OPEN_CONNECTIONS: Level "hipache.connections_open" "{connection}" "Connections open.";
    RECEIVED: Counter "hipache.received" "By" "Bytes read from clients by finished exchanges.";
    SENT: Counter "hipache.sent" "By" "Bytes written to clients by finished exchanges.";
    TUNNELS: Counter "hipache.tunnels" "{tunnel}" "Tunnels (WebSocket) opened.";
    OPEN_TUNNELS: Level "hipache.tunnels_open" "{tunnel}" "Tunnels open.";
    TUNNEL_DURATION: Histogram "hipache.tunnel.duration" "s" "Life of tunnels, from the upgrade to the end.";
    LOOKUP_DURATION: Histogram "hipache.route.lookup.duration" "s" "How long requests waited for routing.";
    LOOKUPS: Counter "hipache.store.lookups" "{lookup}" "Lookups answered by the store of routes, caches not counted.";
    LOOKUPS_FAILED: Counter "hipache.store.lookups_failed" "{lookup}" "Lookups that the store of routes failed to answer.";
    REDIS_LINKS: Level "hipache.redis.links_up" "{connection}" "Connections to Redis that are up.";
    ATTEMPTS: Counter "hipache.upstream.attempts" "{attempt}" "Attempts over, by how they ended.";
    ATTEMPTS_STARTED: Counter "hipache.upstream.attempts_started" "{attempt}" "Attempts started.";
    RETRIES: Counter "hipache.upstream.retries" "{attempt}" "Attempts after the first.";
    RETRIES_REFUSED: Counter "hipache.upstream.retries_refused" "{attempt}" "Retries refused by the budget.";
    DEAD_MARKS: Counter "hipache.dead_marks" "{mark}" "Backends marked dead.";
    MARKS_LOST: Counter "hipache.dead_marks_lost" "{mark}" "Dead marks that could not be written or announced.";
    CONNECTS: Counter "hipache.upstream.connects" "{connection}" "Connections to backends opened.";
    REUSES: Counter "hipache.upstream.reuses" "{request}" "Requests sent on a kept connection.";
    WAITS: Counter "hipache.upstream.waits" "{request}" "Requests that had to wait for a free connection.";
    INTERIM_LOST: Counter "hipache.interim_responses_lost" "{response}" "1xx responses let go because their clients did not read them in time.";
    WAIT_DURATION: Histogram "hipache.upstream.wait.duration" "s" "How long requests waited for a free connection.";
    CONNECT_DURATION: Histogram "hipache.upstream.connect.duration" "s" "Steps of connecting to a backend.";
    FIRST_BYTE_DURATION: Histogram "hipache.upstream.first_byte.duration" "s" "From the pick of a backend to the head of its response.";
    LOG_LINES: Counter "hipache.access_log.lines" "{line}" "Access-log lines by what became of them.";
    SPANS: Counter "hipache.spans" "{span}" "Spans by what became of them.";
    LOG_RECORDS: Counter "hipache.log_records" "{record}" "Log records of the process's own story by what became of them.";
    LOG_BYTES: Counter "hipache.access_log.bytes" "By" "Bytes of access log written.";
    VHOST_REQUESTS: Counter "hipache.vhost.requests" "{request}" "Requests of the busiest vhosts by status class; others under `other`.";
    VHOST_FAILED: Counter "hipache.vhost.requests_failed" "{request}" "Requests of the busiest vhosts that did not end well.";
    VHOST_SENT: Counter "hipache.vhost.sent" "By" "Bytes written to clients for the busiest vhosts.";
    VHOST_DURATION: Histogram "hipache.vhost.request.duration" "s" "Duration of requests of the busiest vhosts.";
    VHOST_FORGOTTEN: Counter "hipache.vhost.requests_forgotten" "{request}" "Requests of vhosts that gave up their place and are shown no longer.";
    WORKER_STATE: Level "hipache.worker.state" "{worker}" "1 for the state that the worker is in.";
    WORKER_EXCHANGES: Counter "hipache.worker.exchanges" "{exchange}" "Exchanges finished by the workers of a seat.";
    WORKER_UPTIME: Gauge "hipache.worker.uptime" "s" "Age of the worker.";
    WORKER_HEARTBEAT: Gauge "hipache.worker.heartbeat_age" "s" "Since the worker's runtime last turned.";
    WORKER_DEATHS: Counter "hipache.worker.deaths" "{worker}" "Workers that died while the proxy ran, by reason; each is replaced.";
    MEMORY_LIMIT: Level "hipache.worker.memory_limit" "By" "Memory that a worker may use; 0 is no limit.";
    CGROUP_MEMORY: Gauge "hipache.cgroup.memory" "By" "Memory that the control group uses, page cache included.";
    OVER_LIMIT: Counter "hipache.memory.over_limit" "{look}" "Looks at a worker's memory that found it over its limit.";
    PURGES: Counter "hipache.memory.purges" "{purge}" "Times that a worker over its limit gave memory back.";
    PURGED: Counter "hipache.memory.purged" "By" "Bytes given back by workers over their limit.";
    REPLACEMENTS_WANTED: Counter "hipache.worker.replacements_wanted" "{worker}" "Times that a worker asked to be replaced for its memory.";
    REPLACEMENTS: Counter "hipache.worker.replacements" "{worker}" "Workers whose place another took, by reason.";
    RELOADS: Counter "hipache.reloads" "{reload}" "Reloads of the configuration, by result.";
    UPGRADES: Counter "hipache.upgrades" "{upgrade}" "Upgrades of the program in place, by result.";
    CONFIGURED: Gauge "hipache.configured.timestamp" "s" "When the configuration in force was read: at the last reload that was done, or at the start.";
    GENERATION: Gauge "hipache.generation" "{generation}" "The generation of workers that serves; each reload or upgrade makes one.";
    MEMORY: Level "hipache.allocator" "By" "jemalloc's own figures.";
    CPU: Counter "process.cpu.time" "s" "CPU time of a process; begins anew with each worker.";
    RESIDENT: Level "process.memory.usage" "By" "Resident memory of a process.";
    VIRTUAL: Level "process.memory.virtual" "By" "Virtual memory of a process.";
    THREADS: Level "process.thread.count" "{thread}" "Threads of a process.";
    DESCRIPTORS: Level "process.unix.file_descriptor.count" "{file_descriptor}" "Open file descriptors of a process.";
    UPTIME: Gauge "process.uptime" "s" "Age of the master.";
    BUILD: Gauge "hipache.build.info" "" "1; the version is in the label.";
    CONFIGURATION: Gauge "hipache.configuration.info" "" "1; the hash of the configuration in force is in the label.";
    ADMIN_REFUSED: Counter "hipache.admin.connections_refused" "{connection}" "Connections to the admin listener beyond its limit.";
    METRIC_EXPORTS: Counter "hipache.metrics.exports" "{export}" "Exports of all metrics by what became of them.";
}

pub(crate) const METHOD: &str = "http.request.method";
pub(crate) const SCHEME: &str = "url.scheme";
pub(crate) const STATUS: &str = "http.response.status_code";
pub(crate) const VERSION: &str = "network.protocol.version";
pub(crate) const ERROR: &str = "error.type";
pub(crate) const TLS_VERSION: &str = "tls.protocol.version";
pub(crate) const TLS_CIPHER: &str = "tls.cipher";
pub(crate) const TLS_RESUMED: &str = "tls.resumed";
pub(crate) const CERTIFICATE: &str = "certificate";
/// What OpenTelemetry calls the series of all attributes that found no place.
pub(crate) const OTEL_OVERFLOW: &str = "otel.metric.overflow";
pub(crate) const END: &str = "end";
pub(crate) const SOURCE: &str = "source";
pub(crate) const OUTCOME: &str = "outcome";
pub(crate) const STEP: &str = "step";
pub(crate) const VHOST: &str = "vhost";
pub(crate) const CLASS: &str = "status_class";
pub(crate) const WORKER: &str = "worker";
pub(crate) const PROCESS: &str = "process";
pub(crate) const STATE: &str = "state";
pub(crate) const REASON: &str = "reason";
pub(crate) const RESULT: &str = "result";

/// The methods that the conventions know, the usual ones first; the last stands for all others.
pub(crate) const METHODS: [&str; 11] = [
    "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY",
    "_OTHER",
];

/// Protocol versions; the first where no request was understood.
pub(crate) const VERSIONS: [&str; 4] = ["", "1.0", "1.1", "2"];

/// A version of HTTP as the conventions word it: the access log has the `2.0` of nginx.
pub(crate) fn protocol_version(version: &str) -> &str {
    match version {
        "2.0" => "2",
        other => other,
    }
}

/// The cipher suites that can be agreed on with a client, by their IANA names; the last stands for
/// any other. Their places are cells of the scoreboard: they stay.
pub(crate) const CIPHERS: [&str; 10] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "_OTHER",
];
/// As many of them, the first, are those of TLS 1.3; all others are of TLS 1.2.
pub(crate) const CIPHERS_OF_13: usize = 3;

/// Whose certificate a client was shown: that of the name that it asked for.
pub(crate) const SHOWN_OWN: &str = "own";
/// The listener's, because that name has none.
pub(crate) const SHOWN_DEFAULT: &str = "default";
/// The listener's, because it asked for no name.
pub(crate) const SHOWN_NONE: &str = "none";
/// All three.
pub(crate) const SHOWN: [&str; 3] = [SHOWN_OWN, SHOWN_DEFAULT, SHOWN_NONE];

/// Why a handshake with a client came to nothing; the last stands for all other reasons. Their places
/// are cells of the scoreboard: new ones go before it with a new layout.
pub(crate) const HANDSHAKE_FAILURES: [&str; 8] = [
    "timeout",
    "unknown_name",
    "client_gone",
    "alert_received",
    "not_tls",
    "no_common_terms",
    "client_certificate",
    "protocol_error",
];

/// The label of the vhosts that are not among the busiest.
pub(crate) const OTHER_VHOSTS: &str = "other";

/// Status classes of vhosts by the first digit; the first where no status was sent.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The words of `error::End`. Their places are cells of the scoreboard: new ones go to the end.
pub(crate) const WORDS: [&str; 24] = [
    "ok",
    "client_gone",
    "client_timeout",
    "bad_request",
    "head_too_large",
    "head_timeout",
    "no_host",
    "no_such_host",
    "no_live_backend",
    "invalid_backend",
    "redis_unavailable",
    "connection_limit_reached",
    "dns_error",
    "dns_timeout",
    "connection_refused",
    "destination_unavailable",
    "connection_timeout",
    "tls_protocol_error",
    "connection_terminated",
    "connection_read_timeout",
    "tunnel_idle",
    "http_protocol_error",
    "shutdown",
    "proxy_internal_error",
];

/// Those of an attempt that got no connection to send on.
pub(crate) const CONNECT_FAILURES: [&str; 8] = [
    "connection_limit_reached",
    "dns_error",
    "dns_timeout",
    "connection_refused",
    "destination_unavailable",
    "connection_timeout",
    "tls_protocol_error",
    "proxy_internal_error",
];

/// The place of a word in its set; a word that is none has the last.
pub(crate) fn place(set: &[&str], word: &str) -> usize {
    let found = set.iter().position(|known| *known == word);
    found.unwrap_or(set.len() - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_document_has_a_row_for_every_metric_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let document = std::fs::read_to_string(path).unwrap();
        let rows: HashSet<String> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name.to_owned())
            .filter(|name| !name.starts_with('/'))
            .collect();
        let total = |metric: &Metric| match metric.kind {
            Kind::Counter => metric.exposed() + "_total",
            Kind::Level | Kind::Gauge | Kind::Histogram => metric.exposed(),
        };
        let metrics: HashSet<String> = ALL.iter().map(total).collect();
        assert_eq!(metrics.len(), ALL.len(), "a name twice");
        let missing: Vec<_> = metrics.symmetric_difference(&rows).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL {
            let name = metric.name;
            let is_word = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_');
            assert!(name.bytes().all(is_word), "{name}");
            let space = format!("{name}.");
            let inside = ALL.iter().find(|other| other.name.starts_with(&space));
            assert!(inside.is_none(), "{name} is the space of {inside:?}");
            let is_time = name.ends_with("duration") || name.ends_with("time");
            assert!(!is_time || metric.unit == "s", "{name}");
        }
        assert_eq!(
            REQUEST_DURATION.exposed(),
            "http_server_request_duration_seconds"
        );
        assert_eq!(LOG_BYTES.exposed(), "hipache_access_log_bytes");
        assert_eq!(EXCHANGES.exposed(), "hipache_exchanges");
    }

    #[test]
    fn versions_of_http_are_those_of_the_conventions() {
        for version in ["1.0", "1.1", "2.0"] {
            let word = protocol_version(version);
            assert_eq!(VERSIONS[place(&VERSIONS, word)], word, "{version}");
        }
        assert_eq!(protocol_version("2.0"), "2");
    }

    #[test]
    fn a_word_that_is_none_has_the_last_place() {
        assert_eq!(place(&METHODS, "GET"), 0);
        assert_eq!(METHODS[place(&METHODS, "BREW")], "_OTHER");
        assert_eq!(WORDS[place(&WORDS, "no_such_host")], "no_such_host");
    }
}
