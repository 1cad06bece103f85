//! A task that ends with its owner.

use tokio::task::{JoinError, JoinHandle};

/// A local task; dropping this ends it. Must be made within a local runtime.
#[derive(Debug)]
pub(super) struct Task<T>(JoinHandle<T>);

impl<T: 'static> Task<T> {
    /// Starts a task.
    pub(super) fn spawn(future: impl Future<Output = T> + 'static) -> Self {
        Self(tokio::task::spawn_local(future))
    }

    /// Waits for its end. An error is a panic within it.
    pub(super) async fn ended(&mut self) -> Result<T, JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
