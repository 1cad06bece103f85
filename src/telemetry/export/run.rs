//! Running what a thread of export does, on a runtime of its own.

use std::future::Future;

use super::super::events::{Event, emit};

/// Runs it to its end on this thread. `starting` says what comes to nothing when no runtime can be had.
pub(in super::super) fn run(starting: &'static str, serve: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(serve);
            // A resolver that hangs must not hold up the end of the worker.
            runtime.shutdown_background();
        }
        Err(error) => emit(&Event::Problem {
            doing: starting,
            error: &error,
        }),
    }
}
