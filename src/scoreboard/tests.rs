//! Seats, books and series in one process.

use std::time::Duration;

use super::*;

#[test]
fn seats_start_on_their_own_cache_line_and_do_not_touch_each_other() {
    let board = Scoreboard::create(2, 3).unwrap();
    assert_eq!(board.cells[0].load(Ordering::Relaxed), MAGIC);
    assert_eq!(board.seats(), MIN_SEATS);
    let [first, second] = [board.seat(0), board.seat(1)];
    for seat in [first, second, board.seat(MIN_SEATS - 1)] {
        assert_eq!(seat.cells.as_ptr().addr() % 64, 0);
    }
    first.add(Counter::LinesLostAtDeath, 3);
    first.shift(Gauge::OpenTunnels, 4);
    second.add(Counter::Connections, 5);
    assert_eq!(first.count(Counter::LinesLostAtDeath), 3);
    assert_eq!(first.level(Gauge::OpenConnections), 0);
    assert_eq!(second.count(Counter::Connections), 5);
    assert_eq!(second.read(Field::State), 0);
}

#[test]
fn more_workers_than_the_minimum_have_room_for_successors_and_those_that_drain() {
    let board = Scoreboard::create(100, 0).unwrap();
    assert_eq!(board.seats(), 400);
    board.seat(399).add(Counter::Tunnels, 1);
}

#[test]
fn a_gauge_goes_down_as_well_as_up() {
    let seat = Seat::detached();
    seat.shift(Gauge::OpenExchanges, 2);
    seat.shift(Gauge::OpenExchanges, -3);
    assert_eq!(seat.level(Gauge::OpenExchanges), -1);
}

fn occupant(logs: usize) -> Occupant {
    Occupant {
        slot: 3,
        generation: 2,
        logs,
    }
}

#[test]
fn a_death_closes_the_books_and_is_counted_once() {
    let seat = Seat::detached();
    seat.occupy(occupant(1));
    seat.name_process(77);
    let life = seat.life();
    assert_eq!((life.pid, life.slot, life.generation), (77, 3, 2));
    assert!(seat.read(Field::Heartbeat) >= seat.read(Field::Started));
    seat.shift(Gauge::OpenConnections, 9);
    seat.add(Counter::Connections, 40);
    seat.add(Counter::Exchanges, 100);
    seat.add(Counter::SpansQueued, 5);
    seat.add(Counter::SpansExported, 3);
    for (counter, count) in [
        (LogCounter::Written, 80),
        (LogCounter::Dropped, 10),
        (LogCounter::Failed, 3),
    ] {
        seat.log(0).add(counter, count);
    }
    let estate = seat.bury();
    assert_eq!((estate.exchanges, estate.connections), (100, 40));
    assert_eq!((estate.lost_lines, estate.lost_spans), (7, 2));
    assert_eq!(estate.open_connections, 9);
    let again = seat.bury();
    assert_eq!((again.lost_lines, again.lost_spans), (0, 0));
    assert_eq!(seat.level(Gauge::OpenConnections), 0);
    assert_eq!(seat.read(Field::State), State::Gone as u64);
    assert_eq!(seat.count(Counter::LinesLostAtDeath), 7);
}

#[test]
fn who_takes_a_used_seat_counts_on_and_owes_no_line_of_those_before_it() {
    let seat = Seat::detached();
    // Logs of the worker, those that are written, lines written in each, lines lost in all.
    let table: [(usize, &[u64], u64); 4] = [
        (1, &[10], 0),
        (3, &[10, 4, 10], 6),
        (0, &[], 0),
        (2, &[7, 9], 4),
    ];
    for (round, (logs, written, lost)) in table.into_iter().enumerate() {
        seat.occupy(occupant(logs));
        seat.add(Counter::Exchanges, 10);
        for (index, lines) in written.iter().enumerate() {
            seat.log(index).add(LogCounter::Written, *lines);
        }
        assert_eq!(seat.life().exchanges, 10, "round {round}");
        assert_eq!(seat.bury().lost_lines, lost, "round {round}");
    }
    assert_eq!(seat.count(Counter::Exchanges), 40);
    assert_eq!(seat.count(Counter::LinesLostAtDeath), 10);
}

#[test]
fn each_key_has_its_series_and_what_finds_no_place_is_counted_as_overflow() {
    let seat = Seat::detached();
    let keys = 300_u64;
    for round in 0..2 {
        for key in 1..=keys {
            seat.time_request(key, Duration::from_millis(round), None);
        }
    }
    let series: Vec<_> = seat.requests().collect();
    assert_eq!(series.len(), 257);
    let total: u64 = series.iter().flat_map(|(_, series)| series.buckets).sum();
    assert_eq!(total, 2 * keys);
    let rest = series.iter().find(|(key, _)| *key == OVERFLOW).unwrap();
    assert_eq!(rest.1.buckets[0], 2 * (keys - 256));
}

