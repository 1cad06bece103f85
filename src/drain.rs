//! Telling every task once to finish, and knowing when all have.
//!
//! For one thread: a worker has one runtime on one thread, so a cell and a waker list suffice, and
//! asking whether a drain has begun is a plain load. A watch counts from its making to its drop.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// The hand that gives the signal and waits.
#[derive(Debug)]
pub(crate) struct Drain {
    shared: Rc<Shared>,
}

/// Held by every task that must finish; the drain is over when the last is dropped.
#[derive(Debug)]
pub(crate) struct DrainWatch {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_draining: Cell<bool>,
    watches: Cell<usize>,
    begun: Notify,
    finished: Notify,
}

impl Drain {
    /// A drain and the first watch of it; further ones are clones.
    pub(crate) fn new() -> (Self, DrainWatch) {
        let shared = Rc::new(Shared {
            is_draining: Cell::new(false),
            watches: Cell::new(1),
            begun: Notify::new(),
            finished: Notify::new(),
        });
        let watch = DrainWatch {
            shared: Rc::clone(&shared),
        };
        (Self { shared }, watch)
    }

    /// Gives the signal; at once, and only once.
    pub(crate) fn begin(&self) {
        if !self.shared.is_draining.replace(true) {
            self.shared.begun.notify_waiters();
        }
    }

    /// Waits until every watch is dropped. The caller puts a limit around it.
    pub(crate) async fn finished(&self) {
        loop {
            // Made before the count is read: it hears of a drop from here on.
            let finished = self.shared.finished.notified();
            if self.shared.watches.get() == 0 {
                return;
            }
            finished.await;
        }
    }
}

impl DrainWatch {
    /// Whether the signal was given.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.is_draining.get()
    }

    /// Waits for the signal. Cancel safe.
    pub(crate) async fn begun(&self) {
        // Made before the flag is read: `notify_waiters` reaches every future that exists.
        let begun = self.shared.begun.notified();
        if !self.is_draining() {
            begun.await;
        }
    }
}

impl Clone for DrainWatch {
    fn clone(&self) -> Self {
        self.shared.watches.set(self.shared.watches.get() + 1);
        Self {
            shared: Rc::clone(&self.shared),
        }
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        let left = self.shared.watches.get() - 1;
        self.shared.watches.set(left);
        if left == 0 {
            self.shared.finished.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    fn on_a_worker(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build_local(Default::default())
            .unwrap()
            .block_on(test);
    }

    #[test]
    fn thousands_of_waiters_hear_the_signal_and_the_last_one_ends_the_drain() {
        on_a_worker(async {
            let (drain, watch) = Drain::new();
            let heard = Rc::new(Cell::new(0));
            for _ in 0..5000 {
                let (watch, heard) = (watch.clone(), Rc::clone(&heard));
                tokio::task::spawn_local(async move {
                    watch.begun().await;
                    heard.set(heard.get() + 1);
                });
            }
            yield_now().await;
            assert_eq!(heard.get(), 0);
            assert!(!watch.is_draining());
            drain.begin();
            drain.begin();
            assert!(watch.is_draining());
            drop(watch);
            timeout(Duration::from_secs(5), drain.finished())
                .await
                .unwrap();
            assert_eq!(heard.get(), 5000);
        });
    }

    #[test]
    fn a_watch_that_comes_late_is_told_at_once_and_still_waited_for() {
        on_a_worker(async {
            let (drain, watch) = Drain::new();
            drain.begin();
            let late = watch.clone();
            drop(watch);
            late.begun().await;
            assert!(
                timeout(Duration::from_millis(1), drain.finished())
                    .await
                    .is_err()
            );
            drop(late);
            drain.finished().await;
        });
    }

    #[test]
    fn a_wait_given_up_loses_no_signal() {
        on_a_worker(async {
            let (drain, watch) = Drain::new();
            assert!(
                timeout(Duration::from_millis(1), watch.begun())
                    .await
                    .is_err()
            );
            drain.begin();
            watch.begun().await;
        });
    }
}
