//! Metrics of finished exchanges: from the record to the cells of this worker's seat.
//!
//! The one place where requests are measured; a few relaxed additions each. Reading them is the
//! admin listener's.

use std::cell::RefCell;
use std::time::Duration;

use super::busiest::Busiest;
use super::methods::Methods;
use super::names::{METHODS, VERSIONS, WORDS, place, protocol_version};
use super::record::{AttemptRecord, Record};
use crate::config::Exemplars;
use crate::scoreboard::{Counter, Seat, Tally, Timing, Visit};

/// Measures what this worker finishes.
pub(crate) struct Metrics {
    seat: Seat,
    methods: Methods,
    exemplars: Exemplars,
    busiest: RefCell<Busiest>,
}

impl Metrics {
    /// Goes on where the last worker of this seat stopped.
    pub(crate) fn new(seat: Seat, methods: Methods, exemplars: Exemplars) -> Self {
        Self {
            seat,
            methods,
            exemplars,
            busiest: RefCell::new(Busiest::new(seat)),
        }
    }

    /// Measures a finished exchange; one whose trace is exported may be remembered as an example of
    /// its duration.
    pub(crate) fn record(&self, record: &Record<'_>, is_exported: bool) {
        let seat = self.seat;
        seat.tally(Tally::Exchanges, place(&WORDS, record.end));
        seat.add(Counter::BytesReceived, record.bytes_received);
        seat.add(Counter::BytesSent, record.bytes_sent);
        if record.tunnel.is_some() {
            let before = record.responded.unwrap_or_default();
            seat.time(Timing::Tunnel, record.total.saturating_sub(before));
        } else {
            seat.time_request(
                Labels::of(record, &self.methods).pack(),
                record.total,
                self.exemplar(record, is_exported),
            );
        }
        self.time_lookup(record);
        for attempt in record.attempts {
            self.measure_attempt(attempt, record.end_of(attempt));
        }
        if let Some(route) = &record.route {
            let visit = Visit {
                status: record.status,
                is_failed: record.end != WORDS[0],
                took: time_to_answer(record),
                bytes_sent: record.bytes_sent,
            };
            self.busiest.borrow_mut().visit(route.vhost, &visit);
        }
    }

    /// The trace and the span by which a request becomes an exemplar, if it does.
    fn exemplar(&self, record: &Record<'_>, is_exported: bool) -> Option<(u128, u64)> {
        let is_wanted = match self.exemplars {
            Exemplars::AlwaysOff => false,
            Exemplars::TraceBased => is_exported,
            Exemplars::AlwaysOn => true,
        };
        let trace = record.trace.as_ref().filter(|_| is_wanted)?;
        let span = trace.span?;
        Some((u128::from_be_bytes(trace.id.0), u64::from_be_bytes(span.0)))
    }

    fn time_lookup(&self, record: &Record<'_>) {
        let Some(lookup) = &record.lookup else { return };
        let timing = match (&record.route, record.end) {
            (Some(route), _) => match route.source {
                "cache" => Timing::LookupCache,
                "stale" => Timing::LookupStale,
                "file" => Timing::LookupFile,
                "table" => Timing::LookupTable,
                _ => Timing::LookupRedis,
            },
            (None, "redis_unavailable") => Timing::LookupUnavailable,
            (None, _) => Timing::LookupNotFound,
        };
        self.seat.time(timing, lookup.took);
    }

    fn measure_attempt(&self, attempt: &AttemptRecord<'_>, end: &str) {
        let seat = self.seat;
        seat.tally(Tally::Attempts, place(&WORDS, end));
        let waited = (!attempt.waited.is_zero()).then_some(attempt.waited);
        for (timing, took) in [
            (Timing::Wait, waited),
            (Timing::Resolve, attempt.resolved),
            (Timing::Connect, attempt.connected),
            (Timing::Handshake, attempt.handshaken),
            (Timing::FirstByte, attempt.headed),
        ] {
            if let Some(took) = took {
                seat.time(timing, took);
            }
        }
    }
}

/// A tunnel may live for days; what its vhost answers for is the handshake.
fn time_to_answer(record: &Record<'_>) -> Duration {
    match (record.tunnel, record.responded) {
        (Some(_), Some(responded)) => responded,
        _ => record.total,
    }
}

/// The labels of a request's duration, each from a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    /// Place among the [`Methods`].
    pub(crate) method: usize,
    /// 0 where none was sent.
    pub(crate) status: u16,
    /// Place in [`VERSIONS`].
    pub(crate) version: usize,
    /// Place in [`WORDS`].
    pub(crate) end: usize,
    /// The client spoke TLS with us.
    pub(crate) is_https: bool,
}

/// Tells the key of all zeroes from none.
const PRESENT: u64 = 1 << 32;

impl Labels {
    fn of(record: &Record<'_>, methods: &Methods) -> Self {
        let request = record.request.as_ref();
        Self {
            method: request.map_or(METHODS.len() - 1, |line| methods.place(line.method)),
            status: record.status,
            version: request.map_or(0, |line| place(&VERSIONS, protocol_version(line.version))),
            end: place(&WORDS, record.end),
            is_https: record.tls.is_some(),
        }
    }

    /// As a key of the scoreboard.
    fn pack(self) -> u64 {
        let Self {
            method,
            status,
            version,
            end,
            is_https,
        } = self;
        let numbers = usize::from(is_https) << 33 | method << 24 | version << 20 | end << 12;
        PRESENT | numbers as u64 | u64::from(status % 1_000)
    }

