//! Metrics as OpenTelemetry's protocol has them: entries of `ScopeMetrics.metrics`.
//!
//! The envelope is that of spans: the messages around them have the same shape and field numbers.

use super::super::gather::Number;
use super::super::names::{self, Kind, Metric};
use super::attributes::{Attributes, UNLIMITED};
use super::wire::Writer;
use crate::scoreboard::Exemplar;

/// Points of a metric in one request, at most.
const POINTS: usize = 1024;
/// `AggregationTemporality`.
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;
/// Fields that number and histogram points share, and those of exemplars.
const SINCE: u8 = 2;
const TIME: u8 = 3;
const REAL: u8 = 4;
const WHOLE: u8 = 6;
const NUMBER_ATTRIBUTES: u8 = 7;
const HISTOGRAM_ATTRIBUTES: u8 = 9;

/// One value of a metric.
pub(in super::super) struct Point<'a> {
    pub(in super::super) metric: &'static Metric,
    pub(in super::super) labels: &'a [(&'static str, String)],
    /// Nanoseconds since 1970 from which on it was counted.
    pub(in super::super) since: u64,
    /// It is what came since the last push, not since the start.
    pub(in super::super) is_delta: bool,
    pub(in super::super) value: Value,
}

/// A value: a number, or many in buckets.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Value {
    Number(Number),
    Histogram(Histogram),
}

/// Durations by bucket.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Histogram {
    /// Nanoseconds.
    pub(in super::super) bounds: &'static [u64],
    /// One more than bounds.
    pub(in super::super) counts: Vec<u64>,
    /// Nanoseconds.
    pub(in super::super) sum: u64,
    pub(in super::super) exemplars: Vec<Exemplar>,
}

/// Encodes points that were read at this time, those of a metric one behind the other; for each
/// request its entries, of about so many bytes at most.
pub(in super::super) fn encode(points: &[Point<'_>], time: u64, bytes: usize) -> Vec<Vec<u8>> {
    let mut requests = vec![Vec::new()];
    for metric in points.chunk_by(|one, next| std::ptr::eq(one.metric, next.metric)) {
        for (number, part) in metric.chunks(POINTS).enumerate() {
            // A metric stands in a request but once.
            let is_full = requests.last().is_some_and(|last| last.len() > bytes);
            if is_full || number > 0 {
                requests.push(Vec::new());
            }
            if let Some(request) = requests.last_mut() {
                put_metric(&mut Writer(request), part, time);
            }
        }
    }
    requests
}

fn put_metric(writer: &mut Writer<'_>, points: &[Point<'_>], time: u64) {
    let Some(first) = points.first() else { return };
    let metric = first.metric;
    let temporality = if first.is_delta { DELTA } else { CUMULATIVE };
    let data = match metric.kind {
        Kind::Gauge => 5,
        Kind::Counter | Kind::Level => 7,
        Kind::Histogram => 9,
    };
    writer.nested(2, |entry| {
        entry.bytes(1, metric.name.as_bytes());
        entry.bytes(2, metric.help.as_bytes());
        entry.bytes(3, metric.unit.as_bytes());
        entry.nested(data, |data| {
            for point in points {
                data.nested(1, |writer| put_point(writer, point, time));
            }
            if metric.kind != Kind::Gauge {
                data.number(2, temporality);
            }
            if metric.kind == Kind::Counter {
                data.number(3, 1);
            }
        });
    });
}

fn put_point(writer: &mut Writer<'_>, point: &Point<'_>, time: u64) {
    if point.metric.kind != Kind::Gauge {
        writer.fixed64(SINCE, point.since);
    }
    writer.fixed64(TIME, time);
    match &point.value {
        Value::Number(number) => {
            put_attributes(writer, NUMBER_ATTRIBUTES, point.labels);
            match *number {
                Number::Count(count) => writer.fixed64(WHOLE, count.min(i64::MAX as u64)),
                Number::Level(level) => writer.fixed64(WHOLE, level.cast_unsigned()),
                Number::Real(real) => writer.fixed64(REAL, real.to_bits()),
            }
        }
        Value::Histogram(histogram) => {
            put_attributes(writer, HISTOGRAM_ATTRIBUTES, point.labels);
            put_histogram(writer, histogram);
        }
    }
}

fn put_attributes(writer: &mut Writer<'_>, field: u8, labels: &[(&'static str, String)]) {
    let mut put = Attributes::new(writer, field, UNLIMITED);
    for (name, value) in labels {
        match (*name, value.parse()) {
            (names::STATUS, Ok(status)) => put.number(name, status),
            (names::OTEL_OVERFLOW, _) => put.flag(name, true),
            _ => put.text(name, value),
        }
    }
}

fn put_histogram(writer: &mut Writer<'_>, histogram: &Histogram) {
    let Histogram {
        bounds,
        counts,
        sum,
        exemplars,
    } = histogram;
    writer.fixed64(4, counts.iter().sum());
    writer.fixed64(5, seconds(*sum).to_bits());
    // Packed.
    writer.length(6, counts.len() * 8);
    counts.iter().for_each(|count| writer.raw_fixed64(*count));
    writer.length(7, bounds.len() * 8);
    let bits = bounds.iter().map(|bound| seconds(*bound).to_bits());
    bits.for_each(|bits| writer.raw_fixed64(bits));
    for exemplar in exemplars {
        writer.nested(8, |writer| {
            writer.fixed64(2, exemplar.at.saturating_mul(1_000_000));
            writer.fixed64(3, seconds(exemplar.value).to_bits());
            writer.bytes(4, &exemplar.span.to_be_bytes());
            writer.bytes(5, &exemplar.trace.to_be_bytes());
        });
    }
}

/// Nanoseconds as seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "52 bits of nanoseconds are 52 days, to the last"
)]
pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests;
