//! The table: what happened before, the event, what follows.

mod handovers;
mod renewals;
mod replacements;
mod silences;

use super::*;

const WAIT: Duration = Duration::from_secs(30);

fn terms(workers: usize) -> Terms {
    Terms {
        workers,
        graceful_wait: WAIT,
        drain_wait: None,
        heartbeat_timeout: None,
    }
}

/// A supervisor and its clock, in milliseconds from an arbitrary start.
struct Desk {
    supervisor: Supervisor,
    start: Instant,
}

impl Desk {
    fn of(terms: Terms) -> Self {
        Self {
            supervisor: Supervisor::new(64, terms),
            start: Instant::now(),
        }
    }

    fn new(workers: usize) -> Self {
        Self::of(terms(workers))
    }

    /// All workers forked and ready at 0, each in the seat of its slot's number.
    fn serving(terms: Terms) -> Self {
        let mut desk = Self::of(terms);
        desk.at(0, Event::Start);
        for seat in 0..terms.workers {
            desk.at(0, Event::Ready(seat));
        }
        desk
    }

    fn at(&mut self, millis: u64, event: Event) -> Vec<Action> {
        let now = self.start + Duration::from_millis(millis);
        self.supervisor.step(event, now)
    }

    fn due(&self) -> Option<u128> {
        let deadline = self.supervisor.deadline()?;
        Some((deadline - self.start).as_millis())
    }
}

fn died(seat: usize, lived_millis: u64) -> Event {
    Event::Died {
        seat,
        lived: Duration::from_millis(lived_millis),
        could_not_start: false,
    }
}

fn could_not_start(seat: usize) -> Event {
    Event::Died {
        seat,
        lived: Duration::ZERO,
        could_not_start: true,
    }
}

fn fork(seat: usize, slot: usize) -> Action {
    forked(seat, slot, 1)
}

fn forked(seat: usize, slot: usize, generation: u64) -> Action {
    Action::Fork {
        seat,
        slot,
        generation,
    }
}

fn kill(seat: usize, cause: Cause) -> Action {
    Action::Kill { seat, cause }
}

fn drain(seat: usize, why: Why, limit: Option<Duration>) -> Action {
    Action::Drain { seat, why, limit }
}

fn stop(seat: usize) -> Action {
    drain(seat, Why::Stop, Some(WAIT))
}

use Action::{Adopt, Close, Exit, Release};

/// What happened before with two workers, what happens now, what follows.
type Case<'a> = (&'a str, &'a [Event], Event, &'a [Action]);

