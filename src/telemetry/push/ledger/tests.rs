//! The books as tables: what each turn tells, whoever pushed before.

use std::time::{Duration, UNIX_EPOCH};

use super::super::super::gather::{Buckets, Number, Sink};
use super::super::super::names;
use super::*;
use crate::scoreboard::Exemplar;

/// A second; the proxy starts at the first.
const S: u64 = 1_000_000_000;

/// A board, and when its proxy started.
fn board() -> (Scoreboard, u64) {
    let board = Scoreboard::create(1, 1).unwrap();
    (board, nanoseconds(board.started()))
}

/// At this time: so many exchanges, tunnels open, and durations in two buckets.
fn reading(at: u64, exchanges: u64, open: i64, counts: [u64; 2]) -> Reading {
    let mut reading = Reading::at(at);
    reading.begin(&names::EXCHANGES);
    reading.sample(&[(names::END, "ok"), (names::ERROR, "")], exchanges);
    reading.begin(&names::OPEN_TUNNELS);
    reading.sample(&[], open);
    reading.begin(&names::WAIT_DURATION);
    let exemplar = |before| {
        Some(Exemplar {
            trace: 1,
            span: 2,
            value: if before > S { 3 } else { 30 },
            at: (at - before) / 1_000_000,
        })
    };
    let buckets = Buckets {
        bounds: &[10],
        counts: &counts,
        sum: counts[0] + counts[1] * 100,
        exemplars: &[exemplar(S * 3 / 2), exemplar(S / 2)],
    };
    reading.histogram(&[], &buckets);
    reading
}

/// The points as text: since when, `+` where they are deltas, and the value.
fn told(ledger: &Ledger, reading: &Reading) -> Vec<String> {
    let points = ledger.points(reading);
    points
        .iter()
        .map(|point| {
            let mark = if point.is_delta { "+" } else { "" };
            let value = match &point.value {
                Value::Number(Number::Count(count)) => count.to_string(),
                Value::Number(number) => format!("{number:?}"),
                Value::Histogram(histogram) => format!(
                    "{:?}/{}/{}",
                    histogram.counts,
                    histogram.sum,
                    histogram.exemplars.len()
                ),
            };
            format!("{} {mark}{value}", (point.since - ledger.started) / S)
        })
        .collect()
}

#[test]
fn temporality_decides_since_when_values_are_counted() {
    let cases = [
        (
            Temporality::Cumulative,
            ["0 5", "0 Level(2)", "0 [3, 4]/403/2"],
        ),
        (
            Temporality::Delta,
            ["2 +3", "0 Level(2)", "2 +[2, 2]/202/1"],
        ),
        (
            Temporality::LowMemory,
            ["0 5", "0 Level(2)", "2 +[2, 2]/202/1"],
        ),
    ];
    for (temporality, expected) in cases {
        let (board, start) = board();
        let mut ledger = Ledger::new(temporality, board, None);
        let first = reading(start + 2 * S, 2, 7, [1, 2]);
        told(&ledger, &first);
        ledger.keep(10, first);
        ledger.settle(Told {
            turn: 10,
            at: start + 2 * S,
        });
        let second = reading(start + 3 * S, 5, 2, [3, 4]);
        assert_eq!(told(&ledger, &second), expected, "{temporality:?}");
    }
}

#[test]
fn a_push_that_failed_is_made_up_for_by_the_next() {
    let (board, start) = board();
    let mut ledger = Ledger::new(Temporality::Delta, board, None);
    for (turn, at, exchanges, pushed, expected) in [
        (1, 2, 4, (0, 0), "0 +4"),
        (2, 3, 6, (0, 0), "0 +6"),
        // Another worker told what both of them had read in turn 2, at a time of its own.
        (3, 4, 9, (2, start + 3 * S + S / 2), "3 +3"),
        (4, 5, 9, (2, 0), "3 +3"),
        (5, 6, 9, (4, start + 5 * S), "5 +0"),
    ] {
        let (pushed, told_at) = pushed;
        ledger.settle(Told {
            turn: pushed,
            at: told_at,
        });
        let now = reading(start + at * S, exchanges, 0, [0, 0]);
        assert_eq!(told(&ledger, &now)[0], expected, "turn {turn}");
        ledger.keep(turn, now);
    }
}

#[test]
fn a_worker_that_comes_later_begins_with_what_it_finds() {
    let (board, start) = board();
    let found = reading(start + 8 * S, 100, 0, [5, 5]);
    let ledger = Ledger::new(Temporality::Delta, board, Some(found));
    let now = reading(start + 9 * S, 101, 0, [5, 6]);
    assert_eq!(told(&ledger, &now)[0], "8 +1");
    assert_eq!(told(&ledger, &now)[2], "8 +[0, 1]/100/1");
}

