//! One line a request, in the format of the original: the last step of an exchange.
//!
//! Lines are gathered in a batch, which goes to the writer's thread when it is large enough or a
//! few milliseconds old. A batch holds whole lines only, and each line that is given to the log
//! ends in exactly one count: written, dropped (the queue was full) or failed (a write error).

mod line;

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::Record;
use super::events::{Event, emit};
use super::writer::{LineWriter, Shared};
use crate::scoreboard::{Counter, Slot};

/// A batch of this many bytes goes to the writer at once.
const BATCH_BYTES: usize = 32 * 1024;
/// A batch waits so long for more lines.
const BATCH_AGE: Duration = Duration::from_millis(10);
/// Batches that may wait for the writer.
const QUEUE_BATCHES: usize = 512;
/// Bytes that may wait for the writer: lines as long as a head allows must not multiply the bound.
const QUEUE_BYTES: u64 = (QUEUE_BATCHES * BATCH_BYTES) as u64;
/// Losses are told at most so often.
const LOSSES_INTERVAL: Duration = Duration::from_secs(60);

/// The access log of one worker. Not shared with other threads.
pub(crate) struct AccessLog {
    /// `None`: nothing is logged, or the log was shut down.
    log: Option<Rc<Log>>,
    guard: Option<WorkerGuard>,
    /// Hands over batches that grew old; started by the first line that is written on a runtime.
    flusher: Cell<Option<JoinHandle<()>>>,
}

/// What the face and the flusher share.
struct Log {
    batch: RefCell<Batch>,
    /// A batch got its first line.
    has_line: Notify,
    shared: Arc<Shared>,
    slot: Slot,
}

/// Lines on their way to the writer, and what became of those before.
struct Batch {
    format: line::Format,
    bytes: Vec<u8>,
    lines: u64,
    queue: NonBlocking,
    /// Bytes given to the queue.
    queued_bytes: u64,
    /// Lines given to the queue.
    queued: u64,
    /// Lines that found it full.
    dropped: u64,
    told: Losses,
}

/// Losses as they were last told.
#[derive(Default)]
struct Losses {
    dropped: u64,
    failed: u64,
    at: Option<Instant>,
}

impl AccessLog {
    /// A log into this descriptor; `None` writes nothing. Starts its writer's thread, so never
    /// before a fork; without threads a worker cannot live, and the library panics.
    pub(crate) fn start(target: Option<OwnedFd>, slot: Slot) -> Self {
        Self::with_queue(target, slot, QUEUE_BATCHES)
    }

    /// A log whose queue takes so many batches.
    fn with_queue(target: Option<OwnedFd>, slot: Slot, batches: usize) -> Self {
        let (log, guard) = target
            .map(|target| Log::start(target, slot, batches))
            .unzip();
        Self {
            log: log.map(Rc::new),
            guard,
            flusher: Cell::new(None),
        }
    }

    /// Appends the line of a finished exchange; never blocks. On a runtime it must be one that can
    /// spawn local tasks, as a worker's is.
    pub(crate) fn write(&self, record: &Record<'_>) {
        let Some(log) = &self.log else { return };
        if log.append(record) {
            self.ensure_flusher(log);
            log.has_line.notify_one();
        }
    }

    /// Goes on in this descriptor; lines already queued may go to either file, each whole.
    pub(crate) fn reopen(&self, target: OwnedFd) {
        let Some(log) = &self.log else { return };
        log.shared.replace(target);
        let mut batch = log.batch.borrow_mut();
        batch.hand_over(log);
        // An empty batch wakes an idle writer, or it would keep the old file open until the next
        // line. When the queue is full the writer is awake anyway.
        let _ = batch.queue.write(&[]);
    }

    /// Hands over what is buffered and waits until it is written or the limit is over.
    /// Blocking: for the end of a worker.
    pub(crate) fn shutdown(mut self, limit: Duration) {
        self.finish(limit);
    }

    /// Starts the flusher unless it runs. Without a runtime a batch waits until it is full, or for
    /// the shutdown.
    fn ensure_flusher(&self, log: &Rc<Log>) {
        let running = self.flusher.take();
        let flusher = running.or_else(|| {
            Handle::try_current().ok()?;
            Some(tokio::task::spawn_local(keep_flushing(Rc::clone(log))))
        });
        self.flusher.set(flusher);
    }

