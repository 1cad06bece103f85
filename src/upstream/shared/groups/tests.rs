//! Connections are numbers here, and those above 100 are closed.

use std::time::Duration;

use super::*;

type Asked = Turn<&'static str, u32>;

fn groups(claims: usize, idle: Option<Duration>) -> Rc<Groups<&'static str, u32>> {
    Groups::new(Limits { claims, idle }, |value| *value < 100)
}

fn kept(claims: usize) -> Rc<Groups<&'static str, u32>> {
    groups(claims, Some(Duration::from_secs(4)))
}

fn opening(turn: Asked) -> Opening<&'static str, u32> {
    match turn {
        Turn::Now(Grant::Open(opening)) => opening,
        Turn::Now(Grant::Stream(lease)) => panic!("a stream on {}", lease.value),
        Turn::Later(_) => panic!("a wait"),
        Turn::Never => panic!("turned away"),
    }
}

fn lease(turn: Asked) -> Lease<&'static str, u32> {
    match turn {
        Turn::Now(Grant::Stream(lease)) => lease,
        Turn::Now(Grant::Open(_)) => panic!("a further connection"),
        Turn::Later(_) => panic!("a wait"),
        Turn::Never => panic!("turned away"),
    }
}

fn wait(turn: Asked) -> oneshot::Receiver<Grant<&'static str, u32>> {
    match turn {
        Turn::Later(wait) => wait,
        Turn::Now(_) => panic!("at once"),
        Turn::Never => panic!("turned away"),
    }
}

#[test]
fn streams_share_a_connection_until_it_is_full() {
    let groups = kept(2);
    let opened = opening(groups.ask(&"a")).opened(1, Load::new(2));
    let (first, _place) = opened.unwrap();
    let second = lease(groups.ask(&"a"));
    assert_eq!((first.value, second.value), (1, 1));
    let (third, _other) = opening(groups.ask(&"a")).opened(2, Load::new(1)).unwrap();
    assert_eq!(third.value, 2);
    let mut wait = wait(groups.ask(&"a"));
    assert!(wait.try_recv().is_err());
    drop(second);
    let Ok(Grant::Stream(fourth)) = wait.try_recv() else {
        panic!("the place of the second goes to the one who waits")
    };
    assert_eq!(fourth.value, 1);
}

#[test]
fn all_wait_for_the_one_who_connects_and_the_next_tries_where_he_fails() {
    let groups = kept(8);
    let first = opening(groups.ask(&"a"));
    let mut waits: Vec<_> = (0..3).map(|_| wait(groups.ask(&"a"))).collect();
    assert!(groups.is_opening(&"a"));
    drop(first);
    let Ok(Grant::Open(second)) = waits[0].try_recv() else {
        panic!("the next may try")
    };
    assert!(waits[1].try_recv().is_err());
    let (_first, _place) = second.opened(1, Load::new(10)).unwrap();
    for wait in &mut waits[1..] {
        assert!(matches!(wait.try_recv(), Ok(Grant::Stream(_))));
    }
}

#[test]
fn more_than_one_connection_is_opened_for_very_many() {
    let groups = kept(2);
    let _first = opening(groups.ask(&"a"));
    let _waits: Vec<_> = (0..EXPECTED_STREAMS - 1)
        .map(|_| wait(groups.ask(&"a")))
        .collect();
    // As many as one is expected to carry wait; the next is one too many for it.
    let _last = wait(groups.ask(&"a"));
    let _second = opening(groups.ask(&"a"));
    let rest: Vec<_> = (0..2 * WAITERS_PER_CLAIM)
        .map(|_| groups.ask(&"a"))
        .collect();
    assert!(rest.iter().any(|turn| matches!(turn, Turn::Never)));
}

#[test]
fn what_is_closed_or_retired_gets_no_further_stream() {
    let groups = kept(8);
    let (first, place) = opening(groups.ask(&"a")).opened(101, Load::new(9)).unwrap();
    let (second, _place) = opening(groups.ask(&"a")).opened(1, Load::new(9)).unwrap();
    second.retire();
    let (third, _place) = opening(groups.ask(&"a")).opened(2, Load::new(9)).unwrap();
    assert_eq!((first.value, second.value, third.value), (101, 1, 2));
    assert_eq!(lease(groups.ask(&"a")).value, 2);
    drop((first, place));
}

#[test]
fn a_closing_connection_keeps_its_place_until_it_is_closed() {
    let groups = kept(1);
    let (first, place) = opening(groups.ask(&"a")).opened(101, Load::new(9)).unwrap();
    let mut wait = wait(groups.ask(&"a"));
    drop(first);
    assert!(wait.try_recv().is_err());
    drop(place);
    assert!(matches!(wait.try_recv(), Ok(Grant::Open(_))));
}

#[test]
fn a_rise_of_the_limit_serves_those_who_wait() {
    let groups = kept(1);
    let load = Load::new(1);
    let (_first, place) = opening(groups.ask(&"a"))
        .opened(1, Rc::clone(&load))
        .unwrap();
    let mut wait = wait(groups.ask(&"a"));
    assert!(!load.allow(1));
    assert!(load.allow(2));
    place.serve();
    assert!(matches!(wait.try_recv(), Ok(Grant::Stream(_))));
}

#[test]
fn idle_connections_go_and_nodes_with_them() {
    let groups = kept(1);
    let (first, place) = opening(groups.ask(&"a")).opened(1, Load::new(9)).unwrap();
    let soon = Instant::now() + Duration::from_secs(60);
    groups.sweep(soon);
    assert_eq!(lease(groups.ask(&"a")).value, 1, "one in use stays");
    drop(first);
    groups.sweep(Instant::now());
    assert_eq!(lease(groups.ask(&"a")).value, 1, "a young one stays");
    groups.sweep(soon);
    drop(wait(groups.ask(&"a")));
    drop(place);
    assert!(groups.nodes.borrow().is_empty());
}

#[test]
fn nothing_idle_is_kept_where_keeping_is_off() {
    let groups = groups(1, None);
    let (first, place) = opening(groups.ask(&"a")).opened(1, Load::new(9)).unwrap();
    drop(lease(groups.ask(&"a")));
    drop(lease(groups.ask(&"a")));
    drop(first);
    drop(place);
    drop(opening(groups.ask(&"a")));
    assert!(groups.nodes.borrow().is_empty());
}
