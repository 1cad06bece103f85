//! A time limit that costs nothing while it is being met.
//!
//! A limit on silence moves with every byte. The timer is not moved along: it is let to fire, and
//! armed anew for what is left then. So a busy connection touches the timer wheel once a limit,
//! not once a read.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::task::unconstrained;
use tokio::time::{Sleep, timeout_at};

/// One timer, armed lazily, for limits that move.
#[derive(Default)]
pub(crate) struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Ready when `at` has passed; otherwise the task is woken at `at`, or earlier and in vain.
    /// Never ready without a limit.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if sleep.deadline().into_std() > at {
            sleep.as_mut().reset(at.into());
        }
        loop {
            // The budget of the task does not count: a limit holds for who is busy all the time, too.
            if pin!(unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
            if sleep.deadline().into_std() >= at || Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at.into());
        }
    }
}

/// The instant that lies a limit after another; `None` without a limit.
pub(crate) fn after(start: Instant, limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| start.checked_add(limit))
}

/// The earlier of two deadlines.
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What comes of this, or `None` when the deadline was first.
pub(crate) async fn before<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    match deadline {
        Some(deadline) => timeout_at(deadline.into(), future).await.ok(),
        None => Some(future.await),
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::coop::poll_proceed;

    use super::*;

    fn block_on<F: Future>(test: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(test)
    }

    #[test]
    fn a_moved_limit_fires_at_its_last_place() {
        block_on(async {
            let start = Instant::now();
            let mut deadline = Deadline::default();
            let mut at = start + Duration::from_millis(5);
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                polls += 1;
                if polls == 2 {
                    at = start + Duration::from_millis(20);
                }
                deadline.poll(cx, Some(at))
            })
            .await;
            assert!(start.elapsed() >= Duration::from_millis(20));
        });
    }

    #[test]
    fn a_limit_holds_for_a_task_that_is_busy_all_the_time() {
        block_on(async {
            let start = Instant::now();
            let mut deadline = Deadline::default();
            std::future::poll_fn(|cx| {
                while let Poll::Ready(used) = poll_proceed(cx) {
                    used.made_progress();
                }
                assert!(start.elapsed() < Duration::from_secs(5), "never over");
                deadline.poll(cx, Some(start + Duration::from_millis(5)))
            })
            .await;
        });
    }

    #[test]
    fn an_earlier_limit_moves_the_timer_forward() {
        block_on(async {
            let start = Instant::now();
            let mut deadline = Deadline::default();
            std::future::poll_fn(|cx| {
                let far = deadline.poll(cx, Some(start + Duration::from_secs(3600)));
                assert!(far.is_pending());
                Poll::Ready(())
            })
            .await;
            std::future::poll_fn(|cx| deadline.poll(cx, Some(start + Duration::from_millis(5))))
                .await;
            assert!(start.elapsed() < Duration::from_secs(60));
        });
    }

    #[test]
    fn what_is_waited_for_comes_before_the_deadline_or_not_at_all() {
        block_on(async {
            let soon = Some(Instant::now() + Duration::from_millis(5));
            assert_eq!(before(soon, std::future::ready(7)).await, Some(7));
            assert_eq!(before(soon, std::future::pending::<u8>()).await, None);
            assert_eq!(before(None, std::future::ready(7)).await, Some(7));
        });
    }

    #[test]
    fn no_limit_is_never_over() {
        assert_eq!(after(Instant::now(), None), None);
        let now = Instant::now();
        assert_eq!(earlier(Some(now), None), Some(now));
        assert_eq!(
            earlier(Some(now), Some(now + Duration::from_secs(1))),
            Some(now)
        );
    }
}
