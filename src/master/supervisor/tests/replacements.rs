//! A worker asks for its successor.

use super::*;

const MEMORY: fn(usize) -> Event = |seat| Event::WantsReplacement(seat, Why::Memory);

fn replaced(seat: usize) -> Action {
    Action::Replace {
        seat,
        why: Why::Memory,
    }
}

fn leaves(seat: usize) -> Action {
    drain(seat, Why::Memory, None)
}

#[test]
fn the_successor_serves_before_the_old_one_drains() {
    let mut desk = Desk::serving(terms(2));
    assert_eq!(desk.at(0, MEMORY(0)), [fork(2, 0), replaced(0)]);
    assert_eq!(desk.at(1, MEMORY(0)), [], "once is enough");
    assert_eq!(desk.at(5, Event::Ready(2)), [leaves(0)]);
    assert_eq!(desk.due(), None, "as long as it takes");
    assert_eq!(desk.at(9, Event::Finished(0)), []);
    assert_eq!(desk.due(), Some(12_009), "but not to exit");
    assert_eq!(desk.at(10, died(0, 10)), [], "its slot has its successor");
    assert_eq!(
        desk.at(11, died(2, 10)),
        [fork(0, 0), Adopt { orphan: 0, by: 1 }]
    );
}

#[test]
fn one_turn_at_a_time_and_tunnels_hold_up_nobody() {
    let mut desk = Desk::serving(terms(3));
    desk.at(0, MEMORY(0));
    assert_eq!(desk.at(1, MEMORY(1)), []);
    assert_eq!(desk.at(1, MEMORY(2)), []);
    assert_eq!(desk.at(2, Event::Ready(3)), [leaves(0)]);
    assert_eq!(desk.at(3, Event::OnlyTunnels(1)), [], "it is not its turn");
    assert_eq!(desk.at(4, Event::OnlyTunnels(0)), [fork(4, 1), replaced(1)]);
    assert_eq!(desk.at(5, Event::Ready(4)), [leaves(1)]);
    assert_eq!(desk.at(6, died(1, 6)), [fork(1, 2), replaced(2)]);
    assert_eq!(desk.at(7, Event::Ready(1)), [leaves(2)]);
    assert_eq!(desk.at(8, died(2, 8)), []);
    assert_eq!(desk.at(9, died(0, 9)), [], "the one with tunnels");
}

#[test]
fn a_successor_that_dies_costs_a_pause_and_the_old_one_goes_on() {
    let mut desk = Desk::serving(terms(2));
    desk.at(0, MEMORY(0));
    assert_eq!(desk.at(1, could_not_start(2)), []);
    assert_eq!(desk.due(), Some(101));
    assert_eq!(desk.at(101, Event::Tick), [fork(2, 0), replaced(0)]);
    assert_eq!(desk.at(102, MEMORY(1)), []);
    assert_eq!(
        desk.at(110, died(2, 9)),
        [fork(2, 1), replaced(1)],
        "meanwhile it is another's turn"
    );
    assert_eq!(desk.at(111, Event::Ready(2)), [leaves(1)]);
    assert_eq!(desk.at(112, died(1, 112)), []);
    assert_eq!(desk.due(), Some(210), "after the second death in a row");
    assert_eq!(desk.at(210, Event::Tick), [fork(1, 0), replaced(0)]);
    assert_eq!(
        desk.at(10_210, Event::Tick),
        [kill(1, Cause::NotServing)],
        "one that hangs is killed"
    );
    assert_eq!(desk.at(10_211, died(1, 10_001)), []);
    assert_eq!(desk.at(10_311, Event::Tick), [fork(1, 0), replaced(0)]);
}

#[test]
fn an_old_one_that_dies_first_leaves_its_slot_to_the_successor() {
    let mut desk = Desk::serving(terms(2));
    desk.at(0, MEMORY(0));
    assert_eq!(desk.at(1, died(0, 1)), [Adopt { orphan: 0, by: 1 }]);
    let actions = desk.at(2, MEMORY(1));
    assert_eq!(actions, [fork(0, 1), replaced(1)], "the turn is free");
    assert_eq!(desk.at(3, Event::Ready(2)), [Release { orphan: 0, by: 1 }]);
}

#[test]
fn of_three_that_drain_on_one_slot_the_oldest_is_ended() {
    let mut desk = Desk::serving(terms(1));
    let mut serving = 0;
    for (round, successor) in [(1, 1), (2, 2)] {
        desk.at(round * 10, MEMORY(serving));
        let actions = desk.at(round * 10 + 1, Event::Ready(successor));
        assert_eq!(actions, [leaves(serving)]);
        desk.at(round * 10 + 2, Event::OnlyTunnels(serving));
        serving = successor;
    }
    desk.at(30, MEMORY(2));
    let oldest = drain(0, Why::Crowded, Some(Duration::ZERO));
    assert_eq!(desk.at(31, Event::Ready(3)), [leaves(2), oldest]);
    assert_eq!(desk.due(), Some(12_031));
    assert_eq!(desk.at(12_031, Event::Tick), [kill(0, Cause::Overdue)]);
    // It is not reaped yet, and does not count any more.
    desk.at(12_032, Event::OnlyTunnels(2));
    desk.at(12_032, MEMORY(3));
    let next = drain(1, Why::Crowded, Some(Duration::ZERO));
    assert_eq!(desk.at(12_033, Event::Ready(4)), [leaves(3), next]);
}

#[test]
fn a_limit_is_kept_with_a_margin_and_a_stop_reaches_those_that_drain_already() {
    let limited = Terms {
        drain_wait: Some(Duration::from_secs(60)),
        ..terms(1)
    };
    let mut desk = Desk::serving(limited);
    desk.at(0, MEMORY(0));
    let limit = Some(Duration::from_secs(60));
    assert_eq!(desk.at(0, Event::Ready(1)), [drain(0, Why::Memory, limit)]);
    assert_eq!(desk.due(), Some(72_000));
    assert_eq!(desk.at(1, Event::Stop), [Close, stop(0), stop(1)]);
    assert_eq!(desk.due(), Some(42_001));
    assert_eq!(desk.at(2, died(1, 1)), []);
    assert_eq!(desk.at(3, died(0, 1)), [Exit(Verdict::Stopped)]);
    let mut desk = Desk::serving(limited);
    desk.at(0, MEMORY(0));
    desk.at(0, Event::Ready(1));
    assert_eq!(desk.at(72_000, Event::Tick), [kill(0, Cause::Overdue)]);
    assert_eq!(desk.at(72_001, died(0, 1)), []);
}