fn check(cases: &[Case<'_>]) {
    for (case, before, event, expected) in cases {
        let mut desk = Desk::new(2);
        for &event in *before {
            desk.at(0, event);
        }
        assert_eq!(&desk.at(0, *event), expected, "{case}");
    }
}

const BOTH_SERVE: [Event; 3] = [Event::Start, Event::Ready(0), Event::Ready(1)];

#[test]
fn a_slot_without_a_worker_is_served_by_the_other() {
    let adopt_0 = Adopt { orphan: 0, by: 1 };
    let release_0 = Release { orphan: 0, by: 1 };
    check(&[
        ("start", &[], Event::Start, &[fork(0, 0), fork(1, 1)]),
        (
            "the first to be ready serves for those that are not",
            &[Event::Start],
            Event::Ready(1),
            &[adopt_0],
        ),
        (
            "the last to be ready takes its slot back",
            &[Event::Start, Event::Ready(1)],
            Event::Ready(0),
            &[release_0],
        ),
        (
            "ready twice is heard once",
            &BOTH_SERVE,
            Event::Ready(0),
            &[],
        ),
        (
            "a death: the next worker comes at once, the other adopts meanwhile",
            &BOTH_SERVE,
            died(0, 60_000),
            &[fork(0, 0), adopt_0],
        ),
        (
            "a death while the other starts: nobody can adopt",
            &[Event::Start],
            died(0, 5),
            &[fork(0, 0)],
        ),
        (
            "the second death in a row waits",
            &[Event::Start, Event::Ready(1), died(0, 5)],
            died(0, 5),
            &[],
        ),
        ("nobody in that seat", &BOTH_SERVE, died(7, 5), &[]),
    ]);
}

#[test]
fn each_way_to_an_end_is_followed() {
    let adopt_0 = Adopt { orphan: 0, by: 1 };
    check(&[
        (
            "a worker that cannot start before any served ends everything",
            &[Event::Start],
            could_not_start(0),
            &[kill(1, Cause::Stop)],
        ),
        (
            "... and the master when the others are gone",
            &[Event::Start, could_not_start(0)],
            died(1, 5),
            &[Exit(Verdict::Failed)],
        ),
        (
            "later it is one death among others",
            &BOTH_SERVE,
            could_not_start(0),
            &[fork(0, 0), adopt_0],
        ),
        ("stop", &BOTH_SERVE, Event::Stop, &[Close, stop(0), stop(1)]),
        (
            "stop twice",
            &[Event::Start, Event::Ready(0), Event::Stop],
            Event::Stop,
            &[kill(0, Cause::Stop), kill(1, Cause::Stop)],
        ),
    ]);
}

#[test]
fn the_pause_grows_with_each_short_life_up_to_its_maximum() {
    let mut desk = Desk::new(1);
    desk.at(0, Event::Start);
    let pauses = [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000];
    let mut now = 0;
    for pause in pauses {
        let actions = desk.at(now, died(0, 50));
        if pause == 0 {
            assert_eq!(actions, [fork(0, 0)]);
            continue;
        }
        assert_eq!(actions, []);
        assert_eq!(desk.due(), Some(u128::from(now + pause)));
        assert_eq!(desk.at(now + pause - 1, Event::Tick), []);
        now += pause;
        assert_eq!(desk.at(now, Event::Tick), [fork(0, 0)]);
    }
    desk.at(now, Event::Ready(0));
    assert_eq!(desk.at(now, died(0, 10_000)), [fork(0, 0)], "a long life");
    assert_eq!(desk.at(now, died(0, 10)), [], "and a short one again");
    assert_eq!(desk.due(), Some(u128::from(now + 100)));
}

#[test]
fn a_worker_that_does_not_serve_in_time_is_killed_once_and_replaced() {
    let mut desk = Desk::new(1);
    desk.at(0, Event::Start);
    assert_eq!(desk.due(), Some(10_000));
    assert_eq!(desk.at(9_999, Event::Tick), []);
    assert_eq!(desk.at(10_000, Event::Tick), [kill(0, Cause::NotServing)]);
    assert_eq!(desk.due(), None);
    assert_eq!(desk.at(20_000, Event::Tick), []);
    assert_eq!(desk.at(20_000, Event::Ready(0)), [], "too late");
    assert_eq!(desk.at(20_000, died(0, 9_000)), [fork(0, 0)]);
}

#[test]
fn a_stop_ends_when_the_last_worker_has_left() {
    let mut desk = Desk::serving(terms(3));
    desk.at(0, died(1, 5));
    desk.at(0, died(1, 5));
    assert_eq!(desk.due(), Some(100), "one slot pauses");
    assert_eq!(desk.at(10, Event::Stop), [Close, stop(0), stop(2)]);
    assert_eq!(desk.at(110, Event::Tick), [], "and starts no more");
    assert_eq!(desk.at(200, Event::Finished(0)), []);
    assert_eq!(desk.at(200, died(0, 200)), []);
    assert_eq!(desk.at(300, died(2, 300)), [Exit(Verdict::Stopped)]);
}

#[test]
fn a_stop_without_any_worker_ends_at_once() {
    let mut desk = Desk::new(1);
    desk.at(0, Event::Start);
    desk.at(0, died(0, 5));
    desk.at(0, died(0, 5));
    assert_eq!(desk.at(10, Event::Stop), [Close, Exit(Verdict::Stopped)]);
}

#[test]
fn workers_that_overstay_a_stop_are_killed_and_it_still_counts_as_graceful() {
    let mut desk = Desk::serving(terms(1));
    desk.at(0, Event::Stop);
    assert_eq!(desk.due(), Some(42_000));
    assert_eq!(desk.at(42_000, Event::Tick), [kill(0, Cause::Stop)]);
    assert_eq!(desk.at(42_001, died(0, 1)), [Exit(Verdict::Stopped)]);
}

#[test]
fn a_worker_that_cannot_even_be_killed_does_not_hold_the_master() {
    let mut desk = Desk::serving(terms(1));
    desk.at(0, Event::Stop);
    assert_eq!(desk.at(5, Event::Stop), [kill(0, Cause::Stop)]);
    assert_eq!(desk.at(6, Event::Stop), [], "a third one");
    assert_eq!(desk.due(), Some(2_005));
    assert_eq!(desk.at(2_005, Event::Tick), [Exit(Verdict::Failed)]);
}

#[test]
fn without_a_free_seat_nobody_is_forked_until_one_leaves() {
    let mut desk = Desk {
        supervisor: Supervisor::new(1, terms(2)),
        start: Instant::now(),
    };
    assert_eq!(desk.at(0, Event::Start), [fork(0, 0)]);
    assert_eq!(desk.due(), Some(100));
    assert_eq!(desk.at(100, Event::Tick), []);
    assert_eq!(desk.at(150, died(0, 50)), [fork(0, 0)]);
    assert_eq!(desk.due(), Some(200));
}
