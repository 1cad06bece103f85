//! Telling every task once to finish, and knowing when all have.
//!
//! For one thread: a worker has one runtime on one thread, so a cell and a waker list suffice, and
//! asking whether a drain has begun is a plain load. A watch counts from its making to its drop. One
//! that may last, as a tunnel's, says so: who waits can tell when nothing else is left.

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
    may_last: Cell<bool>,
}

#[derive(Debug)]
struct Shared {
    is_draining: Cell<bool>,
    watches: Cell<usize>,
    /// Those of them that may last.
    lasting: Cell<usize>,
    begun: Notify,
    /// Less is left than before.
    progress: Notify,
}

impl Drain {
    /// A drain and the first watch of it; further ones are clones.
    pub(crate) fn new() -> (Self, DrainWatch) {
        let shared = Rc::new(Shared {
            is_draining: Cell::new(false),
            watches: Cell::new(1),
            lasting: Cell::new(0),
            begun: Notify::new(),
            progress: Notify::new(),
        });
        let watch = DrainWatch {
            shared: Rc::clone(&shared),
            may_last: Cell::new(false),
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
        self.until(|shared| shared.watches.get() == 0).await;
    }

    /// Waits until every watch that is left may last, or none is left.
    pub(crate) async fn only_lasting(&self) {
        self.until(|shared| shared.watches.get() == shared.lasting.get())
            .await;
    }

    async fn until(&self, is_so: impl Fn(&Shared) -> bool) {
        loop {
            // Made before the counts are read: it hears of a change from here on.
            let progress = self.shared.progress.notified();
            if is_so(&self.shared) {
                return;
            }
            progress.await;
        }
    }
}

impl Shared {
    /// Wakes who waits; nobody does before the drain.
    fn tell_progress(&self) {
        if self.is_draining.get() && self.watches.get() == self.lasting.get() {
            self.progress.notify_waiters();
        }
    }
}

impl DrainWatch {
    /// Whether the signal was given.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.is_draining.get()
    }

    /// Says that what is watched may last for ever, as a tunnel does.
    pub(crate) fn may_last(&self) {
        if !self.may_last.replace(true) {
            self.shared.lasting.set(self.shared.lasting.get() + 1);
            self.shared.tell_progress();
        }
    }

    /// Whether that was said.
    pub(crate) fn lasts(&self) -> bool {
        self.may_last.get()
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
            may_last: Cell::new(false),
        }
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        self.shared.watches.set(self.shared.watches.get() - 1);
        if self.may_last.get() {
            self.shared.lasting.set(self.shared.lasting.get() - 1);
        }
        self.shared.tell_progress();
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

    #[test]
    fn what_may_last_is_told_apart_until_it_ends_as_well() {
        on_a_worker(async {
            let (drain, tunnel) = Drain::new();
            let request = tunnel.clone();
            tunnel.may_last();
            tunnel.may_last();
            drain.begin();
            let soon = Duration::from_millis(1);
            assert!(timeout(soon, drain.only_lasting()).await.is_err());
            let waiting = async {
                drain.only_lasting().await;
                assert!(timeout(soon, drain.finished()).await.is_err());
            };
            let ending = async {
                yield_now().await;
                drop(request);
            };
            tokio::join!(waiting, ending);
            drop(tunnel);
            drain.only_lasting().await;
            drain.finished().await;
        });
    }
}