    /// The end, once.
    fn finish(&mut self, limit: Duration) {
        if let Some(flusher) = self.flusher.take() {
            flusher.abort();
        }
        let (Some(log), Some(guard)) = (self.log.take(), self.guard.take()) else {
            return;
        };
        let queued = {
            let mut batch = log.batch.borrow_mut();
            batch.hand_over(&log);
            batch.queued
        };
        let is_done = log.shared.wait_for(queued, limit);
        log.tell_losses(true);
        if is_done {
            // The queue is empty: its thread takes the word to end at once.
            drop(guard);
            return;
        }
        let done = log.shared.done();
        let left = queued.saturating_sub(done.written + done.failed);
        emit(&Event::Problem {
            doing: "ending the access log",
            error: &format_args!("{left} lines are not written yet and end with the process"),
        });
        // The thread is stuck in a write. The guard would wait for it in vain, and then print to
        // standard output, which may be the very pipe that is stuck.
        std::mem::forget(guard);
    }
}

impl Drop for AccessLog {
    /// What was not shut down hands over its lines, but waits for nobody.
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

/// Hands over each batch when it is old enough, and looks for untold losses when nothing happens.
/// Owned and ended by its log; holds no connection and no runtime.
async fn keep_flushing(log: Rc<Log>) {
    loop {
        if let Ok(()) = tokio::time::timeout(LOSSES_INTERVAL, log.has_line.notified()).await {
            tokio::time::sleep(BATCH_AGE).await;
            log.batch.borrow_mut().hand_over(&log);
        }
        log.tell_losses(false);
    }
}

impl Log {
    /// A log and the guard of its thread.
    fn start(target: OwnedFd, slot: Slot, batches: usize) -> (Self, WorkerGuard) {
        let shared = Arc::new(Shared::default());
        let (queue, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(batches)
            .lossy(true)
            .thread_name("access-log")
            .finish(LineWriter::new(target, Arc::clone(&shared), slot));
        let batch = Batch {
            format: line::Format::new(),
            bytes: Vec::with_capacity(2 * BATCH_BYTES),
            lines: 0,
            queue,
            queued_bytes: 0,
            queued: 0,
            dropped: 0,
            told: Losses::default(),
        };
        let log = Self {
            batch: RefCell::new(batch),
            has_line: Notify::new(),
            shared,
            slot,
        };
        (log, guard)
    }

    /// Appends a line; whether it is the first of a batch that waits for more.
    fn append(&self, record: &Record<'_>) -> bool {
        let mut batch = self.batch.borrow_mut();
        let Batch { format, bytes, .. } = &mut *batch;
        format.append(bytes, record);
        batch.lines += 1;
        if batch.bytes.len() >= BATCH_BYTES {
            batch.hand_over(self);
            return false;
        }
        batch.lines == 1
    }

    /// Tells losses that were not told yet, at most once a minute; at the end of the log at once.
    fn tell_losses(&self, is_end: bool) {
        let failed = self.shared.done().failed;
        let mut batch = self.batch.borrow_mut();
        let dropped = batch.dropped;
        let told = &mut batch.told;
        let has_grown = dropped > told.dropped || failed > told.failed;
        let is_due = is_end || told.at.is_none_or(|at| at.elapsed() >= LOSSES_INTERVAL);
        if !has_grown || !is_due {
            return;
        }
        emit(&Event::LogLosses {
            dropped: dropped - told.dropped,
            failed: failed - told.failed,
        });
        *told = Losses {
            dropped,
            failed,
            at: Some(Instant::now()),
        };
    }
}

impl Batch {
    /// Gives the batch to the writer, or counts its lines as dropped when the queue is full.
    fn hand_over(&mut self, log: &Log) {
        if self.lines == 0 {
            return;
        }
        let length = self.bytes.len() as u64;
        let waiting = self.queued_bytes - log.shared.done().taken_bytes;
        if waiting + length <= QUEUE_BYTES && self.enqueue() {
            self.queued += self.lines;
            self.queued_bytes += length;
        } else {
            self.dropped += self.lines;
            log.slot.add(Counter::LinesDropped, self.lines);
        }
        self.lines = 0;
        self.bytes.clear();
        // One huge line must not hold its memory for ever.
        self.bytes.shrink_to(2 * BATCH_BYTES);
    }

    /// One message to the queue; whether it took it. A full queue is told only by its count of
    /// drops, which is exact because this is the only producer.
    fn enqueue(&mut self) -> bool {
        let drops = self.queue.error_counter();
        let before = drops.dropped_lines();
        self.queue.write_all(&self.bytes).is_ok() && drops.dropped_lines() == before
    }
}

#[cfg(test)]
mod tests;
