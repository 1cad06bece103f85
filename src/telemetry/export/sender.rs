//! The thread that sends batches: one at a time, and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::super::events::{Event, emit};
use super::super::otlp::Envelope;
use super::delivery::Delivery;
use super::{Batch, Shared, run};
use crate::config::Traces;
use crate::scoreboard::Counter;

/// Losses are told at most so often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread owns.
pub(super) struct Sender {
    delivery: Delivery,
    envelope: Envelope,
    shared: Arc<Shared>,
    told: Option<Instant>,
}

impl Sender {
    /// A sender with these settings.
    pub(super) fn new(
        traces: &Traces,
        envelope: Envelope,
        (shared, is_ending): (Arc<Shared>, watch::Receiver<bool>),
    ) -> Self {
        Self {
            delivery: Delivery::new(&traces.exporter, traces.queue.limit, is_ending),
            envelope,
            shared,
            told: None,
        }
    }

    /// Sends batches until nobody gives any more.
    pub(super) fn run(self, batches: mpsc::Receiver<Batch>) {
        run(
            "starting the export of spans; all of them will be dropped",
            self.serve(batches),
        );
    }

    async fn serve(mut self, mut batches: mpsc::Receiver<Batch>) {
        while let Some(batch) = batches.recv().await {
            let message = self.envelope.seal(&batch.bytes);
            let sent = self.delivery.deliver(message).await;
            self.count(&batch, sent);
        }
    }

    fn count(&mut self, batch: &Batch, sent: Result<(u64, String), String>) {
        if !self.shared.settle(batch) {
            return;
        }
        let (failed, reason) = match sent {
            Ok((rejected, reason)) => (rejected.min(batch.spans), reason),
            Err(reason) => (batch.spans, reason),
        };
        self.shared
            .seat
            .add(Counter::SpansExported, batch.spans - failed);
        if failed > 0 {
            self.shared.lose(Counter::SpansFailed, failed);
        }
        self.tell(&reason);
    }

    /// Tells of losses, at most once a minute; those for which there was no room, too.
    fn tell(&mut self, reason: &str) {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
        if !is_due || self.shared.untold.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.told = Some(Instant::now());
        let lost = self.shared.untold.swap(0, Ordering::Relaxed);
        let reason = match reason {
            "" => "more than the collector takes",
            reason => reason,
        };
        emit(&Event::Problem {
            doing: "exporting spans",
            error: &format_args!("{lost} were lost: {reason}"),
        });
    }
}
