//! From when on the values of a push are counted, and what was told before.
//!
//! Every worker keeps these books, so that whoever pushes next goes on where the last one stopped.

use super::super::names::Kind;
use super::super::otlp::{Histogram, Point, Value};
use super::nanoseconds;
use super::reading::{Key, Past, Reading, Series};
use crate::config::Temporality;
use crate::scoreboard::{Scoreboard, Told};

/// The books of one worker.
pub(super) struct Ledger {
    temporality: Temporality,
    /// The start of the proxy, in nanoseconds since 1970.
    started: u64,
    /// What collectors know: the last push that one took.
    base: Past,
    /// What was read last, and in which turn.
    last: Option<(u64, Past)>,
    /// Knows which series began anew, for all workers.
    board: Scoreboard,
}

impl Ledger {
    /// The books of a worker that begins with `base`: nothing, since the start, where nobody has
    /// pushed anything yet.
    pub(super) fn new(temporality: Temporality, board: Scoreboard, base: Option<Reading>) -> Self {
        let started = nanoseconds(board.started());
        let base = base.unwrap_or_else(|| Reading::at(started));
        Self {
            temporality,
            started,
            base: base.into_past(),
            last: None,
            board,
        }
    }

    /// A push was taken, whoever sent it: what this worker read in the same turn is taken for what
    /// was told.
    pub(super) fn settle(&mut self, told: Told) {
        let last = self.last.take_if(|(turn, _)| *turn == told.turn);
        // Another configuration has other turns; then the last reading is the nearest.
        let is_newer = told.at > self.base.at;
        let last = last.or_else(|| self.last.take_if(|_| is_newer));
        if let Some((_, past)) = last {
            // A series that it lacks may have been told before.
            let began = past.began.max(self.base.at);
            self.base = Past { began, ..past };
        }
        if told.at != self.base.at {
            // Another worker sent it, with series perhaps that this one had not read.
            self.base.began = self.base.began.max(told.at);
        }
        self.base.at = self.base.at.max(told.at);
    }

    /// The points of a push; for whoever sends it.
    pub(super) fn points<'r>(&self, reading: &'r Reading) -> Vec<Point<'r>> {
        self.tell_resets(reading);
        let series = reading.series.iter();
        series
            .map(|series| match self.is_delta(&series.key) {
                true => self.delta(series),
                false => self.total(series),
            })
            .collect()
    }

    /// Keeps what was read in a turn.
    pub(super) fn keep(&mut self, turn: u64, reading: Reading) {
        self.last = Some((turn, reading.into_past()));
    }

    /// What is less than was told of it began anew since, and what was not told at all since that was
    /// read.
    fn tell_resets(&self, reading: &Reading) {
        if self.base.at == self.started {
            return;
        }
        let may_reset = |series: &&Series| {
            let key = &series.key;
            series.since.is_none() && key.grows() && !self.is_delta(key)
        };
        for Series { key, value, .. } in reading.series.iter().filter(may_reset) {
            let began = match self.base.values.get(key) {
                None => self.base.began,
                Some(known) if value.since(known).is_none() => self.base.at,
                Some(_) => continue,
            };
            self.board.begin_anew(key.number(), began);
        }
    }

    /// Since when a series is counted.
    fn since(&self, series: &Series) -> u64 {
        let key = Some(&series.key).filter(|key| key.grows());
        let anew = || self.board.beginning(key?.number());
        series.since.or_else(anew).unwrap_or(self.started)
    }

    fn is_delta(&self, key: &Key) -> bool {
        match (self.temporality, key.metric.kind) {
            (Temporality::Cumulative, _) | (_, Kind::Level | Kind::Gauge) => false,
            (Temporality::Delta, Kind::Counter | Kind::Histogram) => true,
            (Temporality::LowMemory, kind) => kind == Kind::Histogram,
        }
    }

    /// All that was counted of a series.
    fn total<'r>(&self, series: &'r Series) -> Point<'r> {
        let Series { key, value, .. } = series;
        let since = self.since(series);
        Point {
            metric: key.metric,
            labels: &key.labels,
            since,
            is_delta: false,
            value: exemplified(value.clone(), since),
        }
    }

    /// What came of it since the last push.
    fn delta<'r>(&self, series: &'r Series) -> Point<'r> {
        let Series { key, value, since } = series;
        let is_older = since.is_none_or(|since| since <= self.base.at);
        let known = self.base.values.get(key).filter(|_| is_older);
        let more = known.and_then(|known| value.since(known));
        Point {
            metric: key.metric,
            labels: &key.labels,
            since: self.base.at,
            is_delta: true,
            value: exemplified(more.unwrap_or_else(|| value.clone()), self.base.at),
        }
    }
}

/// The value of a point that begins at `since`, with no exemplar but of what it counts.
fn exemplified(mut value: Value, since: u64) -> Value {
    if let Value::Histogram(histogram) = &mut value {
        let Histogram {
            bounds,
            counts,
            exemplars,
            ..
        } = histogram;
        let bucket = |value| bounds.partition_point(|bound| *bound < value);
        // Theirs are whole milliseconds.
        let since = since / 1_000_000;
        exemplars.retain(|one| one.at >= since && counts[bucket(one.value)] > 0);
    }
    value
}

#[cfg(test)]
mod tests;
