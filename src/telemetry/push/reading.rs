//! All metrics at one moment, as values that can be kept and compared.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::SystemTime;

use super::super::gather::{Buckets, Number, Pairs, Sink};
use super::super::names::{Kind, Metric};
use super::super::otlp::{Histogram, Value};
use super::nanoseconds;

/// All metrics at one moment.
pub(super) struct Reading {
    /// When it began, in nanoseconds since 1970: what is not in it is younger.
    pub(super) began: u64,
    /// When it ended: what is in it is older.
    pub(super) at: u64,
    /// Those of a metric one behind the other.
    pub(super) series: Vec<Series>,
    metric: Option<&'static Metric>,
    /// Of the series that comes next.
    since: Option<u64>,
}

/// One series at that moment.
pub(super) struct Series {
    pub(super) key: Key,
    pub(super) value: Value,
    /// When it began, in nanoseconds since 1970; `None`: with the proxy.
    pub(super) since: Option<u64>,
}

/// What tells a series from all others.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) metric: &'static Metric,
    pub(super) labels: Vec<(&'static str, String)>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.metric.name == other.metric.name && self.labels == other.labels
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.metric.name.hash(state);
        self.labels.hash(state);
    }
}

/// A reading by its series.
pub(super) struct Past {
    pub(super) began: u64,
    pub(super) at: u64,
    pub(super) values: HashMap<Key, Value>,
}

impl Reading {
    /// Nothing yet, at this moment.
    pub(super) fn at(at: u64) -> Self {
        Self {
            began: at,
            at,
            series: Vec::new(),
            metric: None,
            since: None,
        }
    }

    /// To be looked up later.
    pub(super) fn into_past(self) -> Past {
        let series = self.series.into_iter();
        Past {
            began: self.began,
            at: self.at,
            values: series.map(|series| (series.key, series.value)).collect(),
        }
    }

    fn put(&mut self, labels: &Pairs<'_>, value: Value) {
        let Some(metric) = self.metric else { return };
        let told = labels.iter().filter(|(_, value)| !value.is_empty());
        let labels = told
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let since = self.since.take();
        self.series.push(Series {
            key: Key { metric, labels },
            value,
            since,
        });
    }
}

impl Sink for Reading {
    fn begin(&mut self, metric: &'static Metric) {
        self.metric = Some(metric);
    }

    fn since(&mut self, moment: SystemTime) {
        self.since = Some(nanoseconds(moment));
    }

    fn sample(&mut self, labels: &Pairs<'_>, value: impl Into<Number>) {
        self.put(labels, Value::Number(value.into()));
    }

    fn histogram(&mut self, labels: &Pairs<'_>, buckets: &Buckets<'_>) {
        let histogram = Histogram {
            bounds: buckets.bounds,
            counts: buckets.counts.to_vec(),
            sum: buckets.sum,
            exemplars: buckets.exemplars.iter().copied().flatten().collect(),
        };
        self.put(labels, Value::Histogram(histogram));
    }
}

impl Value {
    /// What came since `earlier`; `None` where something is less than it was, so it was counted
    /// anew meanwhile.
    pub(super) fn since(&self, earlier: &Self) -> Option<Self> {
        match (self, earlier) {
            (Self::Number(Number::Count(now)), Self::Number(Number::Count(then))) => {
                Some(Self::Number(Number::Count(now.checked_sub(*then)?)))
            }
            (Self::Number(Number::Real(now)), Self::Number(Number::Real(then))) => {
                (now >= then).then(|| Self::Number(Number::Real(now - then)))
            }
            (Self::Histogram(now), Self::Histogram(then)) => {
                let pairs = now.counts.iter().zip(&then.counts);
                let counts = pairs.map(|(now, then)| now.checked_sub(*then));
                Some(Self::Histogram(Histogram {
                    counts: counts.collect::<Option<_>>()?,
                    sum: now.sum.wrapping_sub(then.sum),
                    ..now.clone()
                }))
            }
            _ => None,
        }
    }
}

impl Key {
    /// A number that stands for it in all workers; not 0.
    pub(super) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() | 1
    }

    /// Whether it only grows.
    pub(super) fn grows(&self) -> bool {
        matches!(self.metric.kind, Kind::Counter | Kind::Histogram)
    }
}
