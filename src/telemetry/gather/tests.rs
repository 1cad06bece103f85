//! How long a walk keeps a runtime busy between two pauses.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::*;
use crate::scoreboard::{Occupant, State, Visit};

/// A sink that costs next to nothing.
struct Count(usize);

impl Sink for Count {
    fn begin(&mut self, _: &'static Metric) {}

    fn sample(&mut self, _: &Pairs<'_>, _: impl Into<Number>) {
        self.0 += 1;
    }

    fn histogram(&mut self, _: &Pairs<'_>, _: &Buckets<'_>) {
        self.0 += 1;
    }
}

/// A board on which all that can be occupied is: so many workers and vhosts in each.
pub(crate) fn crowded(workers: usize, vhosts: usize) -> Source {
    let board = Scoreboard::create(workers, vhosts).unwrap();
    for number in 0..workers {
        let seat = board.seat(number);
        seat.occupy(Occupant {
            slot: number,
            generation: 1,
            logs: 1,
        });
        seat.name_process(std::process::id());
        seat.enter(State::Serving);
        for key in 1..=300 {
            seat.time_request(key << 33 | 200, Duration::from_millis(key), Some((7, 7)));
        }
        for place in 1..=vhosts {
            seat.rename_vhost(place, &format!("vhost-{place}.example.com"));
            let visit = Visit {
                status: 200,
                is_failed: false,
                took: Duration::from_millis(3),
                bytes_sent: 100,
            };
            seat.visit(place, &visit);
        }
    }
    Source {
        board,
        methods: Methods::new(&[]),
        configuration: "c".to_owned(),
    }
}

/// Polls a walk to its end; gives the longest poll and how many there were.
pub(crate) fn pieces(walk: impl Future<Output = ()>) -> (Duration, usize) {
    let mut walk = pin!(walk);
    let mut context = Context::from_waker(Waker::noop());
    let (mut longest, mut count) = (Duration::ZERO, 0);
    loop {
        let began = Instant::now();
        let polled = walk.as_mut().poll(&mut context);
        longest = longest.max(began.elapsed());
        count += 1;
        if polled == Poll::Ready(()) {
            return (longest, count);
        }
    }
}

#[test]
fn a_walk_pauses_often_however_much_there_is() {
    let source = crowded(64, 100);
    let mut count = Count(0);
    let (_, polls) = pieces(gather(&mut count, &source));
    assert!(count.0 > 1_000, "{}", count.0);
    assert!(polls > 400, "{polls}");
}
