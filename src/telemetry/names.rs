//! The names of metrics and labels, and the closed sets that label values come from.
//!
//! To add a metric: a constant here (the name of the semantic conventions where there is one, as
//! Prometheus spells it, else `hipache_…` with its unit; no `_total`, which belongs to the sample),
//! its cells in `scoreboard`, its lines in `admin::exposition`, its row in `docs/metrics.md`; a test
//! compares that table with this file. A label is added only if its values are a closed set or
//! bounded; host, path and backend never are one. What is exposed once is not renamed.

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric: name, kind, and what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $help:literal;)*) => {
        $(#[doc = $help]
        pub(crate) const $constant: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            help: $help,
        };)*
        /// Every metric, in the order of this file.
        #[cfg(test)]
        pub(crate) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    REQUEST_DURATION: Histogram "http_server_request_duration_seconds" "Duration of HTTP requests, tunnels excepted.";
    ACTIVE_REQUESTS: Gauge "http_server_active_requests" "Requests in flight, tunnels included.";
    EXCHANGES: Counter "hipache_exchanges" "Exchanges finished, by how they ended.";
    CONNECTIONS: Counter "hipache_connections" "Connections accepted.";
    SILENT: Counter "hipache_connections_silent" "Connections that ended without a single byte.";
    OPEN_CONNECTIONS: Gauge "hipache_connections_open" "Connections open.";
    RECEIVED: Counter "hipache_received_bytes" "Bytes read from clients by finished exchanges.";
    SENT: Counter "hipache_sent_bytes" "Bytes written to clients by finished exchanges.";
    TUNNELS: Counter "hipache_tunnels" "Tunnels (WebSocket) opened.";
    OPEN_TUNNELS: Gauge "hipache_tunnels_open" "Tunnels open.";
    TUNNEL_DURATION: Histogram "hipache_tunnel_duration_seconds" "Life of tunnels, from the 101 to the end.";
    LOOKUP_DURATION: Histogram "hipache_route_lookup_duration_seconds" "How long requests waited for routing.";
    LOOKUPS: Counter "hipache_store_lookups" "Lookups answered by the store of routes, caches not counted.";
    LOOKUPS_FAILED: Counter "hipache_store_lookups_failed" "Lookups that the store of routes failed to answer.";
    REDIS_LINKS: Gauge "hipache_redis_links_up" "Connections to Redis that are up.";
    ATTEMPTS: Counter "hipache_upstream_attempts" "Attempts over, by how they ended.";
    ATTEMPTS_STARTED: Counter "hipache_upstream_attempts_started" "Attempts started.";
    RETRIES: Counter "hipache_upstream_retries" "Attempts after the first.";
    RETRIES_REFUSED: Counter "hipache_upstream_retries_refused" "Retries refused by the budget.";
    DEAD_MARKS: Counter "hipache_dead_marks" "Backends marked dead.";
    MARKS_LOST: Counter "hipache_dead_marks_lost" "Dead marks that could not be written or announced.";
    CONNECTS: Counter "hipache_upstream_connects" "Connections to backends opened.";
    REUSES: Counter "hipache_upstream_reuses" "Requests sent on a kept connection.";
    WAITS: Counter "hipache_upstream_waits" "Requests that had to wait for a free connection.";
    INTERIM_LOST: Counter "hipache_interim_responses_lost" "1xx responses let go because their clients did not read them in time.";
    WAIT_DURATION: Histogram "hipache_upstream_wait_duration_seconds" "How long requests waited for a free connection.";
    CONNECT_DURATION: Histogram "hipache_upstream_connect_duration_seconds" "Steps of connecting to a backend.";
    FIRST_BYTE_DURATION: Histogram "hipache_upstream_first_byte_duration_seconds" "From the pick of a backend to the head of its response.";
    LOG_LINES: Counter "hipache_access_log_lines" "Access-log lines by what became of them.";
    SPANS: Counter "hipache_spans" "Spans by what became of them.";
    LOG_RECORDS: Counter "hipache_log_records" "Log records of the process's own story by what became of them.";
    LOG_BYTES: Counter "hipache_access_log_bytes" "Bytes of access log written.";
    VHOST_REQUESTS: Counter "hipache_vhost_requests" "Requests of the busiest vhosts by status class; others under `other`.";
    VHOST_FAILED: Counter "hipache_vhost_requests_failed" "Requests of the busiest vhosts that did not end well.";
    VHOST_SENT: Counter "hipache_vhost_sent_bytes" "Bytes written to clients for the busiest vhosts.";
    VHOST_DURATION: Histogram "hipache_vhost_request_duration_seconds" "Duration of requests of the busiest vhosts.";
    VHOST_FORGOTTEN: Counter "hipache_vhost_requests_forgotten" "Requests of vhosts that gave up their place and are shown no longer.";
    WORKER_STATE: Gauge "hipache_worker_state" "1 for the state that the worker is in.";
    WORKER_EXCHANGES: Counter "hipache_worker_exchanges" "Exchanges finished by the workers of a seat.";
    WORKER_UPTIME: Gauge "hipache_worker_uptime_seconds" "Age of the worker.";
    WORKER_HEARTBEAT: Gauge "hipache_worker_heartbeat_age_seconds" "Since the worker's runtime last turned.";
    WORKER_DEATHS: Counter "hipache_worker_deaths" "Workers that died while the proxy ran, by reason; each is replaced.";
    MEMORY_LIMIT: Gauge "hipache_worker_memory_limit_bytes" "Memory that a worker may use; 0 is no limit.";
    CGROUP_MEMORY: Gauge "hipache_cgroup_memory_bytes" "Memory that the control group uses, page cache included.";
    OVER_LIMIT: Counter "hipache_memory_over_limit" "Looks at a worker's memory that found it over its limit.";
    PURGES: Counter "hipache_memory_purges" "Times that a worker over its limit gave memory back.";
    PURGED: Counter "hipache_memory_purged_bytes" "Bytes given back by workers over their limit.";
    REPLACEMENTS_WANTED: Counter "hipache_worker_replacements_wanted" "Times that a worker asked to be replaced for its memory.";
    REPLACEMENTS: Counter "hipache_worker_replacements" "Workers whose place another took, by reason.";
    RELOADS: Counter "hipache_reloads" "Reloads of the configuration, by result.";
    CONFIGURED: Gauge "hipache_configured_timestamp_seconds" "When the configuration in force was read: at the last reload that was done, or at the start.";
    GENERATION: Gauge "hipache_generation" "The generation of workers that serves; each reload or upgrade makes one.";
    MEMORY: Gauge "hipache_allocator_bytes" "jemalloc's own figures.";
    CPU: Counter "process_cpu_time_seconds" "CPU time of a process; begins anew with each worker.";
    RESIDENT: Gauge "process_memory_usage_bytes" "Resident memory of a process.";
    VIRTUAL: Gauge "process_memory_virtual_bytes" "Virtual memory of a process.";
    THREADS: Gauge "process_threads" "Threads of a process.";
    DESCRIPTORS: Gauge "process_open_fds" "Open file descriptors of a process.";
    UPTIME: Gauge "process_uptime_seconds" "Age of the master.";
    BUILD: Gauge "hipache_build_info" "1; the version is in the label.";
    CONFIGURATION: Gauge "hipache_configuration_info" "1; the hash of the configuration in force is in the label.";
    ADMIN_REFUSED: Counter "hipache_admin_connections_refused" "Connections to the admin listener beyond its limit.";
}

pub(crate) const METHOD: &str = "http_request_method";
pub(crate) const SCHEME: &str = "url_scheme";
pub(crate) const STATUS: &str = "http_response_status_code";
pub(crate) const VERSION: &str = "network_protocol_version";
pub(crate) const ERROR: &str = "error_type";
/// What OpenTelemetry calls the series of all attributes that found no place.
pub(crate) const OTEL_OVERFLOW: &str = "otel_metric_overflow";
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
pub(crate) const VERSIONS: [&str; 4] = ["", "1.0", "1.1", "2.0"];

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
            Kind::Counter => format!("{}_total", metric.name),
            Kind::Gauge | Kind::Histogram => metric.name.to_owned(),
        };
        let metrics: HashSet<String> = ALL.iter().map(total).collect();
        assert_eq!(metrics.len(), ALL.len(), "a name twice");
        let missing: Vec<_> = metrics.symmetric_difference(&rows).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_word_that_is_none_has_the_last_place() {
        assert_eq!(place(&METHODS, "GET"), 0);
        assert_eq!(METHODS[place(&METHODS, "BREW")], "_OTHER");
        assert_eq!(WORDS[place(&WORDS, "no_such_host")], "no_such_host");
    }
}
