//! Dead marks as others see them, and those of others as we see them.

use std::sync::mpsc::{Receiver, channel};
use std::time::SystemTime;

use redis::Value;

use super::super::*;
use super::harness::*;

/// Subscribes as hchecker does. The thread ends with the server.
fn subscribe(redis: &Redis) -> Receiver<String> {
    let (sender, receiver) = channel();
    let mut client = redis.client();
    std::thread::spawn(move || {
        let mut subscription = client.as_pubsub();
        subscription.subscribe("dead").unwrap();
        sender.send("subscribed".to_owned()).unwrap();
        while let Ok(message) = subscription.get_message() {
            let _ = sender.send(message.get_payload().unwrap());
        }
    });
    assert_eq!(receiver.recv().unwrap(), "subscribed");
    receiver
}

/// The next announcement, while the runtime goes on.
async fn announcement(subscriber: &Receiver<String>) -> String {
    for _ in 0..1000 {
        if let Ok(message) = subscriber.try_recv() {
            return message;
        }
        sleep(Duration::from_millis(2)).await;
    }
    panic!("no announcement");
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

#[test]
fn a_mark_is_written_announced_and_seen_at_once() {
    run(async {
        let redis = Redis::start(&[]);
        let subscriber = subscribe(&redis);
        let mut driver = redis.driver();
        driver.prefix = "p:".to_owned();
        let store = RedisStore::start(&driver, TTL, Seat::detached());
        redis.run("RPUSH p:frontend:*.test id http://127.0.0.1:8000 http://127.0.0.1:8001");
        assert_eq!(mark(&store, "a.test", 1).await, Marked::Dead);
        assert_eq!(dead(&store, "a.test").await, ["http://127.0.0.1:8001/"]);
        let said = announcement(&subscriber).await;
        assert_eq!(said, "a.test;http://127.0.0.1:8001/;1;2");
        assert_eq!(redis.run("SISMEMBER p:dead:a.test 1"), Value::Int(1));
        let Value::Int(left) = redis.run("TTL p:dead:a.test") else {
            panic!("no TTL");
        };
        assert!((29..=30).contains(&left), "{left}");
        assert_eq!(
            dead(&store, "b.test").await,
            Vec::<String>::new(),
            "each name its own"
        );
    });
}

#[test]
fn a_mark_taken_out_by_a_checker_is_given_up() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        redis.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        mark(&store, "a.test", 0).await;
        eventually("it is written", async || {
            redis.run("SISMEMBER dead:a.test 0") == Value::Int(1)
        })
        .await;
        redis.run("SREM dead:a.test 0");
        let took = eventually("it is alive", async || {
            dead(&store, "a.test").await.is_empty()
        })
        .await;
        assert!(took < Duration::from_millis(1500), "{took:?}");
    });
}

#[test]
fn marks_of_others_follow_the_url_through_an_edited_list() {
    run(async {
        let redis = Redis::start(&[]);
        let (store, other) = (redis.store(), redis.store());
        redis.run("RPUSH frontend:a.test id http://a:1 http://b:1 http://c:1");
        assert_eq!(dead(&store, "a.test").await, Vec::<String>::new());
        // The subscription of the first store must stand before the other announces.
        eventually("both listen", async || {
            let Value::Array(counts) = redis.run("PUBSUB NUMSUB dead") else {
                return false;
            };
            counts[1] == Value::Int(2)
        })
        .await;
        mark(&other, "a.test", 1).await;
        eventually("it is written", async || {
            redis.run("SISMEMBER dead:a.test 1") == Value::Int(1)
        })
        .await;
        redis.run("LREM frontend:a.test 1 http://a:1");
        sleep(Duration::from_millis(50)).await;
        for store in [&store, &other] {
            assert_eq!(dead(store, "a.test").await, ["http://b:1/"]);
        }
        redis.run("LREM frontend:a.test 1 http://b:1");
        for store in [&store, &other] {
            assert_eq!(dead(store, "a.test").await, Vec::<String>::new());
        }
    });
}

#[test]
fn a_thousand_failures_at_once_are_one_write() {
    run(async {
        let redis = Redis::start(&[]);
        let subscriber = subscribe(&redis);
        let store = redis.store();
        redis.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        let route = resolve(&store, "a.test").await.unwrap();
        let suspect = Suspect {
            id: 0,
            backend: route.frontend.backend(0).unwrap(),
            length: 2,
        };
        let name = host("a.test");
        assert_eq!(store.mark_dead(&name, &suspect), Marked::Dead);
        for _ in 0..1000 {
            assert_eq!(store.mark_dead(&name, &suspect), Marked::Already);
        }
        assert_eq!(announcement(&subscriber).await, "a.test;http://a:1/;0;2");
        sleep(Duration::from_millis(50)).await;
        assert!(subscriber.try_recv().is_err());
    });
}

