//! What a lookup finds in a real Redis, and what it says when it may not look.

use super::super::dial::Server;
use super::super::*;
use super::harness::*;
use crate::route::Source;

#[test]
fn lists_are_found_in_the_order_of_the_original() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        redis.run("RPUSH frontend:a.test exact http://a:1 http://a:2");
        redis.run("RPUSH frontend:*.test wild http://a:1");
        redis.run("RPUSH frontend:alone.test identifier");
        let cases = [
            ("a.test", "exact"),
            ("b.test", "wild"),
            ("x.y.test", "wild"),
            ("alone.test", "identifier"),
            ("test", "not found"),
            ("a.other", "not found"),
            ("", "not found"),
        ];
        for (name, expected) in cases {
            assert_eq!(vhost(&store, name).await, expected, "{name:?}");
        }
        redis.run("RPUSH frontend:* any http://a:1");
        for name in ["", "test", "[::1]", "1.2.3.4"] {
            assert_eq!(vhost(&store, name).await, "any", "{name:?}");
        }
        let route = resolve(&store, "a.test").await.unwrap();
        assert_eq!(route.source, Source::Redis);
        assert_eq!(route.age, Duration::ZERO);
        assert!(route.read > Duration::ZERO);
    });
}

#[test]
fn a_change_counts_for_the_very_next_lookup() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        for round in 0..50 {
            redis.run(&format!("RPUSH frontend:a.test id{round} http://a:1"));
            assert_eq!(vhost(&store, "a.test").await, format!("id{round}"));
            redis.run("DEL frontend:a.test");
            assert_eq!(vhost(&store, "a.test").await, "not found");
        }
    });
}

#[test]
fn prefix_and_database_are_used_for_keys() {
    run(async {
        let redis = Redis::start(&[]);
        redis.run("RPUSH frontend:a.test zero http://a:1");
        redis.run("RPUSH p:frontend:a.test prefixed http://a:1 http://a:2");
        redis.run("SADD p:dead:a.test 1");
        let mut driver = redis.driver();
        driver.prefix = "p:".to_owned();
        let store = RedisStore::start(&driver, TTL, Seat::detached());
        assert_eq!(vhost(&store, "a.test").await, "prefixed");
        assert_eq!(dead(&store, "a.test").await, ["http://a:2/"]);
        driver.read.database = 3;
        let store = RedisStore::start(&driver, TTL, Seat::detached());
        assert_eq!(vhost(&store, "a.test").await, "not found");
    });
}

#[test]
fn a_key_of_the_wrong_type_hurts_only_those_it_would_have_served() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        redis.run("SET frontend:bad.test text");
        redis.run("SET frontend:* text");
        redis.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        redis.run("SET dead:a.test text");
        assert_eq!(vhost(&store, "a.test").await, "id");
        assert_eq!(dead(&store, "a.test").await, Vec::<String>::new());
        for name in ["bad.test", "unknown.test"] {
            let said = vhost(&store, name).await;
            assert!(
                said.starts_with("unavailable: ") && said.contains("WRONGTYPE"),
                "{said}"
            );
        }
    });
}

#[test]
fn odd_values_panic_nothing() {
    run(async {
        let redis = Redis::start(&[]);
        let store = redis.store();
        let mut push = redis::cmd("RPUSH");
        push.arg("frontend:a.test")
            .arg(&b"id\xff\r\nx"[..])
            .arg(&b"\xfe\xfd"[..]);
        push.arg("h".repeat(3 << 20)).arg("http://a:1");
        push.exec(&mut redis.client()).unwrap();
        redis.run("SADD dead:a.test x -1 99999999999999999999 1.5 2 70");
        let route = resolve(&store, "a.test").await.unwrap();
        assert_eq!(&*route.frontend.vhost, "id\u{fffd}\r\nx");
        assert_eq!(route.frontend.backends.len(), 3);
        assert_eq!(&*route.frontend.backend(2).unwrap().url, "http://a:1/");
        assert_eq!(dead(&store, "a.test").await, ["http://a:1/"]);
    });
}

#[test]
fn a_password_is_given_and_its_lack_is_told() {
    run(async {
        let redis = Redis::start(&["--requirepass", "right"]);
        let with = |password| {
            RedisStore::start(
                &driver(with_login(redis.server(), None, password)),
                TTL,
                Seat::detached(),
            )
        };
        assert_eq!(vhost(&with("right"), "a.test").await, "not found");
        let said = vhost(&with("wrong"), "a.test").await;
        assert!(
            said.starts_with("unavailable: ") && said.contains("WRONGPASS"),
            "{said}"
        );
        let said = vhost(&redis.store(), "a.test").await;
        assert_eq!(said, "unavailable: NOAUTH Authentication required.");
    });
}

#[test]
fn a_user_with_only_the_commands_of_the_original_is_enough() {
    run(async {
        let user = "--user app on >secret ~frontend:* ~dead:* ~hchecker_ping &dead \
                    +multi +exec +lrange +smembers +sadd +expire +publish +subscribe +get";
        let redis = Redis::start(&user.split_whitespace().collect::<Vec<_>>());
        redis.run("RPUSH frontend:a.test id http://a:1 http://a:2");
        let server = with_login(redis.server(), Some("app"), "secret");
        let store = RedisStore::start(&driver(server), TTL, Seat::detached());
        assert_eq!(vhost(&store, "a.test").await, "id");
        assert_eq!(vhost(&store, "a.test").await, "id");
        assert_eq!(mark(&store, "a.test", 1).await, Marked::Dead);
        eventually("the mark is written", async || {
            redis.run("SISMEMBER dead:a.test 1") == redis::Value::Int(1)
        })
        .await;
        assert_eq!(dead(&store, "a.test").await, ["http://a:2/"]);
    });
}

#[test]
fn a_user_without_permission_is_told_so() {
    run(async {
        let redis = Redis::start(&["--user", "app", "on", ">secret", "~*", "+multi", "+exec"]);
        let server = with_login(redis.server(), Some("app"), "secret");
        let store = RedisStore::start(&driver(server), TTL, Seat::detached());
        let said = vhost(&store, "a.test").await;
        assert!(said.starts_with("unavailable: NOPERM"), "{said}");
    });
}

#[test]
fn tls_is_spoken_and_the_certificate_is_checked() {
    run(async {
        let name = vec!["127.0.0.1".to_owned()];
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(name).unwrap();
        let files = Redis::start(&[]);
        let file = |name: &str| files.directory().join(name).display().to_string();
        std::fs::write(file("cert"), cert.pem()).unwrap();
        std::fs::write(file("key"), signing_key.serialize_pem()).unwrap();
        let port = free_port();
        let redis = Redis::start(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &file("cert"),
            "--tls-key-file",
            &file("key"),
            "--tls-auth-clients",
            "no",
        ]);
        redis.run("RPUSH frontend:a.test id http://a:1");
        let mut config = tcp_server(port);
        if let crate::config::RedisAddress::Tcp { tls, .. } = &mut config.address {
            *tls = true;
        }
        let mut roots = tokio_rustls::rustls::RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let trusting = Rc::new(Server::new(&config).with_roots(roots));
        let store = RedisStore::connect(String::new(), (trusting, None), TTL, Seat::detached());
        assert_eq!(vhost(&store, "a.test").await, "id");
        let store = RedisStore::start(&driver(config), TTL, Seat::detached());
        let said = vhost(&store, "a.test").await;
        assert!(said.contains("certificate"), "{said}");
    });
}
