//! Another image goes on with the processes that there are.

use super::*;

fn resumed(desk: &Desk, millis: u64, generation: u64, workers: usize) -> Desk {
    let now = desk.start + Duration::from_millis(millis);
    let text = serde_json::to_string(&desk.supervisor.standings(now)).unwrap();
    let resumed = Resumed {
        generation,
        terms: terms(workers),
        slots: 2,
        has_pulses: true,
        standings: serde_json::from_str(&text).unwrap(),
    };
    Desk {
        supervisor: Supervisor::resume(64, resumed, now),
        start: desk.start,
    }
}

/// A worker that serves, one that drains within a limit, one that starts.
fn busy() -> Desk {
    let limited = Terms {
        drain_wait: Some(Duration::from_secs(60)),
        ..terms(2)
    };
    let mut desk = Desk::serving(limited);
    desk.at(0, Event::WantsReplacement(0, Why::Memory));
    desk.at(0, Event::Ready(2));
    desk.at(0, died(1, 5));
    desk
}

#[test]
fn a_new_image_replaces_all_and_restarts_none_of_the_old_ones() {
    let mut desk = resumed(&busy(), 1_000, 1, 0);
    assert_eq!(desk.at(1_000, Event::Start), [Adopt { orphan: 1, by: 2 }]);
    assert_eq!(
        desk.due(),
        Some(11_000),
        "the one that starts has time anew"
    );
    let renew = Event::Renew {
        number: 5,
        why: Why::Upgrade,
        terms: terms(2),
    };
    assert_eq!(desk.at(1_000, renew), [forked(3, 0, 5), forked(4, 1, 5)]);
    assert_eq!(desk.at(1_001, died(1, 5)), [], "it is not missed");
    desk.at(1_002, Event::Ready(3));
    let actions = desk.at(1_003, Event::Ready(4));
    assert_eq!(actions[..2], [Action::Commit, drain(2, Why::Upgrade, None)]);
    desk.at(1_004, died(2, 5));
    assert_eq!(
        desk.due(),
        Some(72_000),
        "what drained before keeps its limit"
    );
    assert_eq!(desk.at(72_000, Event::Tick), [kill(0, Cause::Overdue)]);
}

#[test]
fn an_image_that_is_back_goes_on_as_it_was() {
    let mut desk = resumed(&busy(), 1_000, 1, 2);
    assert_eq!(desk.at(1_000, Event::Start), [Adopt { orphan: 1, by: 2 }]);
    assert_eq!(
        desk.at(1_001, Event::Ready(1)),
        [Release { orphan: 1, by: 2 }]
    );
    let expected = [fork(2, 0), Adopt { orphan: 0, by: 1 }];
    assert_eq!(desk.at(1_002, died(2, 1_000)), expected);
    assert_eq!(
        desk.at(1_003, could_not_start(2)),
        [],
        "it has served before"
    );
}

#[test]
fn who_misses_a_worker_forks_it_at_once() {
    let mut desk = Desk::serving(terms(2));
    desk.at(0, died(1, 5));
    desk.at(0, died(1, 5));
    let mut desk = resumed(&desk, 10, 1, 2);
    let expected = [fork(1, 1), Adopt { orphan: 1, by: 0 }];
    assert_eq!(desk.at(10, Event::Start), expected);
}
