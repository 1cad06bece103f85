//! Tests of `upstream::resolve`.

use std::cell::{Cell, RefCell};

use tokio::runtime::{Builder, LocalOptions};

use super::*;

/// Short ages, so that no test waits for long.
const BRIEF: Ages = Ages {
    good: Duration::from_millis(30),
    failed: Duration::from_millis(30),
    stale: Duration::from_secs(60),
    patience: Duration::from_millis(20),
};

thread_local! {
    /// Look-ups made by this test.
    static ASKED: Cell<usize> = const { Cell::new(0) };
    /// Look-ups under way at a time, at most.
    static MOST: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// What the resolver does now.
    static MOOD: RefCell<Mood> = const { RefCell::new(Mood::Good) };
}

#[derive(Clone, Copy)]
enum Mood {
    Good,
    Failing,
    Hanging,
}

fn moody(name: Box<str>) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>> {
    ASKED.set(ASKED.get() + 1);
    Box::pin(async move {
        let (now, most) = MOST.get();
        MOST.set((now + 1, most.max(now + 1)));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mood = MOOD.with_borrow(|mood| *mood);
        if let Mood::Hanging = mood {
            std::future::pending::<()>().await;
        }
        let (now, most) = MOST.get();
        MOST.set((now - 1, most));
        match mood {
            Mood::Good if &*name == "empty" => Ok(vec![]),
            Mood::Good => Ok(vec![IpAddr::from([10, 0, 0, 1]); 3]),
            _ => Err(io::Error::other("no server")),
        }
    })
}

fn set_mood(mood: Mood) {
    MOOD.with_borrow_mut(|now| *now = mood);
}

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(10), test).await })
        .expect("the test takes no longer than 10 s");
}

fn deadline(limit: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(limit))
}

async fn outdate() {
    tokio::time::sleep(BRIEF.good + Duration::from_millis(5)).await;
}

#[test]
fn many_who_ask_for_a_name_at_once_share_one_look_up_and_its_answer_is_kept() {
    run(async {
        let resolver = Resolver::new(moody, BRIEF);
        let (one, two, three) = tokio::join!(
            resolver.resolve("a", None),
            resolver.resolve("a", deadline(1000)),
            resolver.resolve("a", None),
        );
        for answer in [one, two, three] {
            assert_eq!(&*answer.unwrap(), [IpAddr::from([10, 0, 0, 1])]);
        }
        assert!(matches!(resolver.known("a"), Some(Ok(_))));
        assert_eq!(ASKED.get(), 1);
        outdate().await;
        assert!(resolver.known("a").is_none());
        resolver.resolve("a", None).await.unwrap();
        assert_eq!(ASKED.get(), 2);
    });
}

#[test]
fn the_first_who_asked_may_leave() {
    run(async {
        let resolver = Resolver::new(moody, BRIEF);
        let mut first = Box::pin(resolver.resolve("a", None));
        tokio::select! {
            biased;
            _ = &mut first => panic!("no answer can be there yet"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        resolver.resolve("a", None).await.unwrap();
        assert_eq!(ASKED.get(), 1);
    });
}

#[test]
fn the_last_good_answer_is_used_while_the_resolver_fails_or_hangs() {
    run(async {
        for mood in [Mood::Failing, Mood::Hanging] {
            set_mood(Mood::Good);
            let resolver = Resolver::new(moody, BRIEF);
            resolver.resolve("a", None).await.unwrap();
            outdate().await;
            set_mood(mood);
            let asked = Instant::now();
            resolver.resolve("a", deadline(5000)).await.unwrap();
            resolver.resolve("a", None).await.unwrap();
            assert!(asked.elapsed() < Duration::from_secs(1));
        }
    });
}

#[test]
fn a_stale_answer_has_its_limit() {
    run(async {
        let resolver = Resolver::new(
            moody,
            Ages {
                stale: Duration::from_millis(10),
                ..BRIEF
            },
        );
        resolver.resolve("a", None).await.unwrap();
        outdate().await;
        set_mood(Mood::Failing);
        let error = resolver.resolve("a", None).await.unwrap_err();
        assert!(matches!(error, ConnectError::ResolveFailed(_)), "{error}");
    });
}

#[test]
fn a_failure_is_told_to_all_and_kept_for_a_moment() {
    run(async {
        set_mood(Mood::Failing);
        let resolver = Resolver::new(moody, BRIEF);
        for _ in 0..3 {
            let error = match resolver.known("a") {
                Some(known) => known.unwrap_err(),
                None => resolver.resolve("a", None).await.unwrap_err(),
            };
            assert!(matches!(error, ConnectError::ResolveFailed(_)), "{error}");
        }
        assert_eq!(ASKED.get(), 1);
        outdate().await;
        set_mood(Mood::Good);
        resolver.resolve("a", None).await.unwrap();
    });
}

#[test]
fn an_answer_without_addresses_is_a_failure() {
    run(async {
        let resolver = Resolver::new(moody, BRIEF);
        let error = resolver.resolve("empty", None).await.unwrap_err();
        assert!(matches!(error, ConnectError::ResolveFailed(_)), "{error}");
    });
}

#[test]
fn a_hanging_look_up_ends_with_the_limit() {
    run(async {
        set_mood(Mood::Hanging);
        let resolver = Resolver::new(moody, BRIEF);
        let error = resolver.resolve("a", deadline(20)).await.unwrap_err();
        assert!(matches!(error, ConnectError::ResolveTimedOut), "{error}");
    });
}

#[test]
fn look_ups_at_a_time_are_bounded() {
    run(async {
        let resolver = Resolver::new(moody, BRIEF);
        let asking: Vec<_> = (0..3 * LOOK_UPS)
            .map(|number| {
                let resolver = Rc::clone(&resolver);
                tokio::task::spawn_local(async move {
                    resolver.resolve(&number.to_string(), None).await.is_ok()
                })
            })
            .collect();
        for asked in asking {
            assert!(asked.await.unwrap());
        }
        assert_eq!(MOST.get().1, LOOK_UPS);
    });
}

#[test]
fn names_are_bounded_and_the_longest_out_of_date_is_forgotten() {
    let now = std::time::Instant::now();
    let mut names = HashMap::new();
    for (name, seconds, is_asked) in [("b", 2, false), ("a", 1, false), ("c", 0, true)] {
        let mut known = Name::unknown(now + Duration::from_secs(seconds));
        known.flight = is_asked.then(|| Flight {
            since: now,
            landed: Rc::default(),
        });
        names.insert(Box::from(name), known);
    }
    assert!(forget_one(&mut names));
    assert!(!names.contains_key("a"), "the oldest goes");
    assert!(forget_one(&mut names));
    assert!(!forget_one(&mut names), "none that is being looked up goes");
    assert!(names.contains_key("c"));
}
