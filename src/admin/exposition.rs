//! `/metrics`: every metric of every worker, read from the scoreboard in one go.
//!
//! Counters are summed over all slots, dead workers included, so nothing ever goes back. The text is
//! made in pieces, with other tasks in between: each takes well under a millisecond.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::yield_now;

use super::text::{Buckets, Format, Text};
use super::{Facts, vhosts, workers};
use crate::scoreboard::{
    Counter, Gauge, HTTP_BOUNDS, OVERFLOW, Scoreboard, Series, Slot, Tally, Timing,
};
use crate::telemetry::names::{self, Metric, VERSIONS, WORDS};
use crate::telemetry::{Labels, Methods};

/// What is written or read without a pause: a few hundred lines.
pub(super) const PIECE: usize = 16;
/// The scheme of all listeners that there are.
const SCHEME: &str = "http";
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

const SUMS: [(&Metric, Counter); 23] = [
    (&names::CONNECTIONS, Counter::Connections),
    (&names::SILENT, Counter::SilentConnections),
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

/// All slots, to be summed up.
pub(super) struct Snapshot(Vec<(usize, Slot)>);

impl Snapshot {
    pub(super) fn of(board: Scoreboard) -> Self {
        Self(board.used().collect())
    }

    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.0.iter().map(|(_, slot)| slot.count(counter)).sum()
    }

    fn level(&self, gauge: Gauge) -> i64 {
        self.0.iter().map(|(_, slot)| slot.level(gauge)).sum()
    }

    fn timed(&self, timing: Timing) -> (Vec<u64>, u64) {
        let mut total = (vec![0; timing.bounds().len() + 1], 0_u64);
        for (_, slot) in &self.0 {
            let (buckets, sum) = slot.timed(timing);
            total
                .0
                .iter_mut()
                .zip(buckets)
                .for_each(|(all, more)| *all += more);
            total.1 = total.1.wrapping_add(sum);
        }
        total
    }
}

/// The text of all metrics.
pub(super) async fn metrics(facts: &Facts, format: Format) -> String {
    let mut text = Text::new(format);
    let snapshot = Snapshot::of(facts.board);
    identity(&mut text, facts);
    requests(&mut text, &facts.methods, &snapshot).await;
    sums(&mut text, &snapshot);
    yield_now().await;
    ends(&mut text, &snapshot);
    timings(&mut text, &snapshot);
    yield_now().await;
    vhosts::vhosts(&mut text, facts.board).await;
    workers::workers(&mut text, facts.board, &snapshot.0).await;
    text.end()
}

fn identity(text: &mut Text, facts: &Facts) {
    text.begin(&names::BUILD);
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.begin(&names::CONFIGURATION);
    text.sample(&[("hash", &facts.configuration)], 1);
    let configured = facts.board.configured().duration_since(UNIX_EPOCH);
    text.single(
        &names::CONFIGURED,
        configured.unwrap_or_default().as_secs_f64(),
    );
    text.single(&names::GENERATION, facts.board.generation());
    let uptime = SystemTime::now().duration_since(facts.board.started());
    text.single(&names::UPTIME, uptime.unwrap_or_default().as_secs_f64());
}

async fn requests(text: &mut Text, methods: &Methods, snapshot: &Snapshot) {
    let mut all: BTreeMap<u64, Series> = BTreeMap::new();
    for (_, slot) in &snapshot.0 {
        for (key, series) in slot.requests() {
            all.entry(key).or_insert(Series::EMPTY).merge(&series);
        }
        yield_now().await;
    }
    text.begin(&names::REQUEST_DURATION);
    for (written, (key, series)) in all.iter().enumerate() {
        request(text, methods, (*key, series));
        if written % PIECE == PIECE - 1 {
            yield_now().await;
        }
    }
    text.begin(&names::ACTIVE_REQUESTS);
    let active = snapshot.level(Gauge::OpenExchanges);
    text.sample(&[(names::SCHEME, SCHEME)], active);
}

