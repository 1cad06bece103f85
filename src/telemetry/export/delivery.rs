//! Getting one message to a collector: packed, sent, repeated within limits.
//!
//! Knows nothing of what is in a message, so all signals are delivered alike.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::watch;
use tokio::time::timeout;

use super::judge::{Verdict, judge};
use super::retry::pause;
use super::transport::Transport;
use crate::config::Exporter;

/// The way of messages to one collector.
pub(in super::super) struct Delivery {
    transport: Transport,
    /// Of one request.
    timeout: Duration,
    /// Of a message with its repetitions.
    limit: Duration,
    is_grpc: bool,
    is_gzip: bool,
    /// Nothing is repeated any more.
    is_ending: watch::Receiver<bool>,
}

impl Delivery {
    /// Not connected yet.
    pub(in super::super) fn new(
        exporter: &Exporter,
        limit: Duration,
        is_ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            transport: Transport::new(exporter),
            timeout: exporter.timeout,
            limit,
            is_grpc: exporter.is_grpc,
            is_gzip: exporter.is_gzip,
            is_ending,
        }
    }

    /// Delivers an encoded request; gives how much of it the collector did not take and what it
    /// says about that, or why it took nothing.
    pub(in super::super) async fn deliver(
        &mut self,
        message: Vec<u8>,
    ) -> Result<(u64, String), String> {
        let began = Instant::now();
        let body = self.pack(message)?;
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
    fn pack(&self, message: Vec<u8>) -> Result<Bytes, String> {
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
}

fn gzip(message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(message.len() / 4), Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}
