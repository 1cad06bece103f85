//! Every metric of every worker, read from the scoreboard in one go: what is scraped and what is
//! pushed come from here.
//!
//! Counters are summed over all seats, dead workers included, so nothing ever goes back. It is done
//! in pieces, with other tasks in between: each takes well under a millisecond.

mod handshakes;
mod process;
mod sink;
mod snapshot;
mod vhosts;
mod workers;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::yield_now;

use super::names::{self, Metric, VERSIONS, WORDS};
use super::{Labels, Methods};
use crate::scoreboard::{Counter, Gauge, HTTP_BOUNDS, OVERFLOW, Scoreboard, Series, Tally, Timing};
pub(crate) use process::resident;
pub(crate) use sink::{Buckets, Number, Pairs, Sink};
pub(crate) use snapshot::Snapshot;
#[cfg(test)]
pub(crate) use tests::{crowded, pieces};
pub(crate) use vhosts::busiest;

/// What metrics are read from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) board: Scoreboard,
    /// Those that labels name.
    pub(crate) methods: Methods,
    /// Hash of the configuration in force.
    pub(crate) configuration: String,
}

/// What is written or read without a pause: a few hundred lines.
const PIECE: usize = 16;
/// The place of `ok` among the words.
const OK: usize = 0;
const LOOKUPS: [(Timing, &str, &str); 7] = [
    (Timing::LookupRedis, "redis", "found"),
    (Timing::LookupCache, "cache", "found"),
    (Timing::LookupStale, "stale", "found"),
    (Timing::LookupFile, "file", "found"),
    (Timing::LookupTable, "table", "found"),
    (Timing::LookupNotFound, "none", "not_found"),
    (Timing::LookupUnavailable, "none", "unavailable"),
];

const STEPS: [(Timing, &str); 3] = [
    (Timing::Resolve, "resolve"),
    (Timing::Connect, "connect"),
    (Timing::Handshake, "handshake"),
];

const SUMS: [(&Metric, Counter); 27] = [
    (&names::CONNECTIONS, Counter::Connections),
    (&names::SILENT, Counter::SilentConnections),
    (&names::STREAMS_REFUSED, Counter::StreamsRefused),
    (&names::CERTIFICATES_EVICTED, Counter::CertificatesEvicted),
    (&names::PROXY_UNTRUSTED, Counter::ProxyHeadersUntrusted),
    (&names::PROXY_MALFORMED, Counter::ProxyHeadersMalformed),
    (&names::RECEIVED, Counter::BytesReceived),
    (&names::SENT, Counter::BytesSent),
    (&names::TUNNELS, Counter::Tunnels),
    (&names::LOOKUPS, Counter::Lookups),
    (&names::LOOKUPS_FAILED, Counter::LookupFailures),
    (&names::ATTEMPTS_STARTED, Counter::Attempts),
    (&names::RETRIES, Counter::Retries),
    (&names::RETRIES_REFUSED, Counter::RetriesRefused),
    (&names::DEAD_MARKS, Counter::DeadMarks),
    (&names::MARKS_LOST, Counter::MarksLost),
    (&names::CONNECTS, Counter::UpstreamConnects),
    (&names::REUSES, Counter::UpstreamReuses),
    (&names::WAITS, Counter::UpstreamWaits),
    (&names::INTERIM_LOST, Counter::InterimLost),
    (&names::LOG_BYTES, Counter::LogBytes),
    (&names::VHOST_FORGOTTEN, Counter::VhostRequestsForgotten),
    (&names::ADMIN_REFUSED, Counter::AdminRefused),
    (&names::OVER_LIMIT, Counter::MemoryOverLimit),
    (&names::PURGES, Counter::MemoryPurges),
    (&names::PURGED, Counter::MemoryPurgedBytes),
    (&names::REPLACEMENTS_WANTED, Counter::ReplacementsWanted),
];

