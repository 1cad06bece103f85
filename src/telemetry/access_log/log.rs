//! One access log: its lines gathered, queued, and accounted for.
//!
//! Lines are gathered in a batch, which goes to the writer's thread when it is large enough or a
//! few milliseconds old. A batch holds whole lines only, and each exchange ends in exactly one count
//! of the log: written, dropped (the queue was full), failed (a write error) or filtered.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use super::Process;
use super::batch::{BATCH_BYTES, Batch, Limit};
use super::filter::Sieve;
use super::format::Formatter;
use crate::config;
use crate::scoreboard::{LogCounter, LogSeat};
use crate::telemetry::Record;
use crate::telemetry::events::{Event, emit};
use crate::telemetry::writer::{Done, LineWriter, Shared, Way};

/// A batch waits so long for more lines.
const BATCH_AGE: Duration = Duration::from_millis(10);
/// Losses are told at most so often.
const LOSSES_INTERVAL: Duration = Duration::from_secs(60);

/// One access log of one worker. Not shared with other threads.
pub(super) struct Log {
    inner: Rc<Inner>,
    guard: Option<WorkerGuard>,
    /// Hands over batches that grew old; started by the first line that is written on a runtime.
    flusher: Cell<Option<JoinHandle<()>>>,
}

/// What the log and its flusher share.
pub(super) struct Inner {
    /// Where it stands in the configuration, for messages.
    place: String,
    sieve: Sieve,
    process: Rc<Process>,
    batch: RefCell<Batch>,
    /// A batch got its first line.
    has_line: Notify,
    pub(super) shared: Arc<Shared>,
    pub(super) seat: LogSeat,
}

/// Losses as they were last told.
#[derive(Default)]
pub(super) struct Losses {
    dropped: u64,
    failed: u64,
    at: Option<Instant>,
}

impl Log {
    /// A log that goes this way. Starts its writer's thread, so never before a fork; without threads
    /// a worker cannot live, and the library panics.
    pub(super) fn start(
        config: &config::AccessLog,
        way: Way,
        seat: LogSeat,
        process: &Rc<Process>,
        limit: Limit,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let (queue, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(usize::try_from(limit.batches).unwrap_or(usize::MAX))
            .lossy(true)
            .thread_name("access-log")
            .finish(LineWriter::new(way, Arc::clone(&shared), seat));
        let batch = Batch {
            format: Formatter::new(config, process),
            bytes: Vec::with_capacity(2 * BATCH_BYTES),
            lines: 0,
            queue,
            limit,
            is_patient: true,
            queued_bytes: 0,
            queued_batches: 0,
            queued: 0,
            told: Losses {
                dropped: seat.count(LogCounter::Dropped),
                failed: seat.count(LogCounter::Failed),
                at: None,
            },
        };
        let inner = Inner {
            place: config.place.clone(),
            sieve: Sieve::new(config),
            process: Rc::clone(process),
            batch: RefCell::new(batch),
            has_line: Notify::new(),
            shared,
            seat,
        };
        Self {
            inner: Rc::new(inner),
            guard: Some(guard),
            flusher: Cell::new(None),
        }
    }

    /// Appends the line of a finished exchange; blocks only where the log is told to wait for room.
    /// On a runtime it must be one that can spawn local tasks, as a worker's is.
    pub(super) fn write(&self, record: &Record<'_>) {
        if self.inner.append(record) {
            self.ensure_flusher();
            self.inner.has_line.notify_one();
        }
    }

    /// Goes on in this descriptor; lines already queued may go to either file, each whole.
    pub(super) fn reopen(&self, target: OwnedFd) {
        let log = &self.inner;
        log.shared.replace(target);
        let mut batch = log.batch.borrow_mut();
        batch.hand_over(log);
        // An empty batch wakes an idle writer, or it would keep the old file open until the next
        // line. When the queue is full the writer is awake anyway.
        let _ = batch.queue.write(&[]);
    }

    /// Starts the flusher unless it runs. Without a runtime a batch waits until it is full, or for
    /// the shutdown.
    fn ensure_flusher(&self) {
        let running = self.flusher.take();
        let flusher = running.or_else(|| {
            Handle::try_current().ok()?;
            Some(tokio::task::spawn_local(keep_flushing(Rc::clone(
                &self.inner,
            ))))
        });
        self.flusher.set(flusher);
    }

    /// Hands over what is buffered and waits until it is written or the limit is over. The end,
    /// once; blocking.
    pub(super) fn finish(&mut self, limit: Duration) {
        if let Some(flusher) = self.flusher.take() {
            flusher.abort();
        }
        let Some(guard) = self.guard.take() else {
            return;
        };
        let log = &self.inner;
        let queued = {
            let mut batch = log.batch.borrow_mut();
            batch.hand_over(log);
            batch.queued
        };
        let settled = |done: &Done| done.written + done.failed;
        let is_done = log.shared.wait_until(limit, |done| settled(done) >= queued);
        log.tell_losses(true);
        if is_done {
            // The queue is empty: its thread takes the word to end at once.
            drop(guard);
            return;
        }
        let left = queued.saturating_sub(settled(&log.shared.done()));
        emit(&Event::Problem {
            doing: "ending the access log",
            error: &format_args!("{left} lines are not written yet and end with the process"),
        });
        // The thread is stuck in a write. The guard would wait for it in vain, and then print to
        // standard output, which may be the very pipe that is stuck.
        std::mem::forget(guard);
    }
}

impl Drop for Log {
    /// What was not shut down hands over its lines, but waits for nobody.
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

/// Hands over each batch when it is old enough, and looks for untold losses when nothing happens.
/// Owned and ended by its log; holds no connection and no runtime.
async fn keep_flushing(log: Rc<Inner>) {
    loop {
        if let Ok(()) = tokio::time::timeout(LOSSES_INTERVAL, log.has_line.notified()).await {
            tokio::time::sleep(BATCH_AGE).await;
            log.batch.borrow_mut().hand_over(&log);
        }
        log.tell_losses(false);
    }
}

impl Inner {
    /// Appends a line, unless it is filtered; whether it is the first of a batch that waits for more.
    fn append(&self, record: &Record<'_>) -> bool {
        if !self.sieve.passes(record) {
            self.seat.add(LogCounter::Filtered, 1);
            return false;
        }
        let mut batch = self.batch.borrow_mut();
        let Batch { format, bytes, .. } = &mut *batch;
        format.append(bytes, record, &self.process);
        batch.lines += 1;
        if batch.bytes.len() >= BATCH_BYTES {
            batch.hand_over(self);
            return false;
        }
        batch.lines == 1
    }

    /// Tells losses that were not told yet, at most once a minute; at the end of the log at once.
    fn tell_losses(&self, is_end: bool) {
        let dropped = self.seat.count(LogCounter::Dropped);
        let failed = self.seat.count(LogCounter::Failed);
        let mut batch = self.batch.borrow_mut();
        let told = &mut batch.told;
        let has_grown = dropped > told.dropped || failed > told.failed;
        let is_due = is_end || told.at.is_none_or(|at| at.elapsed() >= LOSSES_INTERVAL);
        if !has_grown || !is_due {
            return;
        }
        emit(&Event::LogLosses {
            log: &self.place,
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

#[cfg(test)]
mod tests;
