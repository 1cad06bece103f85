//! The process's own story as log records: whether and where it is exported.

use std::time::Duration;

use super::super::written::Written;
use super::env::Env;
use super::file;
use super::traces::WrittenQueue;
use super::{ExportQueue, Exporter, Signal, endpoint};

/// How log records are exported.
#[derive(Clone, Debug)]
pub struct Logs {
    /// Where to.
    pub exporter: Exporter,
    /// How records wait.
    pub queue: ExportQueue,
}

/// How they are exported; `None` without an endpoint.
pub(super) fn logs(written: &Written<file::Logs>, env: &mut Env<'_>) -> Option<Logs> {
    let none = file::Logs::default();
    let written = written.as_ref().unwrap_or(&none);
    let queue = WrittenQueue {
        items: &written.queue_size,
        batch: &written.batch_size,
        delay: &written.export_delay,
        limit: &written.export_timeout,
    };
    let queue = queue.or("BLRP", (2048, Duration::from_secs(1)), env);
    let exporter = endpoint::exporter(Signal::Logs, &written.collector, env)?;
    Some(Logs { exporter, queue })
}