#[test]
fn a_bucket_holds_what_is_at_most_its_bound_and_remembers_its_last_trace() {
    let seat = Seat::detached();
    let cases = [
        (5_000_000, 0),
        (5_000_001, 1),
        (10_000_000_000, 13),
        (10_000_000_001, 14),
    ];
    for (nanos, bucket) in cases {
        let trace = u128::from(nanos) << 64 | 7;
        seat.time_request(9, Duration::from_nanos(nanos), Some((trace, 5)));
        let (_, series) = seat.requests().next().unwrap();
        assert_eq!(series.buckets[bucket], 1, "{nanos}");
        let exemplar = series.exemplars[bucket].unwrap();
        let Exemplar {
            trace: kept,
            span,
            value,
            ..
        } = exemplar;
        assert_eq!((kept, span, value), (trace, 5, nanos));
    }
    let (_, mut series) = seat.requests().next().unwrap();
    assert_eq!(series.exemplars.iter().flatten().count(), cases.len());
    let copy = series.clone();
    series.merge(&copy);
    assert_eq!(series.buckets[0], 2);
}

#[test]
fn a_place_changes_hands_with_empty_counts() {
    let visit = Visit {
        status: 503,
        is_failed: true,
        took: Duration::from_secs(60),
        bytes_sent: 5,
    };
    let seat = Seat::detached();
    assert_eq!((seat.vhost_places(), seat.visits(1)), (2, None));
    assert_eq!(seat.rename_vhost(1, "a.test"), 0);
    seat.visit(1, &visit);
    let vhost = seat.visits(1).unwrap();
    assert_eq!(
        (vhost.name.as_str(), vhost.requests(), vhost.failed),
        ("a.test", 1, 1)
    );
    assert_eq!(
        (vhost.classes[5], vhost.buckets[8], vhost.bytes_sent),
        (1, 1, 5)
    );
    assert_eq!(seat.rename_vhost(1, "b"), 1);
    let vhost = seat.visits(1).unwrap();
    assert_eq!(
        (vhost.name.as_str(), vhost.requests(), vhost.sum),
        ("b", 0, 0)
    );
}

#[test]
fn what_the_master_did_is_counted_and_only_used_seats_are_read() {
    let board = Scoreboard::create(2, 0).unwrap();
    assert_eq!(board.used().count(), 0);
    board.seat(1).occupy(occupant(0));
    board.seat(4).occupy(occupant(0));
    board.seat(4).bury();
    let numbers = |seats: &mut dyn Iterator<Item = (usize, Seat)>| -> Vec<usize> {
        seats.map(|(number, _)| number).collect()
    };
    assert_eq!(numbers(&mut board.used()), [1, 4]);
    assert_eq!(numbers(&mut board.living()), [1]);
    board.count_death(Death::Signal);
    board.count_replacement(Replacement::Died);
    board.begin_generation(1);
    board.count_reload(Reload::Refused);
    board.count_reload(Reload::Done);
    board.count_upgrade(Reload::Abandoned);
    assert!(board.configured() >= board.started());
    let deaths = Death::ALL.map(|death| board.deaths(death));
    assert_eq!(deaths, [0, 0, 1, 0]);
    let replacements = Replacement::ALL.map(|why| board.replacements(why));
    assert_eq!(replacements, [0, 0, 0, 0, 1]);
    let reloads = Reload::ALL.map(|result| board.reloads(result));
    assert_eq!(reloads, [1, 1, 0]);
    let upgrades = Reload::ALL.map(|result| board.upgrades(result));
    assert_eq!(upgrades, [0, 0, 1]);
    assert_eq!(board.master(), std::process::id());
    assert_eq!(board.seat(1).life().state, State::Starting);
}

#[test]
fn a_board_of_the_same_layout_is_taken_over_with_its_counts_and_another_is_not() {
    let board = Scoreboard::create(1, 2).unwrap();
    board.seat(63).add(Counter::Tunnels, 5);
    let memory = || board.memory().unwrap().try_clone_to_owned().unwrap();
    let taken = Scoreboard::take_over(memory()).unwrap().unwrap();
    assert_eq!(taken.seat(63).count(Counter::Tunnels), 5);
    taken.seat(63).add(Counter::Tunnels, 1);
    assert_eq!(board.seat(63).count(Counter::Tunnels), 6);
    board.cells[1].store(LAYOUT + 1, Ordering::Relaxed);
    assert!(Scoreboard::take_over(memory()).unwrap().is_none());
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(Scoreboard::take_over(null.into()).unwrap().is_none());
}
