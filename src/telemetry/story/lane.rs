//! Encoded items of one signal that wait to be sent, bounded and counted.
//!
//! Any thread may put one in, and none ever waits for the collector. Each item ends in exactly one
//! count: exported, dropped (no room) or failed (the collector did not take it).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::otlp::Writer;
use crate::config::{ExportQueue, Signal};
use crate::scoreboard::{Counter, Seat};

/// Bytes that may wait, whatever the number of items.
const BYTES: usize = 8 << 20;
/// Bytes in a batch: collectors take requests of 4 MiB.
const BATCH_BYTES: usize = 1 << 20;
/// The field of the items in `ScopeSpans` and in `ScopeLogs`.
const ITEMS: u8 = 2;

/// What waits of one signal.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) signal: Signal,
    pub(super) bounds: ExportQueue,
    seat: Seat,
    waiting: Mutex<Waiting>,
    /// Items that wait or are being sent.
    unsettled: AtomicU64,
    /// Items lost since that was last told.
    untold: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// Items to be sent in one request.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) items: u64,
}

/// What an item can come to.
enum Fate {
    Queued,
    Exported,
    Dropped,
    Failed,
}

impl Lane {
    /// An empty lane that counts in this seat.
    pub(super) fn new(signal: Signal, bounds: ExportQueue, seat: Seat) -> Self {
        Self {
            signal,
            bounds,
            seat,
            waiting: Mutex::default(),
            unsettled: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// Puts in an encoded message, or drops it.
    pub(super) fn put(&self, message: &[u8]) {
        self.count(Fate::Queued, 1);
        let mut waiting = self.lock();
        let has_room =
            waiting.items.len() < self.bounds.items && waiting.bytes + message.len() <= BYTES;
        if !has_room {
            drop(waiting);
            return self.lose(Fate::Dropped, 1);
        }
        let mut item = Vec::with_capacity(message.len() + 4);
        Writer(&mut item).bytes(ITEMS, message);
        waiting.bytes += item.len();
        waiting.items.push_back(item);
        self.unsettled.fetch_add(1, Relaxed);
    }

    /// Counts items that were lost before they came here.
    pub(super) fn count_dropped(&self, items: u64) {
        if items > 0 {
            self.count(Fate::Queued, items);
            self.lose(Fate::Dropped, items);
        }
    }

    /// The next batch; `None` when nothing waits.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut waiting = self.lock();
        let mut batch = Batch {
            bytes: waiting.items.pop_front()?,
            items: 1,
        };
        while batch.items < self.bounds.batch as u64 && batch.bytes.len() < BATCH_BYTES {
            let Some(item) = waiting.items.pop_front() else {
                break;
            };
            batch.bytes.extend_from_slice(&item);
            batch.items += 1;
        }
        waiting.bytes = waiting.bytes.saturating_sub(batch.bytes.len());
        Some(batch)
    }

    /// Counts a batch that was sent, of which so many were not taken.
    pub(super) fn settle(&self, batch: &Batch, failed: u64) {
        let less = |unsettled: u64| unsettled.checked_sub(batch.items);
        if self.unsettled.fetch_update(Relaxed, Relaxed, less).is_err() {
            // Given up meanwhile, and counted.
            return;
        }
        let failed = failed.min(batch.items);
        self.count(Fate::Exported, batch.items - failed);
        if failed > 0 {
            self.lose(Fate::Failed, failed);
        }
    }

    /// Gives up all that is not sent yet; how much that is.
    pub(super) fn give_up(&self) -> u64 {
        let left = self.unsettled.swap(0, Relaxed);
        self.count(Fate::Failed, left);
        left
    }

    /// Items lost since this was last asked for.
    pub(super) fn untold(&self) -> u64 {
        self.untold.swap(0, Relaxed)
    }

    fn lose(&self, fate: Fate, items: u64) {
        self.count(fate, items);
        self.untold.fetch_add(items, Relaxed);
    }

    fn count(&self, fate: Fate, items: u64) {
        let counter = match (self.signal, fate) {
            (Signal::Logs, Fate::Queued) => Counter::RecordsQueued,
            (Signal::Logs, Fate::Exported) => Counter::RecordsExported,
            (Signal::Logs, Fate::Dropped) => Counter::RecordsDropped,
            (Signal::Logs, Fate::Failed) => Counter::RecordsFailed,
            (_, Fate::Queued) => Counter::SpansQueued,
            (_, Fate::Exported) => Counter::SpansExported,
            (_, Fate::Dropped) => Counter::SpansDropped,
            (_, Fate::Failed) => Counter::SpansFailed,
        };
        self.seat.add(counter, items);
    }

    /// The data is whole at every moment, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