fn request(text: &mut Text, methods: &Methods, (key, series): (u64, &Series)) {
    let buckets = Buckets {
        bounds: &HTTP_BOUNDS,
        counts: &series.buckets,
        sum: series.sum,
        exemplars: &series.exemplars,
    };
    if key == OVERFLOW {
        return text.histogram(&[(names::OTEL_OVERFLOW, "true")], &buckets);
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
        (names::SCHEME, SCHEME),
        (names::STATUS, &status),
        (names::VERSION, VERSIONS[labels.version]),
        (names::ERROR, error),
    ];
    text.histogram(&labels, &buckets);
}

fn sums(text: &mut Text, snapshot: &Snapshot) {
    for (metric, counter) in SUMS {
        text.single(metric, snapshot.count(counter));
    }
    for (metric, gauge) in [
        (&names::OPEN_CONNECTIONS, Gauge::OpenConnections),
        (&names::OPEN_TUNNELS, Gauge::OpenTunnels),
        (&names::REDIS_LINKS, Gauge::RedisLinks),
    ] {
        text.single(metric, snapshot.level(gauge));
    }
    text.begin(&names::LOG_LINES);
    for (outcome, counter) in [
        ("written", Counter::LinesWritten),
        ("dropped", Counter::LinesDropped),
        ("failed", Counter::LinesFailed),
        ("filtered", Counter::LinesFiltered),
        ("lost_at_death", Counter::LinesLostAtDeath),
    ] {
        text.sample(&[(names::OUTCOME, outcome)], snapshot.count(counter));
    }
    text.begin(&names::SPANS);
    for (outcome, counter) in [
        ("exported", Counter::SpansExported),
        ("dropped", Counter::SpansDropped),
        ("failed", Counter::SpansFailed),
    ] {
        text.sample(&[(names::OUTCOME, outcome)], snapshot.count(counter));
    }
    text.begin(&names::LOG_RECORDS);
    for (outcome, counter) in [
        ("exported", Counter::RecordsExported),
        ("dropped", Counter::RecordsDropped),
        ("failed", Counter::RecordsFailed),
    ] {
        text.sample(&[(names::OUTCOME, outcome)], snapshot.count(counter));
    }
}

fn ends(text: &mut Text, snapshot: &Snapshot) {
    for (metric, tally) in [
        (&names::EXCHANGES, Tally::Exchanges),
        (&names::ATTEMPTS, Tally::Attempts),
    ] {
        text.begin(metric);
        for (end, word) in WORDS.iter().enumerate() {
            let slots = snapshot.0.iter();
            let count: u64 = slots.map(|(_, slot)| slot.tallied(tally, end)).sum();
            text.sample(&[(names::END, word)], count);
        }
    }
}

fn timings(text: &mut Text, snapshot: &Snapshot) {
    text.begin(&names::LOOKUP_DURATION);
    for (timing, source, outcome) in LOOKUPS {
        let labels = [(names::SOURCE, source), (names::OUTCOME, outcome)];
        timed(text, snapshot, timing, &labels);
    }
    text.begin(&names::CONNECT_DURATION);
    for (timing, step) in STEPS {
        timed(text, snapshot, timing, &[(names::STEP, step)]);
    }
    for (metric, timing) in [
        (&names::WAIT_DURATION, Timing::Wait),
        (&names::FIRST_BYTE_DURATION, Timing::FirstByte),
        (&names::TUNNEL_DURATION, Timing::Tunnel),
    ] {
        text.begin(metric);
        timed(text, snapshot, timing, &[]);
    }
}

fn timed(text: &mut Text, snapshot: &Snapshot, timing: Timing, labels: &[(&str, &str)]) {
    let (counts, sum) = snapshot.timed(timing);
    let buckets = Buckets {
        bounds: timing.bounds(),
        counts: &counts,
        sum,
        exemplars: &[],
    };
    text.histogram(labels, &buckets);
}