#[test]
fn what_is_less_than_it_was_began_anew() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let (board, start) = board();
        let mut ledger = Ledger::new(temporality, board, None);
        let first = reading(start + 2 * S, 9, 9, [9, 9]);
        told(&ledger, &first);
        ledger.keep(1, first);
        ledger.settle(Told {
            turn: 1,
            at: start + 2 * S,
        });
        for (at, exchanges) in [(3, 4), (4, 6)] {
            let now = reading(start + at * S, exchanges, 1, [9, 9]);
            let since = told(&ledger, &now);
            match temporality {
                Temporality::Cumulative => {
                    assert_eq!(since[0], format!("2 {exchanges}"));
                    let newcomer = Ledger::new(temporality, board, None);
                    assert_eq!(told(&newcomer, &now), since, "known to all");
                    assert_eq!(since[1], "0 Level(1)", "goes up and down");
                    assert_eq!(since[2], "0 [9, 9]/909/2");
                }
                _ => assert_eq!(since[0], format!("{} +{}", at - 1, [4, 2][at as usize - 3])),
            }
            ledger.keep(at, now);
            ledger.settle(Told {
                turn: at,
                at: start + at * S,
            });
        }
    }
}

#[test]
fn a_process_is_counted_since_it_began() {
    let began = |at: u64| UNIX_EPOCH + Duration::from_nanos(at);
    let read = |at, born, seconds: f64| {
        let mut reading = Reading::at(at);
        reading.begin(&names::CPU);
        reading.since(began(born));
        reading.sample(&[(names::PROCESS, "1")], seconds);
        reading
    };
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let (board, start) = board();
        let mut ledger = Ledger::new(temporality, board, None);
        ledger.keep(1, read(start + 4 * S, start + S, 0.5));
        ledger.settle(Told {
            turn: 1,
            at: start + 4 * S,
        });
        let expected = match temporality {
            Temporality::Delta => ["4 +Real(0.25)", "4 +Real(0.75)"],
            _ => ["1 Real(0.75)", "5 Real(0.75)"],
        };
        let same = read(start + 6 * S, start + S, 0.75);
        assert_eq!(told(&ledger, &same), [expected[0]]);
        // Its successor has used more already than was told of the last one.
        let next = read(start + 6 * S, start + 5 * S, 0.75);
        assert_eq!(told(&ledger, &next), [expected[1]]);
    }
}

#[test]
fn what_was_not_told_before_began_since() {
    let (board, start) = board();
    let mut ledger = Ledger::new(Temporality::Cumulative, board, None);
    let first = reading(start + 2 * S, 1, 0, [0, 0]);
    assert_eq!(told(&ledger, &first)[0], "0 1");
    ledger.keep(1, first);
    ledger.settle(Told {
        turn: 1,
        at: start + 2 * S,
    });
    let mut second = reading(start + 3 * S, 1, 0, [0, 0]);
    second.begin(&names::VHOST_FAILED);
    second.sample(&[(names::VHOST, "a")], 4_u64);
    assert_eq!(told(&ledger, &second)[3], "2 4");
    assert_eq!(told(&ledger, &second)[0], "0 1");
}

/// A reading takes a while; what is new meanwhile may be in it or not.
#[test]
fn what_began_during_a_reading_is_told_with_the_next() {
    use Temporality::{Cumulative, Delta};
    let cases = [
        // This worker pushed, so what it had not read was told by nobody.
        (Cumulative, 5, "3 [1]/7/1"),
        // Another one may have told it, and then it is no news of that time.
        (Cumulative, 6, "6 [1]/7/0"),
        (Delta, 5, "5 +[1]/7/0"),
    ];
    for (temporality, pushed, expected) in cases {
        let (board, start) = board();
        let mut ledger = Ledger::new(temporality, board, None);
        let mut first = Reading::at(start + 3 * S);
        first.at = start + 5 * S;
        ledger.keep(1, first);
        ledger.settle(Told {
            turn: 1,
            at: start + pushed * S,
        });
        let mut second = Reading::at(start + 7 * S);
        second.begin(&names::REQUEST_DURATION);
        let exemplar = Exemplar {
            trace: 1,
            span: 2,
            value: 7,
            at: (start + 4 * S) / 1_000_000,
        };
        let buckets = Buckets {
            bounds: &[],
            counts: &[1],
            sum: 7,
            exemplars: &[Some(exemplar)],
        };
        second.histogram(&[], &buckets);
        assert_eq!(
            told(&ledger, &second),
            [expected],
            "{temporality:?} {pushed}"
        );
    }
}

#[test]
fn what_came_back_begins_after_all_that_was_told_of_it() {
    let (board, start) = board();
    let mut ledger = Ledger::new(Temporality::Cumulative, board, None);
    // Another worker told it at 5 s, while this one read already what it pushes itself at 6 s.
    for (turn, began, at, pushed) in [(1, 2, 2, 5), (2, 4, 6, 6)] {
        let mut now = Reading::at(start + began * S);
        now.at = start + at * S;
        ledger.keep(turn, now);
        ledger.settle(Told {
            turn,
            at: start + pushed * S,
        });
    }
    let now = reading(start + 7 * S, 1, 0, [0, 0]);
    assert_eq!(told(&ledger, &now)[0], "5 1");
}

#[test]
fn turns_of_another_configuration_are_settled_as_near_as_can_be() {
    let (board, start) = board();
    let mut ledger = Ledger::new(Temporality::Delta, board, None);
    ledger.keep(10, reading(start + 2 * S, 5, 0, [0, 0]));
    ledger.settle(Told {
        turn: 11,
        at: start + 3 * S,
    });
    let now = reading(start + 4 * S, 9, 0, [0, 0]);
    assert_eq!(told(&ledger, &now)[0], "3 +4");
}
