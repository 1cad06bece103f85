//! A new generation takes over, or does not.

use super::*;

fn renew(workers: usize) -> Event {
    Event::Renew {
        number: 2,
        why: Why::Reload,
        terms: terms(workers),
    }
}

fn leaves(seat: usize) -> Action {
    drain(seat, Why::Reload, None)
}

fn gives_up(seat: usize) -> Action {
    drain(seat, Why::Abandoned, None)
}

use Action::{Abandon, Commit};

#[test]
fn the_old_ones_leave_when_all_new_ones_serve() {
    let mut desk = Desk::serving(terms(2));
    assert_eq!(
        desk.at(0, renew(2)),
        [forked(2, 0, 2), forked(3, 1, 2)],
        "all at once"
    );
    assert_eq!(
        desk.at(1, Event::Ready(3)),
        [Adopt { orphan: 0, by: 3 }],
        "it knows sockets that the old ones do not"
    );
    assert_eq!(
        desk.at(2, Event::Ready(2)),
        [Commit, leaves(0), leaves(1), Release { orphan: 0, by: 3 }]
    );
    assert_eq!(desk.at(3, died(0, 3)), []);
    assert_eq!(desk.at(4, died(1, 4)), []);
    assert_eq!(
        desk.at(5, died(2, 5)),
        [forked(0, 0, 2), Adopt { orphan: 0, by: 3 }]
    );
}

#[test]
fn more_workers_have_new_slots_and_fewer_leave_theirs_to_the_others() {
    let mut desk = Desk::serving(terms(1));
    let forks = [forked(1, 0, 2), forked(2, 1, 2), forked(3, 2, 2)];
    assert_eq!(desk.at(0, renew(3)), forks);
    desk.at(1, Event::Ready(1));
    desk.at(1, Event::Ready(2));
    let actions = desk.at(1, Event::Ready(3));
    assert_eq!(actions[..2], [Commit, leaves(0)]);
    desk.at(2, died(0, 2));
    let fewer = Event::Renew {
        number: 3,
        why: Why::Reload,
        terms: terms(1),
    };
    assert_eq!(desk.at(3, fewer), [forked(0, 0, 3)]);
    assert_eq!(
        desk.at(4, Event::Ready(0)),
        [
            Commit,
            leaves(1),
            leaves(2),
            leaves(3),
            Adopt { orphan: 1, by: 0 },
            Adopt { orphan: 2, by: 0 },
        ]
    );
    let again = Event::Renew {
        number: 4,
        why: Why::Reload,
        terms: terms(2),
    };
    desk.at(5, again);
    desk.at(6, Event::Ready(4));
    let actions = desk.at(6, Event::Ready(5));
    assert_eq!(actions[..2], [Commit, leaves(0)]);
    let shared = [Release { orphan: 1, by: 4 }, Adopt { orphan: 2, by: 5 }];
    assert_eq!(actions[2..], shared);
}

#[test]
fn what_cannot_start_is_given_up_and_the_old_ones_go_on() {
    let mut desk = Desk::serving(terms(2));
    desk.at(0, renew(3));
    desk.at(1, Event::Ready(2));
    let actions = desk.at(2, could_not_start(3));
    let expected = [Abandon(Failure::CouldNotStart), gives_up(2), gives_up(4)];
    assert_eq!(actions, expected);
    assert_eq!(desk.at(3, Event::Ready(4)), [], "too late");
    assert_eq!(desk.at(4, died(2, 4)), []);
    assert_eq!(desk.at(5, died(4, 5)), []);
    assert_eq!(desk.due(), None);
    assert_eq!(
        desk.at(6, died(0, 6)),
        [fork(0, 0), Adopt { orphan: 0, by: 1 }]
    );
}

#[test]
fn deaths_while_it_starts_are_made_good_until_it_takes_too_long() {
    let mut desk = Desk::serving(terms(1));
    desk.at(0, renew(1));
    assert_eq!(desk.at(1, died(1, 1)), [forked(1, 0, 2)]);
    assert_eq!(desk.at(2, died(0, 2)), [fork(0, 0)], "of the old ones, too");
    assert_eq!(desk.at(3, died(1, 1)), []);
    assert_eq!(desk.due(), Some(103));
    assert_eq!(desk.at(103, Event::Tick), [forked(1, 0, 2)]);
    desk.at(104, Event::Ready(0));
    assert_eq!(desk.at(10_103, Event::Tick), [kill(1, Cause::NotServing)]);
    desk.at(10_104, died(1, 10_001));
    let late = desk.at(30_000, Event::Tick);
    assert!(late.contains(&Abandon(Failure::TooSlow)), "{late:?}");
}

#[test]
fn a_turn_under_way_ends_with_the_new_generation_and_no_other_begins() {
    let mut desk = Desk::serving(terms(2));
    desk.at(0, Event::WantsReplacement(0, Why::Memory));
    desk.at(1, renew(2));
    assert_eq!(desk.at(2, Event::WantsReplacement(1, Why::Memory)), []);
    desk.at(3, Event::Ready(3));
    let actions = desk.at(4, Event::Ready(4));
    let order = [Commit, leaves(0), leaves(1), leaves(2)];
    assert_eq!(actions[..4], order, "the successor as well");
    assert_eq!(desk.at(5, Event::Ready(2)), []);
    for seat in 0..3 {
        assert_eq!(desk.at(6, died(seat, 6)), []);
    }
}

#[test]
fn a_stop_gives_it_up() {
    let mut desk = Desk::serving(terms(1));
    desk.at(0, renew(1));
    let expected = [Abandon(Failure::Stopped), Close, stop(0), stop(1)];
    assert_eq!(desk.at(1, Event::Stop), expected);
}
