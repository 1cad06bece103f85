//! The busiest vhosts of a worker: places with a name, and one for all others.
//!
//! Which vhosts have a place is decided by the worker alone, in `telemetry`. A name changes under
//! an odd version, so a reader never takes the counts of one vhost for another's.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::histogram::{nanos, observe};
use super::{FIRST_VHOST, Seat};

/// Coarser than those of requests: there are many of them.
pub(crate) const VHOST_BOUNDS: [u64; 8] = [
    5_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];
/// Bytes of a name that are shown.
const NAME_BYTES: usize = 8 * NAME_CELLS;
const NAME_CELLS: usize = 15;
const VERSION: usize = 0;
const LENGTH: usize = 1;
const NAME: usize = 2;
/// Requests by the first digit of the status; 0 where none was sent.
const CLASSES: usize = NAME + NAME_CELLS;
const FAILED: usize = CLASSES + 6;
const BYTES: usize = FAILED + 1;
const BUCKETS: usize = BYTES + 1;
const STRIDE: usize = BUCKETS + VHOST_BOUNDS.len() + 2;
/// Reads of a place that is being renamed all the time, before it is left out.
const READS: usize = 3;

pub(super) const fn cells(vhosts: usize) -> usize {
    (vhosts + 1) * STRIDE
}

/// A finished request of a vhost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) status: u16,
    /// It did not end well, whatever its status.
    pub(crate) is_failed: bool,
    pub(crate) took: Duration,
    pub(crate) bytes_sent: u64,
}

/// What was counted in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vhost {
    /// Empty for all others.
    pub(crate) name: String,
    pub(crate) classes: [u64; 6],
    pub(crate) failed: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) buckets: [u64; VHOST_BOUNDS.len() + 1],
    /// Nanoseconds.
    pub(crate) sum: u64,
}

impl Vhost {
    /// Requests counted.
    pub(crate) fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Adds what another worker counted for the same vhost.
    pub(crate) fn merge(&mut self, other: &Self) {
        let pairs = self.classes.iter_mut().zip(other.classes);
        for (mine, more) in pairs.chain(self.buckets.iter_mut().zip(other.buckets)) {
            *mine += more;
        }
        self.failed += other.failed;
        self.bytes_sent += other.bytes_sent;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Seat {
    /// Places for vhosts with a name: 1 to this number. Place 0 is that of all others.
    pub(crate) fn vhost_places(&self) -> usize {
        (self.cells.len() - FIRST_VHOST) / STRIDE - 1
    }

    /// Counts a request in a place.
    pub(crate) fn visit(&self, place: usize, visit: &Visit) {
        let cells = self.vhost(place);
        let class = usize::from(visit.status / 100).min(5);
        cells[CLASSES + class].fetch_add(1, Ordering::Relaxed);
        cells[BYTES].fetch_add(visit.bytes_sent, Ordering::Relaxed);
        if visit.is_failed {
            cells[FAILED].fetch_add(1, Ordering::Relaxed);
        }
        observe(&cells[BUCKETS..], &VHOST_BOUNDS, nanos(visit.took));
    }

    /// Adds what another worker counted for the vhost of a place.
    pub(super) fn inherit(&self, place: usize, other: &Vhost) {
        let cells = self.vhost(place);
        let add = |cell: usize, more: u64| cells[cell].fetch_add(more, Ordering::Relaxed);
        for (class, more) in other.classes.into_iter().enumerate() {
            add(CLASSES + class, more);
        }
        for (bucket, more) in other.buckets.into_iter().enumerate() {
            add(BUCKETS + bucket, more);
        }
        for (cell, more) in [
            (FAILED, other.failed),
            (BYTES, other.bytes_sent),
            (STRIDE - 1, other.sum),
        ] {
            add(cell, more);
        }
    }

    /// Gives a place to a vhost and gives the requests that were counted in it so far, which are
    /// shown no longer.
    pub(crate) fn rename_vhost(&self, place: usize, name: &str) -> u64 {
        let cells = self.vhost(place);
        let forgotten = cells[CLASSES..FAILED].iter();
        let forgotten = forgotten.map(|cell| cell.load(Ordering::Relaxed)).sum();
        // Odd also when a worker was killed in the middle of this.
        let version = cells[VERSION].load(Ordering::Relaxed) | 1;
        cells[VERSION].store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        for cell in &cells[CLASSES..] {
            cell.store(0, Ordering::Relaxed);
        }
        let shown = shown_name(name);
        cells[LENGTH].store(shown.len() as u64, Ordering::Relaxed);
        for (cell, chunk) in cells[NAME..CLASSES].iter().zip(shown.as_bytes().chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            cell.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        cells[VERSION].store(version + 1, Ordering::Release);
        forgotten
    }

    /// What was counted in a place; `None` where it has no name, or always another one.
    pub(crate) fn visits(&self, place: usize) -> Option<Vhost> {
        let cells = self.vhost(place);
        if place == 0 {
            return Some(read(cells));
        }
        (0..READS).find_map(|_| {
            let before = cells[VERSION].load(Ordering::Acquire);
            let vhost = read(cells);
            fence(Ordering::Acquire);
            let after = cells[VERSION].load(Ordering::Relaxed);
            (before == after && before != 0 && before.is_multiple_of(2)).then_some(vhost)
        })
    }

    fn vhost(&self, place: usize) -> &[AtomicU64] {
        let start = FIRST_VHOST + place * STRIDE;
        &self.cells[start..start + STRIDE]
    }
}

/// As much of a name as is shown.
pub(crate) fn shown_name(name: &str) -> &str {
    let end = (0..=NAME_BYTES.min(name.len())).rev();
    let end = end.into_iter().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

fn read(cells: &[AtomicU64]) -> Vhost {
    let load = |cell: usize| cells[cell].load(Ordering::Relaxed);
    let name: Vec<u8> = (NAME..CLASSES)
        .flat_map(|cell| load(cell).to_le_bytes())
        .collect();
    let length = usize::try_from(load(LENGTH)).map_or(0, |length| length.min(NAME_BYTES));
    Vhost {
        name: String::from_utf8_lossy(&name[..length]).into_owned(),
        classes: std::array::from_fn(|class| load(CLASSES + class)),
        failed: load(FAILED),
        bytes_sent: load(BYTES),
        buckets: std::array::from_fn(|bucket| load(BUCKETS + bucket)),
        sum: load(STRIDE - 1),
    }
}
