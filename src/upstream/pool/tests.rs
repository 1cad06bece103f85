//! Tests of `upstream::pool`.

use super::*;

const IDLE: Duration = Duration::from_secs(4);

type Numbers = Pool<&'static str, u32>;

fn pool(claims: usize) -> Rc<Numbers> {
    Pool::new(Limits {
        claims,
        idle: Some(IDLE),
    })
}

fn claim_now(pool: &Rc<Numbers>, key: &'static str) -> Claim<&'static str, u32> {
    match pool.claim(&key) {
        Turn::Now(claim) => claim,
        Turn::Later(_) => panic!("must wait, expected a claim at once"),
        Turn::Never => panic!("turned away, expected a claim at once"),
    }
}

fn wait(pool: &Rc<Numbers>, key: &'static str) -> oneshot::Receiver<Grant<&'static str, u32>> {
    match pool.claim(&key) {
        Turn::Later(receiver) => receiver,
        Turn::Now(_) => panic!("a claim at once, expected to wait"),
        Turn::Never => panic!("turned away, expected to wait"),
    }
}

/// What a waiter was given: the value, 0 for a new one, nothing while it waits.
fn given(
    receiver: &mut oneshot::Receiver<Grant<&'static str, u32>>,
) -> Option<(u32, Claim<&'static str, u32>)> {
    match receiver.try_recv() {
        Ok(Grant::Kept(value, claim)) => Some((value, claim)),
        Ok(Grant::New(claim)) => Some((0, claim)),
        Err(_) => None,
    }
}

#[test]
fn the_value_put_back_last_is_taken_first_and_by_its_key_only() {
    let (pool, now) = (pool(3), Instant::now());
    for value in [1, 2, 3] {
        claim_now(&pool, "a").keep(value, now);
    }
    assert!(pool.take(&"b", now).is_none());
    let taken: Vec<u32> = std::iter::from_fn(|| pool.take(&"a", now))
        .map(|(value, claim)| {
            mem::forget(claim);
            value
        })
        .collect();
    assert_eq!(taken, [3, 2, 1]);
}

#[test]
fn idle_values_grow_old() {
    let cases = [
        ("fresh", Duration::ZERO, Some(7)),
        (
            "just young enough",
            IDLE - Duration::from_millis(1),
            Some(7),
        ),
        ("at the limit", IDLE, None),
        ("old", IDLE * 2, None),
    ];
    for (case, age, expected) in cases {
        let (pool, now) = (pool(1), Instant::now());
        claim_now(&pool, "a").keep(7, now);
        let taken = pool.take(&"a", now + age).map(|(value, _)| value);
        assert_eq!(taken, expected, "{case}");
    }
}

#[test]
fn the_sweep_drops_old_and_useless_values_and_empty_nodes() {
    let (pool, now) = (pool(3), Instant::now());
    let claims = [
        claim_now(&pool, "a"),
        claim_now(&pool, "a"),
        claim_now(&pool, "a"),
    ];
    for (value, claim) in (1..).zip(claims) {
        claim.keep(value, now + Duration::from_secs(value.into()));
    }
    claim_now(&pool, "b").keep(9, now);
    pool.sweep(now + Duration::from_secs(5), |value| *value != 2);
    assert!(
        !pool.nodes.borrow().contains_key("b"),
        "an empty node stays"
    );
    let at = now + Duration::from_secs(5);
    assert_eq!(pool.take(&"a", at).map(|(value, _)| value), Some(3));
    assert!(pool.take(&"a", at).is_none());
    assert!(pool.nodes.borrow().is_empty());
}

#[test]
fn values_are_not_kept_without_keep_alive() {
    let pool: Rc<Numbers> = Pool::new(Limits {
        claims: 1,
        idle: None,
    });
    claim_now(&pool, "a").keep(1, Instant::now());
    assert!(pool.take(&"a", Instant::now()).is_none());
    assert!(pool.nodes.borrow().is_empty());
}

#[test]
fn an_idle_value_makes_room_for_a_new_one() {
    let (pool, now) = (pool(2), Instant::now());
    let (first, second) = (claim_now(&pool, "a"), claim_now(&pool, "a"));
    first.keep(1, now);
    second.keep(2, now);
    let _third = claim_now(&pool, "a");
    assert_eq!(pool.take(&"a", now).map(|(value, _)| value), Some(2));
    assert!(pool.take(&"a", now).is_none());
}

#[test]
fn waiters_are_served_in_their_order_by_returned_and_by_lost_values() {
    let (pool, now) = (pool(1), Instant::now());
    let claim = claim_now(&pool, "a");
    let (mut first, mut second) = (wait(&pool, "a"), wait(&pool, "a"));
    assert!(given(&mut first).is_none());
    claim.keep(5, now);
    assert!(given(&mut second).is_none());
    let (value, claim) = given(&mut first).expect("the first in the queue is served");
    assert_eq!(value, 5);
    assert!(pool.take(&"a", now).is_none(), "nobody passes the queue");
    drop(claim);
    let (value, claim) = given(&mut second).expect("the second is served");
    assert_eq!(value, 0);
    drop(claim);
    assert!(pool.nodes.borrow().is_empty());
}

#[test]
fn a_waiter_dropped_before_it_is_served_is_passed_over() {
    let pool = pool(1);
    let claim = claim_now(&pool, "a");
    let (first, mut second) = (wait(&pool, "a"), wait(&pool, "a"));
    drop(first);
    drop(claim);
    assert!(given(&mut second).is_some());
}

#[test]
fn a_waiter_dropped_after_it_was_served_passes_on_what_it_was_given() {
    for returned in [true, false] {
        let pool = pool(1);
        let claim = claim_now(&pool, "a");
        let (first, mut second) = (wait(&pool, "a"), wait(&pool, "a"));
        if returned {
            claim.keep(5, Instant::now());
        } else {
            drop(claim);
        }
        assert!(given(&mut second).is_none());
        drop(first);
        assert!(given(&mut second).is_some(), "returned: {returned}");
    }
}

#[test]
fn the_queue_is_bounded_and_those_gone_do_not_count() {
    let pool = pool(1);
    let _claim = claim_now(&pool, "a");
    let mut waiting: Vec<_> = (0..WAITERS_PER_CLAIM).map(|_| wait(&pool, "a")).collect();
    assert!(matches!(pool.claim(&"a"), Turn::Never));
    waiting.remove(3);
    waiting.push(wait(&pool, "a"));
    assert!(matches!(pool.claim(&"a"), Turn::Never));
}

#[test]
fn claims_outlive_the_pool() {
    let pool = pool(2);
    let claim = claim_now(&pool, "a");
    claim_now(&pool, "a").keep(1, Instant::now());
    drop(pool);
    claim.keep(2, Instant::now());
}
