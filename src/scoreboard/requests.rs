//! Durations of requests by method, status, protocol version and end: a histogram for each
//! combination that was ever seen.
//!
//! The product of the closed sets is a million histograms, while a proxy sees a hundred of them. So
//! the exact status that the conventions ask for costs a table of [`SERIES`] places, taken as
//! combinations appear and never given back; what finds no place is counted in one more, as the
//! overflow attribute of OpenTelemetry says. Each bucket remembers the last trace that fell in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::histogram::{HTTP_BOUNDS, nanos, observe};
use super::{FIRST_REQUEST, Seat};

/// Combinations that have a histogram of their own, at most.
const SERIES: usize = 256;
/// The key of all others.
pub(crate) const OVERFLOW: u64 = u64::MAX;
const BUCKETS: usize = HTTP_BOUNDS.len() + 1;
/// Trace id in two, span id, value, time, check.
const EXEMPLAR: usize = 6;
const FIRST_EXEMPLAR: usize = BUCKETS + 1;
const STRIDE: usize = (FIRST_EXEMPLAR + BUCKETS * EXEMPLAR).next_multiple_of(8);
pub(super) const CELLS: usize = SERIES + (SERIES + 1) * STRIDE;

/// An observation that has a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// Nanoseconds.
    pub(crate) value: u64,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
}

/// The histogram of one combination.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) buckets: [u64; BUCKETS],
    /// Nanoseconds.
    pub(crate) sum: u64,
    pub(crate) exemplars: [Option<Exemplar>; BUCKETS],
}

impl Series {
    /// Nothing observed.
    pub(crate) const EMPTY: Self = Self {
        buckets: [0; BUCKETS],
        sum: 0,
        exemplars: [None; BUCKETS],
    };

    /// Adds what another worker observed.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        for (mine, other) in self.exemplars.iter_mut().zip(other.exemplars) {
            let is_newer = |other: &Exemplar| mine.is_none_or(|mine| mine.at < other.at);
            if let Some(newer) = other.filter(is_newer) {
                *mine = Some(newer);
            }
        }
    }
}

impl Seat {
    /// Adds the duration of a request; `key` stands for its labels, neither 0 nor [`OVERFLOW`], and
    /// `ids` are those of its trace and span.
    pub(crate) fn time_request(&self, key: u64, took: Duration, ids: Option<(u128, u64)>) {
        let cells = self.series(self.place(key));
        let bucket = observe(cells, &HTTP_BOUNDS, nanos(took));
        let Some((trace, span)) = ids else { return };
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = u64::try_from(at.unwrap_or_default().as_millis()).unwrap_or(0);
        let exemplar = Exemplar {
            trace,
            span,
            value: nanos(took),
            at,
        };
        let start = FIRST_EXEMPLAR + bucket * EXEMPLAR;
        for (cell, part) in cells[start..].iter().zip(exemplar.parts()) {
            cell.store(part, Ordering::Relaxed);
        }
    }

    /// Every combination seen, with its key.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (u64, Series)> {
        let index = self.index();
        let known = index.iter().enumerate().filter_map(|(place, key)| {
            let key = key.load(Ordering::Relaxed);
            (key != 0).then(|| (key, self.read_series(place)))
        });
        let is_full = index.iter().all(|key| key.load(Ordering::Relaxed) != 0);
        let rest = is_full.then(|| (OVERFLOW, self.read_series(SERIES)));
        known.chain(rest.filter(|(_, rest)| rest.buckets.iter().any(|count| *count > 0)))
    }

    /// The place of a key, taken now if it is new.
    fn place(&self, key: u64) -> usize {
        let index = self.index();
        // Fibonacci hashing: the highest eight bits choose one of 256.
        let start = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as usize;
        for step in 0..SERIES {
            let place = (start + step) % SERIES;
            let cell = &index[place];
            let held = match cell.load(Ordering::Relaxed) {
                // Two workers may share a seat while one takes over from the other.
                0 => cell
                    .compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|other| other, |_| key),
                held => held,
            };
            if held == key {
                return place;
            }
        }
        SERIES
    }

    fn index(&self) -> &[AtomicU64] {
        &self.cells[FIRST_REQUEST..FIRST_REQUEST + SERIES]
    }

    fn series(&self, place: usize) -> &[AtomicU64] {
        let start = FIRST_REQUEST + SERIES + place * STRIDE;
        &self.cells[start..start + STRIDE]
    }

    fn read_series(&self, place: usize) -> Series {
        let cells = self.series(place);
        let read = |cell: usize| cells[cell].load(Ordering::Relaxed);
        Series {
            buckets: std::array::from_fn(read),
            sum: read(BUCKETS),
            exemplars: std::array::from_fn(|bucket| {
                let start = FIRST_EXEMPLAR + bucket * EXEMPLAR;
                Exemplar::from_parts(std::array::from_fn(|part| read(start + part)))
            }),
        }
    }
}

impl Exemplar {
    /// The cells: the last one tells a reader whether the others belong together.
    fn parts(self) -> [u64; EXEMPLAR] {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let (high, low) = ((self.trace >> 64) as u64, self.trace as u64);
        let check = high ^ low ^ self.span ^ self.value ^ self.at;
        [high, low, self.span, self.value, self.at, check]
    }

    fn from_parts(parts: [u64; EXEMPLAR]) -> Option<Self> {
        let [high, low, span, value, at, _] = parts;
        let exemplar = Self {
            trace: u128::from(high) << 64 | u128::from(low),
            span,
            value,
            at,
        };
        (exemplar.trace != 0 && exemplar.parts() == parts).then_some(exemplar)
    }
}
