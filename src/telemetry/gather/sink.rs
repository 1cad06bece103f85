//! What metrics are when they were read and not yet written: the words between the two.

use std::time::SystemTime;

use super::super::names::Metric;
use crate::scoreboard::Exemplar;

/// Where metrics go as they are read: text for a scraper, points for a collector.
pub(crate) trait Sink {
    /// Begins a metric.
    fn begin(&mut self, metric: &'static Metric);

    /// What is added next is counted since this moment, not since the proxy started.
    fn since(&mut self, _: SystemTime) {}

    /// Adds a value of it.
    fn sample(&mut self, labels: &Pairs<'_>, value: impl Into<Number>);

    /// Adds a histogram of it.
    fn histogram(&mut self, labels: &Pairs<'_>, buckets: &Buckets<'_>);
}

/// Labels: name and value; one without a value is the same as none.
pub(crate) type Pairs<'a> = [(&'static str, &'a str)];

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Count(u64),
    Level(i64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<i64> for Number {
    fn from(level: i64) -> Self {
        Self::Level(level)
    }
}

impl From<f64> for Number {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}

/// A histogram as it was counted.
pub(crate) struct Buckets<'a> {
    /// Nanoseconds.
    pub(crate) bounds: &'static [u64],
    /// One more than bounds.
    pub(crate) counts: &'a [u64],
    /// Nanoseconds.
    pub(crate) sum: u64,
    /// For each bucket, or none at all.
    pub(crate) exemplars: &'a [Option<Exemplar>],
}
