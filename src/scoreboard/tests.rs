//! Slots, books and series in one process.

use super::*;

#[test]
fn slots_start_on_their_own_cache_line_and_do_not_touch_each_other() {
    let board = Scoreboard::create(2, 3).unwrap();
    assert_eq!(board.cells[0].load(Ordering::Relaxed), MAGIC);
    assert_eq!(board.cells[2].load(Ordering::Relaxed), MIN_SLOTS as u64);
    let [first, second] = [board.slot(0), board.slot(1)];
    for slot in [first, second, board.slot(MIN_SLOTS - 1)] {
        assert_eq!(slot.cells.as_ptr().addr() % 64, 0);
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
fn more_workers_than_the_minimum_have_room_to_double() {
    let board = Scoreboard::create(100, 0).unwrap();
    assert_eq!(board.cells[2].load(Ordering::Relaxed), 200);
    board.slot(199).add(Counter::Tunnels, 1);
}

#[test]
fn a_gauge_goes_down_as_well_as_up() {
    let slot = Slot::detached();
    slot.shift(Gauge::OpenExchanges, 2);
    slot.shift(Gauge::OpenExchanges, -3);
    assert_eq!(slot.level(Gauge::OpenExchanges), -1);
}

#[test]
fn a_death_closes_the_books_and_is_counted_once() {
    let slot = Slot::detached();
    slot.occupy(77);
    assert_eq!(slot.read(Field::Pid), 77);
    assert!(slot.read(Field::Heartbeat) >= slot.read(Field::Started));
    slot.shift(Gauge::OpenConnections, 9);
    slot.add(Counter::Exchanges, 100);
    for (counter, count) in [
        (LogCounter::Written, 80),
        (LogCounter::Dropped, 10),
        (LogCounter::Failed, 3),
    ] {
        slot.log(0).add(counter, count);
    }
    assert_eq!(slot.bury(1), 7);
    assert_eq!(slot.bury(1), 0);
    assert_eq!(slot.level(Gauge::OpenConnections), 0);
    assert_eq!(slot.read(Field::State), State::Gone as u64);
    assert_eq!(slot.count(Counter::LinesLostAtDeath), 7);
    slot.add(Counter::Exchanges, 5);
    assert_eq!(slot.bury(0), 0, "nothing is owed while the log is off");
    assert_eq!(slot.bury(1), 5);
}

#[test]
fn each_key_has_its_series_and_what_finds_no_place_is_counted_as_overflow() {
    let slot = Slot::detached();
    let keys = 300_u64;
    for round in 0..2 {
        for key in 1..=keys {
            slot.time_request(key, Duration::from_millis(round), None);
        }
    }
    let series: Vec<_> = slot.requests().collect();
    assert_eq!(series.len(), 257);
    let total: u64 = series.iter().flat_map(|(_, series)| series.buckets).sum();
    assert_eq!(total, 2 * keys);
    let rest = series.iter().find(|(key, _)| *key == OVERFLOW).unwrap();
    assert_eq!(rest.1.buckets[0], 2 * (keys - 256));
}

#[test]
fn a_bucket_holds_what_is_at_most_its_bound_and_remembers_its_last_trace() {
    let slot = Slot::detached();
    let cases = [
        (5_000_000, 0),
        (5_000_001, 1),
        (10_000_000_000, 13),
        (10_000_000_001, 14),
    ];
    for (nanos, bucket) in cases {
        let trace = u128::from(nanos) << 64 | 7;
        slot.time_request(9, Duration::from_nanos(nanos), Some((trace, 5)));
        let (_, series) = slot.requests().next().unwrap();
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
    let (_, mut series) = slot.requests().next().unwrap();
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
    let slot = Slot::detached();
    assert_eq!((slot.vhost_places(), slot.visits(1)), (2, None));
    assert_eq!(slot.rename_vhost(1, "a.test"), 0);
    slot.visit(1, &visit);
    let vhost = slot.visits(1).unwrap();
    assert_eq!(
        (vhost.name.as_str(), vhost.requests(), vhost.failed),
        ("a.test", 1, 1)
    );
    assert_eq!(
        (vhost.classes[5], vhost.buckets[8], vhost.bytes_sent),
        (1, 1, 5)
    );
    assert_eq!(slot.rename_vhost(1, "b"), 1);
    let vhost = slot.visits(1).unwrap();
    assert_eq!(
        (vhost.name.as_str(), vhost.requests(), vhost.sum),
        ("b", 0, 0)
    );
}

#[test]
fn deaths_are_counted_by_reason_and_only_used_slots_are_read() {
    let board = Scoreboard::create(2, 0).unwrap();
    assert_eq!(board.used().count(), 0);
    board.slot(1).occupy(5);
    let used: Vec<_> = board.used().map(|(number, _)| number).collect();
    assert_eq!(used, [1]);
    board.count_death(Death::Signal);
    assert_eq!(
        (board.deaths(Death::Signal), board.deaths(Death::Left)),
        (1, 0)
    );
    assert_eq!(board.master(), std::process::id());
    assert_eq!(board.slot(1).life().state, State::Starting);
}
