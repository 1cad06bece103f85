//! Spans on their way to a collector: gathered here, sent by a thread of their own.
//!
//! Never in the way of a request: a batch is handed over without waiting, and dropped when too much
//! waits already. Each span that is queued ends in exactly one count: exported, dropped (the queue
//! was full) or failed (the collector did not take it).

mod delivery;
mod judge;
mod retry;
mod run;
mod sender;
mod tls;
mod transport;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::events::{Event, emit};
use super::otlp::Envelope;
use crate::config::{ExportQueue, Traces};
use crate::scoreboard::{Counter, Seat};
pub(super) use delivery::Delivery;
pub(super) use run::run;
use sender::Sender;

/// Bytes of spans that may wait in a worker, whatever their number.
const QUEUE_BYTES: u64 = 32 << 20;
/// A batch of this many bytes is handed over at once: collectors take requests of 4 MiB.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that may wait.
const QUEUE_BATCHES: usize = 1024;

/// The exporter of one worker. Not shared with other threads.
pub(super) struct Export {
    batch: RefCell<Batch>,
    /// `None` after the shutdown.
    queue: RefCell<Option<mpsc::Sender<Batch>>>,
    bounds: ExportQueue,
    shared: Arc<Shared>,
    /// A batch got its first span.
    has_span: Notify,
    /// Hands over batches that grew old; started by the first span.
    flusher: Cell<Option<JoinHandle<()>>>,
    /// Tells the thread to repeat nothing any more.
    ending: watch::Sender<bool>,
    done: Receiver<()>,
}

/// Encoded spans.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    spans: u64,
}

/// What worker and thread both count.
struct Shared {
    seat: Seat,
    /// Spans handed over and not settled yet.
    waiting: AtomicU64,
    /// Their bytes.
    waiting_bytes: AtomicU64,
    /// Spans lost since that was last told.
    untold: AtomicU64,
}

impl Shared {
    fn lose(&self, counter: Counter, spans: u64) {
        self.seat.add(counter, spans);
        self.untold.fetch_add(spans, Ordering::Relaxed);
    }

    /// Takes spans out of those that wait; `false` when the worker has given them up meanwhile, and
    /// counted them.
    fn settle(&self, batch: &Batch) -> bool {
        self.waiting_bytes
            .fetch_sub(batch.bytes.len() as u64, Ordering::Relaxed);
        let less = |waiting: u64| waiting.checked_sub(batch.spans);
        let relaxed = Ordering::Relaxed;
        self.waiting.fetch_update(relaxed, relaxed, less).is_ok()
    }
}

impl Export {
    /// Starts the thread, which sends every batch in this envelope.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(traces: &Traces, envelope: Envelope, seat: Seat) -> io::Result<Self> {
        let (queue, batches) = mpsc::channel(QUEUE_BATCHES);
        let (ending, is_ending) = watch::channel(false);
        let (finished, done) = sync_channel(1);
        let shared = Arc::new(Shared {
            seat,
            waiting: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        });
        let sender = Sender::new(traces, envelope, (Arc::clone(&shared), is_ending));
        thread::Builder::new()
            .name("span-export".to_owned())
            .spawn(move || {
                sender.run(batches);
                // The worker may have stopped to wait.
                let _ = finished.send(());
            })?;
        Ok(Self {
            batch: RefCell::default(),
            queue: RefCell::new(Some(queue)),
            bounds: traces.queue,
            shared,
            has_span: Notify::new(),
            flusher: Cell::new(None),
            ending,
            done,
        })
    }

    /// Appends spans; `encode` gives their number. Never blocks.
    pub(super) fn append(self: &Rc<Self>, encode: impl FnOnce(&mut Vec<u8>) -> u64) {
        let mut batch = self.batch.borrow_mut();
        let is_first = batch.spans == 0;
        let spans = encode(&mut batch.bytes);
        batch.spans += spans;
        self.shared.seat.add(Counter::SpansQueued, spans);
        if batch.spans >= self.bounds.batch as u64 || batch.bytes.len() >= BATCH_BYTES {
            self.hand_over(&mut batch);
        } else if is_first {
            self.ensure_flusher();
            self.has_span.notify_one();
        }
    }

    /// Gives the batch to the thread, or counts its spans as dropped when too much waits.
    fn hand_over(&self, batch: &mut Batch) {
        if batch.spans == 0 {
            return;
        }
        let room = Vec::with_capacity(batch.bytes.len());
        let taken = Batch {
            bytes: std::mem::replace(&mut batch.bytes, room),
            spans: std::mem::take(&mut batch.spans),
        };
        let (spans, bytes) = (taken.spans, taken.bytes.len() as u64);
        let Shared {
            waiting,
            waiting_bytes,
            ..
        } = &*self.shared;
        let relaxed = Ordering::Relaxed;
        let has_room = waiting.load(relaxed) + spans <= self.bounds.items as u64
            && waiting_bytes.load(relaxed) + bytes <= QUEUE_BYTES;
        let queue = self.queue.borrow();
        let Some(queue) = queue.as_ref().filter(|_| has_room) else {
            return self.shared.lose(Counter::SpansDropped, spans);
        };
        // Counted before it is sent, so that the thread never settles what does not wait yet.
        waiting.fetch_add(spans, relaxed);
        waiting_bytes.fetch_add(bytes, relaxed);
        if queue.try_send(taken).is_err() {
            waiting.fetch_sub(spans, relaxed);
            waiting_bytes.fetch_sub(bytes, relaxed);
            self.shared.lose(Counter::SpansDropped, spans);
        }
    }

    /// Starts the flusher unless it runs. Without a runtime a batch waits until it is full, or for
    /// the shutdown.
    fn ensure_flusher(self: &Rc<Self>) {
        let running = self.flusher.take();
        let flusher = running.or_else(|| {
            Handle::try_current().ok()?;
            Some(tokio::task::spawn_local(keep_flushing(Rc::clone(self))))
        });
        self.flusher.set(flusher);
    }

    /// Hands over what is left and waits until all is sent or the limit is over; what is not counts
    /// as failed. Blocking.
    pub(super) fn shutdown(&self, limit: Duration) {
        if let Some(flusher) = self.flusher.take() {
            flusher.abort();
        }
        self.hand_over(&mut self.batch.borrow_mut());
        self.queue.borrow_mut().take();
        self.ending.send_replace(true);
        if self.done.recv_timeout(limit).is_ok() {
            return;
        }
        let left = self.shared.waiting.swap(0, Ordering::Relaxed);
        self.shared.seat.add(Counter::SpansFailed, left);
        emit(&Event::Problem {
            doing: "ending the export of spans",
            error: &format_args!("{left} spans are not sent yet and end with the process"),
        });
    }
}

/// Hands over each batch when it is old enough. Ended by the shutdown, or with the runtime.
async fn keep_flushing(export: Rc<Export>) {
    loop {
        export.has_span.notified().await;
        tokio::time::sleep(export.bounds.delay).await;
        export.hand_over(&mut export.batch.borrow_mut());
    }
}

#[cfg(test)]
mod tests;
