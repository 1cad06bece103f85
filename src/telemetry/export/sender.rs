//! The thread that sends batches: one at a time, repeated within limits, and counted.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::super::events::{Event, emit};
use super::super::otlp::Envelope;
use super::judge::{Verdict, judge};
use super::retry::pause;
use super::transport::Transport;
use super::{Batch, Shared};
use crate::config::Traces;
use crate::scoreboard::Counter;

/// Losses are told at most so often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread owns.
pub(super) struct Sender {
    transport: Transport,
    envelope: Envelope,
    /// Of one request.
    timeout: Duration,
    /// Of a batch with its repetitions.
    limit: Duration,
    is_grpc: bool,
    is_gzip: bool,
    shared: Arc<Shared>,
    is_ending: watch::Receiver<bool>,
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
            transport: Transport::new(&traces.exporter),
            envelope,
            timeout: traces.exporter.timeout,
            limit: traces.queue.limit,
            is_grpc: traces.exporter.is_grpc,
            is_gzip: traces.exporter.is_gzip,
            shared,
            is_ending,
            told: None,
        }
    }

    /// Sends batches until nobody gives any more.
    pub(super) fn run(self, batches: mpsc::Receiver<Batch>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(self.serve(batches));
                // A resolver that hangs must not hold up the end of the worker.
                runtime.shutdown_background();
            }
            Err(error) => emit(&Event::Problem {
                doing: "starting the export of spans; all of them will be dropped",
                error: &error,
            }),
        }
    }

    async fn serve(mut self, mut batches: mpsc::Receiver<Batch>) {
        while let Some(batch) = batches.recv().await {
            let sent = self.deliver(&batch).await;
            self.count(&batch, sent);
        }
    }

    /// Sends one batch; gives the spans that the collector did not take, or why it took none.
    async fn deliver(&mut self, batch: &Batch) -> Result<(u64, String), String> {
        let began = Instant::now();
        let body = self.pack(batch)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let (after, reason) = match self.send(body.clone()).await {
                Verdict::Taken { rejected, reason } => return Ok((rejected, reason)),
                Verdict::Refused { reason } => return Err(reason),
                Verdict::Repeat { after, reason } => (after, reason),
            };
            let left = self.limit.saturating_sub(began.elapsed());
            let pause = pause(tries, after, left, fastrand::f64());
            match pause.filter(|_| !*self.is_ending.borrow()) {
                None => return Err(reason),
                // Cut short by the end of the worker: then this is the last try.
                Some(pause) => {
                    let _ = timeout(pause, self.is_ending.wait_for(|ends| *ends)).await;
                }
            }
        }
    }

    async fn send(&mut self, body: Bytes) -> Verdict {
        let sent = timeout(self.timeout, self.transport.send(body)).await;
        let reason = match sent {
            Ok(Ok(reply)) => return judge(&reply, self.is_grpc, SystemTime::now()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        self.transport.disconnect();
        Verdict::Repeat {
            after: None,
            reason,
        }
    }

    /// The body of the request.
    fn pack(&self, batch: &Batch) -> Result<Bytes, String> {
        let message = self.envelope.seal(&batch.bytes);
        let message = match self.is_gzip {
            true => gzip(&message).map_err(|error| error.to_string())?,
            false => message,
        };
        if !self.is_grpc {
            return Ok(message.into());
        }
        // gRPC over HTTP/2, Length-Prefixed-Message: whether it is compressed, and its length.
        let mut framed = Vec::with_capacity(message.len() + 5);
        framed.push(u8::from(self.is_gzip));
        let length = u32::try_from(message.len()).map_err(|error| error.to_string())?;
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&message);
        Ok(framed.into())
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
            .slot
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

fn gzip(message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}