type Outcomes = [(&'static str, Counter)];
/// What is counted by what became of it, or why.
const OUTCOMES: [(&Metric, &str, &Outcomes); 5] = [
    (
        &names::LOG_LINES,
        names::OUTCOME,
        &[
            ("written", Counter::LinesWritten),
            ("dropped", Counter::LinesDropped),
            ("failed", Counter::LinesFailed),
            ("filtered", Counter::LinesFiltered),
            ("lost_at_death", Counter::LinesLostAtDeath),
        ],
    ),
    (
        &names::SPANS,
        names::OUTCOME,
        &[
            ("exported", Counter::SpansExported),
            ("dropped", Counter::SpansDropped),
            ("failed", Counter::SpansFailed),
        ],
    ),
    (
        &names::LOG_RECORDS,
        names::OUTCOME,
        &[
            ("exported", Counter::RecordsExported),
            ("dropped", Counter::RecordsDropped),
            ("failed", Counter::RecordsFailed),
        ],
    ),
    (
        &names::METRIC_EXPORTS,
        names::OUTCOME,
        &[
            ("exported", Counter::MetricsExported),
            ("dropped", Counter::MetricsDropped),
            ("failed", Counter::MetricsFailed),
        ],
    ),
    (
        &names::HTTP2_ERRORS,
        names::ERROR,
        &[
            ("protocol_error", Counter::Http2ProtocolErrors),
            ("flow_control_error", Counter::Http2FlowControlErrors),
            ("stream_closed", Counter::Http2StreamClosed),
            ("frame_size_error", Counter::Http2FrameSizeErrors),
            ("compression_error", Counter::Http2CompressionErrors),
            ("enhance_your_calm", Counter::Http2EnhanceYourCalm),
            ("other", Counter::Http2OtherErrors),
        ],
    ),
];

/// Reads all metrics.
pub(crate) async fn gather(sink: &mut impl Sink, source: &Source) {
    let board = source.board;
    let snapshot = Snapshot::of(board);
    identity(sink, source);
    requests(sink, &source.methods, &snapshot).await;
    sums(sink, &snapshot);
    yield_now().await;
    outcomes(sink, &snapshot);
    ends(sink, &snapshot);
    timings(sink, &snapshot);
    handshakes::handshakes(sink, &snapshot);
    yield_now().await;
    vhosts::vhosts(sink, board).await;
    workers::workers(sink, board, &snapshot.seats).await;
}

fn identity(sink: &mut impl Sink, source: &Source) {
    let board = source.board;
    sink.begin(&names::BUILD);
    sink.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    sink.begin(&names::CONFIGURATION);
    sink.sample(&[("hash", &source.configuration)], 1_u64);
    sink.begin(&names::CONFIGURED);
    let configured = board.configured().duration_since(UNIX_EPOCH);
    sink.sample(&[], configured.unwrap_or_default().as_secs_f64());
    sink.begin(&names::GENERATION);
    sink.sample(&[], board.generation());
    sink.begin(&names::UPTIME);
    let uptime = SystemTime::now().duration_since(board.started());
    sink.sample(&[], uptime.unwrap_or_default().as_secs_f64());
}

async fn requests(sink: &mut impl Sink, methods: &Methods, snapshot: &Snapshot) {
    let mut all: BTreeMap<u64, Series> = BTreeMap::new();
    for (_, seat) in &snapshot.seats {
        for (key, series) in seat.requests() {
            all.entry(key).or_insert(Series::EMPTY).merge(&series);
        }
        yield_now().await;
    }
    sink.begin(&names::REQUEST_DURATION);
    for (written, (key, series)) in all.iter().enumerate() {
        request(sink, methods, (*key, series));
        if written % PIECE == PIECE - 1 {
            yield_now().await;
        }
    }
    sink.begin(&names::ACTIVE_REQUESTS);
    let active = snapshot.level(Gauge::OpenExchanges);
    sink.sample(&[], active);
}

fn request(sink: &mut impl Sink, methods: &Methods, (key, series): (u64, &Series)) {
    let buckets = Buckets {
        bounds: &HTTP_BOUNDS,
        counts: &series.buckets,
        sum: series.sum,
        exemplars: &series.exemplars,
    };
    if key == OVERFLOW {
        return sink.histogram(&[(names::OTEL_OVERFLOW, "true")], &buckets);
    }
    let labels = Labels::unpack(key);
    let status = match labels.status {
        0 => String::new(),
        status => status.to_string(),
    };
    // The conventions: absent on success, and the status where it alone tells the error.
    let error = match labels.end {
        OK if labels.status >= 500 => status.as_str(),
        OK => "",
        end => WORDS[end],
    };
    let labels = [
        (names::METHOD, methods.name(labels.method)),
        (
            names::SCHEME,
            if labels.is_https { "https" } else { "http" },
        ),
        (names::STATUS, &status),
        (names::VERSION, VERSIONS[labels.version]),
        (names::ERROR, error),
    ];
    sink.histogram(&labels, &buckets);
}

fn sums(sink: &mut impl Sink, snapshot: &Snapshot) {
    for (metric, counter) in SUMS {
        sink.begin(metric);
        sink.sample(&[], snapshot.count(counter));
    }
    for (metric, gauge) in [
        (&names::OPEN_CONNECTIONS, Gauge::OpenConnections),
        (&names::OPEN_TUNNELS, Gauge::OpenTunnels),
        (&names::CERTIFICATES, Gauge::Certificates),
        (&names::REDIS_LINKS, Gauge::RedisLinks),
    ] {
        sink.begin(metric);
        sink.sample(&[], snapshot.level(gauge));
    }
}

fn outcomes(sink: &mut impl Sink, snapshot: &Snapshot) {
    for (metric, label, outcomes) in OUTCOMES {
        sink.begin(metric);
        for (outcome, counter) in outcomes {
            sink.sample(&[(label, outcome)], snapshot.count(*counter));
        }
    }
}

fn ends(sink: &mut impl Sink, snapshot: &Snapshot) {
    for (metric, tally) in [
        (&names::EXCHANGES, Tally::Exchanges),
        (&names::ATTEMPTS, Tally::Attempts),
    ] {
        sink.begin(metric);
        for (end, word) in WORDS.iter().enumerate() {
            sink.sample(&[(names::END, word)], snapshot.tallied(tally, end));
        }
    }
}

fn timings(sink: &mut impl Sink, snapshot: &Snapshot) {
    sink.begin(&names::LOOKUP_DURATION);
    for (timing, source, outcome) in LOOKUPS {
        let labels = [(names::SOURCE, source), (names::OUTCOME, outcome)];
        timed(sink, snapshot, timing, &labels);
    }
    sink.begin(&names::CONNECT_DURATION);
    for (timing, step) in STEPS {
        timed(sink, snapshot, timing, &[(names::STEP, step)]);
    }
    for (metric, timing) in [
        (&names::WAIT_DURATION, Timing::Wait),
        (&names::FIRST_BYTE_DURATION, Timing::FirstByte),
        (&names::TUNNEL_DURATION, Timing::Tunnel),
    ] {
        sink.begin(metric);
        timed(sink, snapshot, timing, &[]);
    }
}

fn timed(sink: &mut impl Sink, snapshot: &Snapshot, timing: Timing, labels: &Pairs<'_>) {
    let (counts, sum) = snapshot.timed(timing);
    let buckets = Buckets {
        bounds: timing.bounds(),
        counts: &counts,
        sum,
        exemplars: &[],
    };
    sink.histogram(labels, &buckets);
}

#[cfg(test)]
mod tests;