#[test]
fn writes_under_way_are_bounded() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        let backends: Vec<String> = (0..400).map(|n| format!("http://b:{}", n + 1)).collect();
        redis.run(&format!("RPUSH frontend:a.test id {}", backends.join(" ")));
        let route = resolve(&store, "a.test").await.unwrap();
        for id in 0..400 {
            let suspect = Suspect {
                id,
                backend: route.frontend.backend(id).unwrap(),
                length: 400,
            };
            assert_eq!(store.mark_dead(&host("a.test"), &suspect), Marked::Dead);
            assert!(store.writes.borrow().len() <= WRITES);
        }
        eventually("those under way are written", async || {
            redis.run("SCARD dead:a.test") == Value::Int(256)
        })
        .await;
        assert_eq!(dead(&store, "a.test").await.len(), 400, "here all are dead");
    });
}

#[test]
fn an_active_checker_is_told_and_decides() {
    run(async {
        let redis = Redis::start(&[]);
        redis.run(&format!("SET hchecker_ping {}", seconds_since_1970()));
        redis.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        let subscriber = subscribe(&redis);
        let store = redis.store();
        eventually("the checker is noticed", async || store.is_checked()).await;
        assert_eq!(mark(&store, "a.test", 1).await, Marked::Announced);
        assert_eq!(announcement(&subscriber).await, "a.test;http://a:2/;1;2");
        assert_eq!(redis.run("EXISTS dead:a.test"), Value::Int(0));
        assert_eq!(dead(&store, "a.test").await, Vec::<String>::new());
        redis.run("SADD dead:a.test 1");
        assert_eq!(dead(&store, "a.test").await, ["http://a:2/"]);
        redis.run("SREM dead:a.test 1");
        eventually("it is alive", async || {
            dead(&store, "a.test").await.is_empty()
        })
        .await;
    });
}

#[test]
fn a_checker_that_stopped_is_no_checker() {
    run(async {
        for time in [seconds_since_1970() - 35, 0] {
            let redis = Redis::start(&[]);
            redis.run(&format!("SET hchecker_ping {time}"));
            redis.run("RPUSH frontend:a.test id http://a:1 http://a:2");
            let store = redis.store();
            eventually("it is read", async || {
                store.inner.checked_at.get().is_some()
            })
            .await;
            assert!(!store.is_checked());
            assert_eq!(mark(&store, "a.test", 1).await, Marked::Dead);
        }
    });
}

#[test]
fn marks_go_to_the_master_and_come_back_through_the_replica() {
    run(async {
        let master = Redis::start_tcp(&[]);
        let of = format!("127.0.0.1 {}", master.port);
        let replica = Redis::start(&["--replicaof", &of]);
        let subscriber = subscribe(&replica);
        master.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        let mut driver = replica.driver();
        driver.write = Some(master.tcp_server());
        let store = RedisStore::start(&driver, TTL, Seat::detached());
        let reader = replica.store();
        eventually("it is replicated", async || {
            vhost(&store, "a.test").await == "id"
        })
        .await;
        mark(&store, "a.test", 0).await;
        assert_eq!(dead(&store, "a.test").await, ["http://a:1/"]);
        assert_eq!(announcement(&subscriber).await, "a.test;http://a:1/;0;2");
        eventually("the replica has it", async || {
            dead(&reader, "a.test").await.len() == 1
        })
        .await;
        assert_eq!(master.run("SISMEMBER dead:a.test 0"), Value::Int(1));
    });
}

#[test]
fn a_mark_that_redis_refuses_holds_here() {
    run(async {
        let master = Redis::start_tcp(&[]);
        let of = format!("127.0.0.1 {}", master.port);
        let replica = Redis::start(&["--replicaof", &of]);
        master.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        let store = RedisStore::start(&replica.driver(), TTL, Seat::detached());
        eventually("it is replicated", async || {
            vhost(&store, "a.test").await == "id"
        })
        .await;
        mark(&store, "a.test", 0).await;
        eventually("the write is over", async || {
            let mut writes = store.writes.borrow_mut();
            while writes.try_join_next().is_some() {}
            writes.is_empty()
        })
        .await;
        sleep(Duration::from_millis(1200)).await;
        assert_eq!(dead(&store, "a.test").await, ["http://a:1/"]);
        assert_eq!(replica.run("EXISTS dead:a.test"), Value::Int(0));
    });
}