    /// From a key of the scoreboard.
    pub(crate) fn unpack(key: u64) -> Self {
        let part = |shift: u32, bits: u32| (key >> shift) as usize & ((1 << bits) - 1);
        Self {
            method: part(24, 8),
            status: u16::try_from(key & 0xFFF).unwrap_or(0),
            version: part(20, 4).min(VERSIONS.len() - 1),
            end: part(12, 8).min(WORDS.len() - 1),
            is_https: part(33, 1) == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::samples;
    use super::super::{SpanId, TraceId, TraceRecord, TunnelRecord};
    use super::*;

    fn methods() -> Methods {
        Methods::new(&METHODS.map(str::to_owned))
    }

    #[test]
    fn every_combination_of_labels_survives_its_key() {
        for method in [0, 10, 11, 255] {
            for end in 0..WORDS.len() {
                for (status, version) in [(0, 0), (200, 2), (404, 1), (999, 3)] {
                    let labels = Labels {
                        method,
                        status,
                        version,
                        end,
                        is_https: status == 200,
                    };
                    assert_eq!(Labels::unpack(labels.pack()), labels);
                }
            }
        }
    }

    #[test]
    fn a_record_moves_its_cells_and_no_others() {
        let seat = Seat::detached();
        let metrics = Metrics::new(seat, methods(), Exemplars::TraceBased);
        metrics.record(&traced(Some(SpanId([0, 0, 0, 0, 0, 0, 0, 3]))), true);
        assert_eq!(seat.tallied(Tally::Exchanges, 0), 1);
        assert_eq!(seat.tallied(Tally::Attempts, 0), 1);
        assert_eq!(seat.count(Counter::BytesSent), 101);
        assert_eq!(seat.count(Counter::BytesReceived), 80);
        let requests: Vec<_> = seat.requests().collect();
        assert_eq!(requests.len(), 1);
        let (key, series) = &requests[0];
        let labels = Labels::unpack(*key);
        assert_eq!((METHODS[labels.method], labels.status), ("GET", 200));
        // 12 ms: above 10, up to 25.
        assert_eq!((series.buckets[2], series.sum), (1, 12_000_000));
        let ids = series.exemplars[2].map(|exemplar| (exemplar.trace, exemplar.span));
        assert_eq!(ids, Some((7, 3)));
        assert_eq!(seat.timed(Timing::LookupRedis).1, 300_000);
        assert_eq!(seat.timed(Timing::Connect).0.iter().sum::<u64>(), 1);
        assert_eq!(seat.timed(Timing::Resolve).0.iter().sum::<u64>(), 0);
        assert_eq!(seat.visits(1).unwrap().name, "id-a.test");
    }

    /// A record with a trace, in which we have this span.
    fn traced(span: Option<SpanId>) -> Record<'static> {
        let trace = TraceRecord {
            id: TraceId(7_u128.to_be_bytes()),
            span,
            parent: None,
            flags: 0,
            state: b"",
            is_https: false,
            host: None,
            port: None,
            attempts: &[],
        };
        Record {
            trace: Some(trace),
            ..samples::record()
        }
    }

    #[test]
    fn exemplars_are_those_that_were_asked_for() {
        use Exemplars::{AlwaysOff, AlwaysOn, TraceBased};
        let span = Some(SpanId([1; 8]));
        let cases = [
            (TraceBased, true, span, true),
            (TraceBased, false, span, false),
            (AlwaysOn, false, span, true),
            (AlwaysOn, false, None, false),
            (AlwaysOff, true, span, false),
        ];
        for (exemplars, is_exported, span, expected) in cases {
            let seat = Seat::detached();
            Metrics::new(seat, methods(), exemplars).record(&traced(span), is_exported);
            let (_, series) = seat.requests().next().unwrap();
            let has_one = series.exemplars[2].is_some();
            assert_eq!(has_one, expected, "{exemplars:?} {is_exported} {span:?}");
        }
    }

    #[test]
    fn a_tunnel_is_no_request_of_days() {
        // Over HTTP/1.1, and over HTTP/2.
        for status in [101, 200] {
            let seat = Seat::detached();
            let record = Record {
                status,
                tunnel: Some(TunnelRecord::default()),
                total: Duration::from_secs(7_200),
                responded: Some(Duration::from_millis(3)),
                ..samples::record()
            };
            Metrics::new(seat, methods(), Exemplars::TraceBased).record(&record, false);
            assert_eq!(seat.requests().count(), 0);
            let (buckets, sum) = seat.timed(Timing::Tunnel);
            assert_eq!(buckets.iter().sum::<u64>(), 1);
            assert_eq!(sum, 7_199_997_000_000);
            assert_eq!(seat.visits(1).unwrap().sum, 3_000_000);
        }
    }

    #[test]
    fn a_lookup_that_found_nothing_says_so() {
        let cases = [
            ("no_such_host", Timing::LookupNotFound),
            ("redis_unavailable", Timing::LookupUnavailable),
        ];
        for (end, timing) in cases {
            let seat = Seat::detached();
            let record = Record {
                end,
                route: None,
                attempts: &[],
                ..samples::record()
            };
            Metrics::new(seat, methods(), Exemplars::TraceBased).record(&record, false);
            assert_eq!(seat.timed(timing).0.iter().sum::<u64>(), 1, "{end}");
            assert_eq!(seat.visits(1), None, "{end}");
        }
    }
}
