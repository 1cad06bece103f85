//! Lines on their way to the queue of a log's writer, and the bound of that queue.

use std::io::Write as _;
use std::time::Duration;

use tracing_appender::non_blocking::NonBlocking;

use super::format::Formatter;
use super::log::{Inner, Losses};
use crate::config;
use crate::scoreboard::LogCounter;
use crate::telemetry::writer::Done;

/// A batch of this many bytes goes to the writer at once.
pub(super) const BATCH_BYTES: usize = 32 * 1024;
/// Batches that may wait for the writer, at least: those of an idle log are small, and a disk may
/// stand still for some seconds.
const QUEUE_BATCHES: u64 = 512;

/// Lines on their way to the writer, and what became of those before.
pub(super) struct Batch {
    pub(super) format: Formatter,
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    pub(super) queue: NonBlocking,
    pub(super) limit: Limit,
    /// The queue had room when it was last waited for: it may be waited for again.
    pub(super) is_patient: bool,
    /// Bytes given to the queue.
    pub(super) queued_bytes: u64,
    /// Batches given to the queue.
    pub(super) queued_batches: u64,
    /// Lines given to the queue.
    pub(super) queued: u64,
    pub(super) told: Losses,
}

/// How much may wait for the writer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Bytes: lines as long as a head allows must not multiply the bound.
    pub(super) bytes: u64,
    pub(super) batches: u64,
    /// How long the worker waits for room.
    pub(super) wait: Duration,
}

impl Limit {
    /// That of the configuration.
    pub(super) fn new(queue: config::Queue) -> Self {
        Self {
            bytes: queue.bytes,
            batches: QUEUE_BATCHES.max(queue.bytes / BATCH_BYTES as u64),
            wait: queue.wait,
        }
    }
}

impl Batch {
    /// Gives the batch to the writer, or counts its lines as dropped when the queue is full.
    pub(super) fn hand_over(&mut self, log: &Inner) {
        if self.lines == 0 {
            return;
        }
        let length = self.bytes.len() as u64;
        if self.find_room(log, length) && self.enqueue() {
            self.queued += self.lines;
            self.queued_bytes += length;
            self.queued_batches += 1;
        } else {
            log.seat.add(LogCounter::Dropped, self.lines);
        }
        self.lines = 0;
        self.bytes.clear();
        // One huge line must not hold its memory for ever.
        self.bytes.shrink_to(2 * BATCH_BYTES);
    }

    /// Whether the queue takes so many bytes more; waits for it where it is told to. A wait that was
    /// in vain is the last until there is room again, so that a writer that hangs costs the worker
    /// one wait and not one for each batch.
    fn find_room(&mut self, log: &Inner, length: u64) -> bool {
        let Limit {
            bytes,
            batches,
            wait,
        } = self.limit;
        let (queued, queued_batches) = (self.queued_bytes, self.queued_batches);
        let has_room = |done: &Done| {
            queued - done.taken_bytes + length <= bytes
                && queued_batches - done.taken_batches < batches
        };
        let mut is_found = has_room(&log.shared.done());
        if !is_found && self.is_patient && !wait.is_zero() {
            is_found = log.shared.wait_until(wait, has_room);
        }
        self.is_patient = is_found;
        is_found
    }

    /// One message to the queue; whether it took it. A full queue is told only by its count of
    /// drops, which is exact because this is the only producer.
    fn enqueue(&mut self) -> bool {
        let drops = self.queue.error_counter();
        let before = drops.dropped_lines();
        self.queue.write_all(&self.bytes).is_ok() && drops.dropped_lines() == before
    }
}
