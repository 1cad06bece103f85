//! Options of hosts in a real Redis: which count, how often they are asked for, and what happens
//! where they cannot be read.

use super::super::*;
use super::harness::*;

/// Asked for with every lookup, as where routes are kept behind the store.
const NEVER_KEPT: Terms = Terms::new(
    Duration::from_secs(30),
    Some(LruCache {
        size: 10,
        ttl: Duration::from_secs(10),
    }),
);

/// What counts for a host: whether it redirects, and its HSTS.
async fn told(store: &RedisStore, name: &str) -> (bool, String) {
    let route = resolve(store, name).await.unwrap();
    let options = route.options.as_deref().cloned().unwrap_or_default();
    let hsts = options.hsts.map(|value| value.to_str().unwrap().to_owned());
    (options.redirects_to_https, hsts.unwrap_or_default())
}

/// Commands that a lookup took.
async fn commands(store: &RedisStore, name: &str) -> usize {
    let (asked, host) = (Cell::default(), host(name));
    let Lookup::Pending(lookup) = store.lookup(&host, &asked) else {
        panic!("Redis is always asked");
    };
    let _ = lookup.await;
    asked.get().unwrap().commands
}

#[test]
fn the_host_itself_counts_then_the_wildcard_one_label_up() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        redis.run("RPUSH frontend:* id http://a:1");
        redis.run("HSET options:*.b.test https redirect hsts 60 later x");
        redis.run("HSET options:a.b.test hsts 10");
        redis.run("HSET options:off.b.test https off");
        redis.run("HSET options:later.b.test later x");
        let cases = [
            ("a.b.test", (false, "max-age=10")),
            ("x.b.test", (true, "max-age=60")),
            ("off.b.test", (false, "")),
            ("later.b.test", (true, "max-age=60")),
            ("y.x.b.test", (false, "")),
            ("b.test", (false, "")),
            ("[::1]", (false, "")),
            ("", (false, "")),
        ];
        for (name, (redirects, hsts)) in cases {
            let expected = (redirects, hsts.to_owned());
            assert_eq!(told(&store, name).await, expected, "{name:?}");
        }
    });
}

#[test]
fn they_are_asked_for_in_the_round_trip_of_a_route_and_then_kept() {
    run(async {
        let redis = Redis::start(&[]);
        redis.run("RPUSH frontend:a.test id http://a:1");
        redis.run("RPUSH frontend:b.test id http://a:1");
        redis.run("HSET options:a.test https redirect");
        let store = redis.store();
        // Three lists, a set and its time; and the two hashes.
        for name in ["a.test", "b.test"] {
            assert_eq!(commands(&store, name).await, 7, "{name}");
            assert_eq!(
                commands(&store, name).await,
                5,
                "{name}: also that there are none"
            );
        }
        redis.run("DEL options:a.test");
        assert!(told(&store, "a.test").await.0, "for ten seconds");
        // A host without a route leaves nothing behind.
        assert_eq!(commands(&store, "none.test").await, 7);
        assert_eq!(commands(&store, "none.test").await, 7);
        // Where routes are kept, both have the same age.
        let store = RedisStore::start(&redis.driver(), NEVER_KEPT, Seat::detached());
        for round in 1..3 {
            redis.run(&format!("HSET options:a.test hsts {round}"));
            let expected = (false, format!("max-age={round}"));
            assert_eq!(told(&store, "a.test").await, expected);
        }
    });
}

#[test]
fn where_they_cannot_be_read_the_last_ones_count_and_the_route_serves() {
    run(async {
        let redis = Redis::start(&[]);
        let store = RedisStore::start(&redis.driver(), NEVER_KEPT, Seat::detached());
        redis.run("RPUSH frontend:a.test id http://a:1");
        redis.run("HSET options:a.test https redirect hsts nonsense");
        assert_eq!(told(&store, "a.test").await, (true, String::new()));
        redis.run("SET options:a.test text");
        assert_eq!(told(&store, "a.test").await, (true, String::new()));
        redis.run("SET options:b.test text");
        redis.run("RPUSH frontend:b.test id http://a:1");
        assert_eq!(told(&store, "b.test").await, (false, String::new()));
        redis.run("DEL options:a.test");
        assert_eq!(told(&store, "a.test").await, (false, String::new()));
    });
}

#[test]
fn a_user_who_may_not_read_them_is_not_asked_to_again() {
    run(async {
        let user = "--user app on >secret ~frontend:* ~dead:* +multi +exec +lrange +smembers +pttl";
        let redis = Redis::start(&user.split_whitespace().collect::<Vec<_>>());
        redis.run("RPUSH frontend:a.test id http://a:1");
        let server = with_login(redis.server(), Some("app"), "secret");
        let store = RedisStore::start(&driver(server), TTL, Seat::detached());
        assert_eq!(commands(&store, "a.test").await, 7);
        assert_eq!(commands(&store, "a.test").await, 5);
        assert_eq!(vhost(&store, "a.test").await, "id");
    });
}
