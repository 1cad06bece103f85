//! The thread that sends records and spans of the story, and reads the master's queue.
//!
//! It wakes at every turn of a lane's delay, so whoever tells something wakes nobody. The master's
//! events are read right before a batch is sent: until then they are safe in their queue.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::Context;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::events::{Event, emit};
use super::super::export::{Delivery, run};
use super::super::otlp::Envelope;
use super::lane::{Batch, Lane};
use super::queue::Inbox;
use super::sdk::Sdk;
use crate::config::{Exporter, Signal, Telemetry};
use crate::scoreboard::{Scoreboard, Seat};

/// Losses are told at most so often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// Events of the master that are read at once.
const READ_AT_ONCE: usize = 512;

/// What will be exported; nothing has started yet.
pub(super) struct Prepared {
    sdk: Arc<Sdk>,
    logs: Option<(Arc<Lane>, Exporter)>,
    spans: Option<(Arc<Lane>, Exporter)>,
    envelope: Envelope,
}

/// The export of a worker.
pub(super) struct Export {
    lanes: Vec<Arc<Lane>>,
    /// Tells the thread to send what it has, and to end.
    ending: watch::Sender<bool>,
    done: Receiver<()>,
}

impl Export {
    /// What is to be exported; `None`: nothing.
    pub(super) fn prepare(telemetry: &Telemetry, seat: Seat, instance: &[u8]) -> Option<Prepared> {
        let logs = telemetry.logs.as_ref().map(|logs| {
            let lane = Lane::new(Signal::Logs, logs.queue, seat);
            (Arc::new(lane), logs.exporter.clone())
        });
        let traces = telemetry.traces.as_ref();
        let traces = traces.filter(|_| telemetry.story.has_spans);
        let spans = traces.map(|traces| {
            let lane = Lane::new(Signal::Traces, traces.queue, seat);
            (Arc::new(lane), traces.exporter.clone())
        });
        if logs.is_none() && spans.is_none() {
            return None;
        }
        let lane = |side: &Option<(Arc<Lane>, _)>| side.as_ref().map(|(lane, _)| Arc::clone(lane));
        Some(Prepared {
            sdk: Arc::new(Sdk::new(lane(&logs), lane(&spans))),
            logs,
            spans,
            envelope: Envelope::new(&telemetry.resource, instance, std::process::id()),
        })
    }

    /// Sends what is left and waits until that is done or the limit is over; what is not counts as
    /// failed. Blocking.
    pub(super) fn shutdown(self, limit: Duration) {
        self.ending.send_replace(true);
        if self.done.recv_timeout(limit).is_ok() {
            return;
        }
        let left: u64 = self.lanes.iter().map(|lane| lane.give_up()).sum();
        emit(&Event::Problem {
            doing: "ending the export of the process's story",
            error: &format_args!("{left} records and spans end with the process"),
        });
    }
}

impl Prepared {
    /// What makes records and spans.
    pub(super) fn sdk(&self) -> &Arc<Sdk> {
        &self.sdk
    }

    /// Starts the thread.
    pub(super) fn start(
        self,
        (board, number): (Scoreboard, usize),
        inbox: Option<Inbox>,
    ) -> io::Result<Export> {
        let lanes: Vec<_> = [&self.logs, &self.spans].into_iter().flatten().collect();
        let lanes: Vec<_> = lanes
            .into_iter()
            .map(|(lane, _)| Arc::clone(lane))
            .collect();
        let (ending, is_ending) = watch::channel(false);
        let (finished, done) = sync_channel(1);
        let ear = Ear {
            inbox,
            board,
            number,
            sdk: Arc::clone(&self.sdk),
            lane: lanes.first().map(Arc::clone),
        };
        let thread = Thread {
            prepared: self,
            ear,
            is_ending,
        };
        thread::Builder::new()
            .name("story-export".to_owned())
            .spawn(move || {
                thread.run();
                // The worker may have stopped to wait.
                let _ = finished.send(());
            })?;
        Ok(Export {
            lanes,
            ending,
            done,
        })
    }
}

/// Hears the master.
struct Ear {
    inbox: Option<Inbox>,
    board: Scoreboard,
    number: usize,
    sdk: Arc<Sdk>,
    /// Counts what was lost on the way.
    lane: Option<Arc<Lane>>,
}

impl Ear {
    /// Takes what the master told, if this worker is elected; or if nobody is, as when all leave.
    fn hear(&self) {
        let Some(inbox) = &self.inbox else { return };
        let elected = self.board.elected();
        if elected.is_some_and(|elected| elected != self.number) {
            return;
        }
        let messages = std::iter::from_fn(|| inbox.next());
        for message in messages.take(READ_AT_ONCE) {
            let dropped = match message {
                Ok(received) => {
                    self.sdk.take(&received.told);
                    received.dropped
                }
                Err(_) => 1,
            };
            if let Some(lane) = &self.lane {
                lane.count_dropped(dropped);
            }
        }
    }
}

/// What the thread owns.
struct Thread {
    prepared: Prepared,
    ear: Ear,
    is_ending: watch::Receiver<bool>,
}

impl Thread {
    fn run(self) {
        run(
            "starting the export of the process's story; all of it will be dropped",
            self.serve(),
        );
    }

    /// Each lane for itself: a collector that hangs holds up nothing of the other's.
    async fn serve(self) {
        let Prepared {
            logs,
            spans,
            envelope,
            ..
        } = &self.prepared;
        tokio::join!(
            self.drive(logs.as_ref(), envelope),
            self.drive(spans.as_ref(), envelope)
        );
    }

    async fn drive(&self, side: Option<&(Arc<Lane>, Exporter)>, envelope: &Envelope) {
        let Some((lane, exporter)) = side else { return };
        let mut is_ending = self.is_ending.clone();
        let mut delivery = Delivery::new(exporter, lane.bounds.limit, is_ending.clone());
        let mut told = None;
        loop {
            let _ = timeout(lane.bounds.delay, is_ending.wait_for(|ends| *ends)).await;
            let is_last = *is_ending.borrow();
            self.ear.hear();
            while let Some(batch) = lane.take() {
                let sent = delivery.deliver(envelope.seal(&batch.bytes)).await;
                settle(lane, &batch, sent, &mut told);
            }
            if is_last {
                return;
            }
        }
    }
}

/// Counts a batch, and tells of losses, at most once a minute.
fn settle(
    lane: &Lane,
    batch: &Batch,
    sent: Result<(u64, String), String>,
    told: &mut Option<Instant>,
) {
    let (failed, reason) = match sent {
        Ok(taken) => taken,
        Err(reason) => (batch.items, reason),
    };
    lane.settle(batch, failed);
    if told.is_some_and(|told| told.elapsed() < TELL_INTERVAL) {
        return;
    }
    let lost = lane.untold();
    if lost == 0 {
        return;
    }
    *told = Some(Instant::now());
    let reason = match reason.as_str() {
        "" => "more than the collector takes",
        reason => reason,
    };
    // On standard error alone: what it is about would only lose it, too.
    let _quiet = Context::enter_telemetry_suppressed_scope();
    emit(&Event::Problem {
        doing: match lane.signal {
            Signal::Logs => "exporting the process's log records",
            _ => "exporting the process's spans",
        },
        error: &format_args!("{lost} were lost: {reason}"),
    });
}
