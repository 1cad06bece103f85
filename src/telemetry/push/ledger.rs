//! From when on the values of a push are counted, and what was told before. Pure.
//!
//! Every worker keeps these books, so that whoever pushes next goes on where the last one stopped.

use std::collections::HashMap;

use super::super::names::Kind;
use super::super::otlp::{Point, Value};
use super::reading::{Key, Past, Reading};
use crate::config::Temporality;

/// The books of one worker.
pub(super) struct Ledger {
    temporality: Temporality,
    /// The start of the proxy, in nanoseconds since 1970.
    started: u64,
    /// What collectors know: the last push that one took.
    base: Past,
    /// What was read last, and in which turn.
    last: Option<(u64, Past)>,
    /// Series that began anew, and when.
    resets: HashMap<Key, u64>,
}

impl Ledger {
    /// The books of a worker that begins with `base`: nothing, since the start, where nobody has
    /// pushed anything yet.
    pub(super) fn new(temporality: Temporality, started: u64, base: Option<Reading>) -> Self {
        let base = base.unwrap_or_else(|| Reading::at(started));
        Self {
            temporality,
            started,
            base: base.into_past(),
            last: None,
            resets: HashMap::new(),
        }
    }

    /// The last turn whose push arrived, whoever pushed.
    pub(super) fn settle(&mut self, pushed: u64) {
        if let Some((_, past)) = self.last.take_if(|(turn, _)| *turn <= pushed) {
            self.base = past;
        }
    }

    /// The points of a push.
    pub(super) fn points<'r>(&mut self, reading: &'r Reading) -> Vec<Point<'r>> {
        self.find_resets(reading);
        let series = reading.series.iter();
        series
            .map(|(key, value)| match self.is_delta(key.metric.kind) {
                true => self.delta(key, value),
                false => Point {
                    metric: key.metric,
                    labels: &key.labels,
                    since: self.resets.get(key).copied().unwrap_or(self.started),
                    is_delta: false,
                    value: value.clone(),
                },
            })
            .collect()
    }

    /// Keeps what was read in a turn.
    pub(super) fn keep(&mut self, turn: u64, reading: Reading) {
        let past = reading.into_past();
        self.resets.retain(|key, _| past.values.contains_key(key));
        self.last = Some((turn, past));
    }

    /// What is less than it was began anew between the two.
    fn find_resets(&mut self, reading: &Reading) {
        let last = self.last.as_ref().map_or(&self.base, |(_, past)| past);
        for (key, value) in reading.series.iter().filter(|(key, _)| key.grows()) {
            let earlier = last.values.get(key);
            if earlier.is_some_and(|earlier| value.since(earlier).is_none()) {
                self.resets.insert(key.clone(), last.at);
            }
        }
    }

    fn is_delta(&self, kind: Kind) -> bool {
        match (self.temporality, kind) {
            (Temporality::Cumulative, _) | (_, Kind::Level | Kind::Gauge) => false,
            (Temporality::Delta, Kind::Counter | Kind::Histogram) => true,
            (Temporality::LowMemory, kind) => kind == Kind::Histogram,
        }
    }

    fn delta<'r>(&self, key: &'r Key, value: &Value) -> Point<'r> {
        let known = self.base.values.get(key);
        let mut more = known.and_then(|known| value.since(known));
        if let Some(Value::Histogram(histogram)) = &mut more {
            let since = self.base.at / 1_000_000;
            histogram.exemplars.retain(|one| one.at >= since);
        }
        Point {
            metric: key.metric,
            labels: &key.labels,
            since: self.base.at,
            is_delta: true,
            value: more.unwrap_or_else(|| value.clone()),
        }
    }
}
