//! Servers that are away, silent, or come back.

use redis::Value;

use super::super::*;
use super::harness::*;

/// How long a lookup took and what it said.
async fn timed(store: &RedisStore, name: &str) -> (Duration, String) {
    let start = Instant::now();
    let said = vhost(store, name).await;
    (start.elapsed(), said)
}

const JUST_OVER: Duration = Duration::from_millis(1100);

#[test]
fn a_refused_connection_is_told_within_a_second_and_then_at_once() {
    run(async {
        let store = RedisStore::start(&driver(tcp_server(free_port())), TTL, Seat::detached());
        let (took, said) = timed(&store, "a.test").await;
        assert_eq!(said, "unavailable: connection refused");
        assert!(took < JUST_OVER, "{took:?}");
        sleep(Duration::from_millis(50)).await;
        let (took, said) = timed(&store, "a.test").await;
        assert_eq!(said, "unavailable: connection refused");
        assert!(took < Duration::from_millis(20), "{took:?}");
    });
}

#[test]
fn a_server_that_never_answers_is_told_within_a_second() {
    run(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let login = with_login(tcp_server(port), None, "secret");
        for server in [tcp_server(port), login] {
            let store = RedisStore::start(&driver(server), TTL, Seat::detached());
            let (took, said) = timed(&store, "a.test").await;
            assert!(
                said.starts_with("unavailable: no connection within"),
                "{said}"
            );
            assert!(took < JUST_OVER, "{took:?}");
        }
    });
}

#[test]
fn what_is_no_redis_is_told() {
    run(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = Task::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut peer, answer).await;
            }
        });
        let store = RedisStore::start(&driver(tcp_server(port)), TTL, Seat::detached());
        let (took, said) = timed(&store, "a.test").await;
        assert!(said.starts_with("unavailable: "), "{said}");
        assert!(took < JUST_OVER, "{took:?}");
        drop(serve);
    });
}

#[test]
fn service_is_back_within_a_second_of_redis() {
    run(async {
        let mut redis = Redis::start_tcp(&[]);
        let servers = [redis.server(), redis.tcp_server()];
        let stores =
            servers.map(|server| RedisStore::start(&driver(server), TTL, Seat::detached()));
        for (outage, store) in [(0, &stores[0]), (1500, &stores[0]), (1500, &stores[1])] {
            redis.run("DEL frontend:a.test");
            redis.run("RPUSH frontend:a.test before http://a:1");
            eventually("it is up", async || {
                vhost(store, "a.test").await == "before"
            })
            .await;
            redis.kill();
            sleep(Duration::from_millis(outage)).await;
            if outage > 0 {
                let (took, said) = timed(store, "a.test").await;
                assert!(said.starts_with("unavailable"), "{said}");
                assert!(took < Duration::from_millis(20), "{took:?}");
            }
            redis.restart();
            redis.run("RPUSH frontend:a.test after http://a:1");
            let took = eventually("it is back", async || {
                vhost(store, "a.test").await == "after"
            })
            .await;
            println!("back after {took:?} (outage {outage} ms)");
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    });
}

#[test]
fn a_short_restart_costs_no_lookup() {
    run(async {
        let mut redis = Redis::start(&[]);
        let store = redis.store();
        assert_eq!(vhost(&store, "a.test").await, "not found");
        for _ in 0..10 {
            redis.kill();
            // Sent while the link does not yet know, or while it is absent: it waits for the next.
            let lookup = vhost(&store, "a.test");
            redis.restart();
            assert_eq!(lookup.await, "not found");
        }
    });
}

#[test]
fn connections_that_redis_closes_while_idle_are_replaced_unseen() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        assert_eq!(vhost(&store, "a.test").await, "not found");
        for _ in 0..2 {
            redis.run("CLIENT KILL TYPE normal");
            redis.run("CLIENT KILL TYPE pubsub");
            sleep(Duration::from_millis(100)).await;
            let (took, said) = timed(&store, "a.test").await;
            assert_eq!(said, "not found");
            assert!(took < Duration::from_millis(50), "{took:?}");
        }
        eventually("it listens again", async || {
            redis.run("PUBSUB NUMSUB dead")
                == Value::Array(vec![Value::BulkString(b"dead".to_vec()), Value::Int(1)])
        })
        .await;
    });
}

#[test]
fn a_silent_connection_is_replaced_although_it_is_open() {
    run(async {
        let redis = Redis::start_tcp(&[]);
        let store = RedisStore::start(&driver(redis.tcp_server()), TTL, Seat::detached());
        assert_eq!(vhost(&store, "a.test").await, "not found");
        redis.freeze();
        let (took, said) = timed(&store, "a.test").await;
        assert_eq!(said, "unavailable: no reply in time");
        assert!(took < JUST_OVER, "{took:?}");
        let took = eventually("it is condemned", async || {
            let (took, said) = timed(&store, "a.test").await;
            said != "unavailable: no reply in time" && took < Duration::from_millis(20)
        })
        .await;
        println!("condemned and given up after {took:?}");
        redis.thaw();
        let took = eventually("it is back", async || {
            vhost(&store, "a.test").await == "not found"
        })
        .await;
        println!("back after {took:?} (frozen)");
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn a_pause_of_the_server_is_waited_out() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        assert_eq!(vhost(&store, "a.test").await, "not found");
        redis.run("CLIENT PAUSE 400 ALL");
        let (took, said) = timed(&store, "a.test").await;
        assert_eq!(said, "not found");
        assert!(
            took > Duration::from_millis(200) && took < JUST_OVER,
            "{took:?}"
        );
    });
}

#[test]
fn a_mark_during_an_outage_is_written_when_redis_is_back_in_time() {
    run(async {
        let mut redis = Redis::start(&[]);
        let store = redis.store();
        redis.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        let route = resolve(&store, "a.test").await.unwrap();
        redis.kill();
        let suspect = Suspect {
            id: 1,
            backend: route.frontend.backend(1).unwrap(),
            length: 2,
        };
        assert_eq!(store.mark_dead(&host("a.test"), &suspect), Marked::Dead);
        sleep(Duration::from_millis(100)).await;
        redis.restart();
        eventually("it is written", async || {
            redis.run("SISMEMBER dead:a.test 1") == Value::Int(1)
        })
        .await;
    });
}

#[test]
fn everything_ends_with_the_store() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        assert_eq!(vhost(&store, "a.test").await, "not found");
        let clients = || {
            let Value::BulkString(list) = redis.run("CLIENT LIST") else {
                panic!("no list");
            };
            String::from_utf8_lossy(&list).lines().count() - 1
        };
        eventually("two are connected", async || clients() == 2).await;
        drop(store);
        eventually("none is", async || clients() == 0).await;
    });
}
