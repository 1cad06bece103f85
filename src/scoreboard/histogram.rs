//! Durations by bucket: one histogram for each thing that takes time.
//!
//! A count is the sum of its buckets, so an observation is two additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{FIRST_HISTOGRAM, Seat};

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Timing {
    /// Routing answered by Redis, and so on by source.
    LookupRedis,
    LookupCache,
    LookupStale,
    LookupFile,
    LookupTable,
    /// Routing found that there is no such host.
    LookupNotFound,
    /// Routing had no answer.
    LookupUnavailable,
    /// Name resolution of a backend.
    Resolve,
    /// TCP connect to a backend.
    Connect,
    /// TLS handshake with a backend.
    Handshake,
    /// Waiting for a free connection (`maxSockets`).
    Wait,
    /// From the pick of a backend to the head of its response.
    FirstByte,
    /// TLS handshake with a client by version, in full and resumed.
    ClientHandshake12,
    ClientHandshake12Resumed,
    ClientHandshake13,
    ClientHandshake13Resumed,
    /// The life of a tunnel. The last.
    Tunnel,
}

const SERIES: usize = Timing::Tunnel as usize + 1;
/// Buckets of a histogram at most, the last without a bound.
const BUCKETS: usize = LOOKUP.len() + 1;
/// Buckets and sum.
const STRIDE: usize = BUCKETS + 1;
pub(super) const CELLS: usize = SERIES * STRIDE;

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;
const S: u64 = 1_000 * MS;

/// The boundaries of `http.server.request.duration` in the semantic conventions.
pub(crate) const HTTP_BOUNDS: [u64; 14] = [
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    75 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    750 * MS,
    S,
    2_500 * MS,
    5 * S,
    7_500 * MS,
    10 * S,
];
/// A table in memory answers in microseconds, a Redis near by in 50, and 1 s is the limit.
const LOOKUP: [u64; 18] = [
    5 * US,
    10 * US,
    25 * US,
    50 * US,
    75 * US,
    100 * US,
    150 * US,
    250 * US,
    500 * US,
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    S,
];
/// From the next process to another continent.
const CONNECT: [u64; 16] = [
    50 * US,
    100 * US,
    250 * US,
    500 * US,
    MS,
    2_500 * US,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    5 * S,
    30 * S,
];
/// Tunnels live from seconds to days.
const TUNNEL: [u64; 10] = [
    S,
    5 * S,
    15 * S,
    60 * S,
    300 * S,
    900 * S,
    3_600 * S,
    14_400 * S,
    43_200 * S,
    86_400 * S,
];

impl Timing {
    /// The upper bounds of its buckets, in nanoseconds; one more bucket has none.
    pub(crate) fn bounds(self) -> &'static [u64] {
        match self {
            Self::LookupRedis
            | Self::LookupCache
            | Self::LookupStale
            | Self::LookupFile
            | Self::LookupTable
            | Self::LookupNotFound
            | Self::LookupUnavailable => &LOOKUP,
            Self::Resolve
            | Self::Connect
            | Self::Handshake
            | Self::Wait
            | Self::ClientHandshake12
            | Self::ClientHandshake12Resumed
            | Self::ClientHandshake13
            | Self::ClientHandshake13Resumed => &CONNECT,
            Self::FirstByte => &HTTP_BOUNDS,
            Self::Tunnel => &TUNNEL,
        }
    }
}

impl Seat {
    /// Adds a duration.
    pub(crate) fn time(&self, timing: Timing, took: Duration) {
        let cells = self.timing(timing);
        observe(cells, timing.bounds(), nanos(took));
    }

    /// The buckets, which end with the one that has no bound, and the sum in nanoseconds.
    pub(crate) fn timed(&self, timing: Timing) -> (Vec<u64>, u64) {
        let buckets = timing.bounds().len() + 1;
        let cells = self.timing(timing);
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        (
            cells[..buckets].iter().map(read).collect(),
            read(&cells[buckets]),
        )
    }

    fn timing(&self, timing: Timing) -> &[AtomicU64] {
        let start = FIRST_HISTOGRAM + timing as usize * STRIDE;
        &self.cells[start..start + STRIDE]
    }
}

/// A duration as it is added up: 584 years fit.
pub(super) fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// Adds a value to cells that are the buckets, one more than there are bounds, and then the sum.
/// Gives the bucket.
pub(super) fn observe(cells: &[AtomicU64], bounds: &[u64], value: u64) -> usize {
    let bucket = bounds.partition_point(|bound| *bound < value);
    cells[bucket].fetch_add(1, Ordering::Relaxed);
    cells[bounds.len() + 1].fetch_add(value, Ordering::Relaxed);
    bucket
}
