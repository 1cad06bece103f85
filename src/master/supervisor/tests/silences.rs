//! A worker's heartbeat does not come.

use super::*;

fn judged(workers: usize) -> Terms {
    Terms {
        heartbeat_timeout: Some(Duration::from_secs(8)),
        ..terms(workers)
    }
}

fn pulse(seat: usize, age_millis: u64) -> Event {
    Event::Pulse {
        seat,
        age: Duration::from_millis(age_millis),
    }
}

const fn suspect(seat: usize, is_silent: bool) -> Action {
    Action::Suspect { seat, is_silent }
}

const ADOPT: Action = Adopt { orphan: 0, by: 1 };

/// Both serve; the second beats whenever it is looked, the first has been silent since 0.
fn at(desk: &mut Desk, millis: u64) -> Vec<Action> {
    desk.at(millis, pulse(0, millis));
    desk.at(millis, pulse(1, 0));
    desk.at(millis, Event::Tick)
}

#[test]
fn others_accept_for_one_that_is_silent() {
    let mut desk = Desk::serving(judged(2));
    assert_eq!(desk.due(), Some(4_000));
    assert_eq!(at(&mut desk, 3_999), []);
    assert_eq!(at(&mut desk, 4_000), [suspect(0, true), ADOPT]);
    assert_eq!(desk.due(), Some(4_500), "it is looked at again soon");
    assert_eq!(at(&mut desk, 4_500), []);
}

#[test]
fn a_silent_one_is_looked_at_until_it_is_killed_and_another_comes() {
    let mut desk = Desk::serving(judged(2));
    let mut all = Vec::new();
    for step in 1..=16 {
        all.extend(at(&mut desk, step * 500));
    }
    assert_eq!(all, [suspect(0, true), ADOPT, kill(0, Cause::Hung)]);
    assert_eq!(desk.at(8_100, Event::Tick), [], "once");
    assert_eq!(desk.at(8_200, died(0, 8_200)), [fork(0, 0)]);
    assert_eq!(
        desk.at(8_300, Event::Ready(0)),
        [Release { orphan: 0, by: 1 }]
    );
}

#[test]
fn one_that_comes_back_serves_its_slot_alone_again() {
    let mut desk = Desk::serving(judged(2));
    at(&mut desk, 4_000);
    desk.at(4_400, pulse(0, 100));
    desk.at(4_400, pulse(1, 0));
    assert_eq!(
        desk.at(4_400, Event::Tick),
        [suspect(0, false), Release { orphan: 0, by: 1 }]
    );
    assert_eq!(desk.due(), Some(8_300), "half the limit after its last");
}

#[test]
fn nobody_is_killed_because_the_whole_machine_stood_still() {
    let mut desk = Desk::serving(judged(2));
    at(&mut desk, 1_000);
    desk.at(60_000, pulse(0, 60_000));
    desk.at(60_000, pulse(1, 59_000));
    assert_eq!(desk.at(60_000, Event::Tick), []);
    assert_eq!(desk.due(), Some(62_000));
    assert_eq!(at(&mut desk, 62_000), [suspect(0, true), ADOPT]);
}

#[test]
fn one_that_drains_is_killed_and_one_that_starts_or_flushes_is_not_judged() {
    let mut desk = Desk::serving(judged(1));
    desk.at(0, Event::WantsReplacement(0, Why::Memory));
    desk.at(0, Event::Ready(1));
    let mut all = Vec::new();
    for step in 1..=20 {
        desk.at(step * 500, pulse(1, 0));
        all.extend(desk.at(step * 500, Event::Tick));
    }
    assert_eq!(all, [kill(0, Cause::Hung)]);
    desk.at(10_000, died(0, 10_000));
    desk.at(10_000, Event::WantsReplacement(1, Why::Memory));
    desk.at(10_000, Event::Ready(0));
    desk.at(10_000, Event::Finished(1));
    desk.at(10_000, died(0, 100));
    for step in 20..39 {
        assert_eq!(desk.at(step * 500, Event::Tick), [], "{step}");
    }
}
