//! The face of routing, over a table and over a Redis that is away.

use std::net::SocketAddr;

use super::*;
use crate::config::{
    Admin, Http, LruCache, Memory, RedisAddress, RedisDriver, RedisServer, Server, Telemetry,
    Timeouts,
};

fn config(driver: Driver, lru_cache: Option<LruCache>) -> Config {
    Config {
        server: server(lru_cache),
        http: Http {
            bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            h2c: false,
            proxy_protocol: Vec::new(),
            proxy_protocol_from: Vec::new(),
            trusted_proxies: Vec::new(),
        },
        admin: Admin {
            bind: Vec::new(),
            vhosts: 0,
        },
        https: Vec::new(),
        https_public_port: None,
        certificates: None,
        driver,
        telemetry: Telemetry {
            resource: Vec::new(),
            metrics: None,
            exemplars: crate::config::Exemplars::TraceBased,
            known_methods: Vec::new(),
            propagators: Vec::new(),
            traces: None,
            logs: None,
            story: Default::default(),
            trace_header: None,
            proxy_status: true,
        },
        identity: None,
    }
}

fn server(lru_cache: Option<LruCache>) -> Server {
    Server {
        debug: false,
        workers: 1,
        max_sockets: 1,
        timeouts: Timeouts {
            request_head: None,
            keep_alive: None,
            connect: None,
            first_byte: None,
            idle_body: None,
            tunnel: None,
        },
        memory: Memory {
            limit: None,
            check_interval: Duration::ZERO,
            min_age: Duration::ZERO,
        },
        graceful_wait: Duration::ZERO,
        drain_wait: None,
        heartbeat_timeout: None,
        drain_idle: Duration::ZERO,
        core_dumps: false,
        dead_backend_ttl: Duration::from_secs(30),
        retry_on_error: 0,
        access_logs: Vec::new(),
        http_keep_alive: true,
        dead_backend_on_500: true,
        backend_tls: Default::default(),
        static_dir: None,
        lru_cache,
    }
}

fn routes(backends: &[&str]) -> Driver {
    let backends = backends.iter().map(|one| (*one).to_owned()).collect();
    Driver::Routes(vec![("a.test".to_owned(), backends)])
}

fn cache(size: usize) -> Option<LruCache> {
    let ttl = Duration::from_secs(60);
    Some(LruCache { size, ttl })
}

fn host(name: &str) -> Host {
    Host::parse(name.as_bytes()).unwrap()
}

fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::LocalRuntime::new().unwrap().block_on(test);
}

#[test]
fn lookups_are_counted_whatever_they_find() {
    run(async {
        let seat = Seat::detached();
        let router = Router::start(&config(routes(&["http://a"]), None), seat);
        let route = router
            .resolve(&host("a.test"), &Cell::default())
            .await
            .unwrap();
        assert_eq!(
            (&*route.frontend.vhost, route.source),
            ("a.test", Source::Table)
        );
        let missing = router.resolve(&host("b.test"), &Cell::default()).await;
        assert!(matches!(missing, Err(RouteError::NotFound)));
        assert_eq!(seat.count(Counter::Lookups), 2);
        assert_eq!(seat.count(Counter::LookupFailures), 0);
    });
}

#[test]
fn failures_are_counted_and_never_kept() {
    run(async {
        let seat = Seat::detached();
        let read = RedisServer {
            address: RedisAddress::Unix("/nonexistent/redis.sock".into()),
            username: None,
            password: None,
            database: 0,
        };
        let driver = Driver::Redis(RedisDriver {
            read,
            write: None,
            prefix: String::new(),
        });
        let router = Router::start(&config(driver, cache(10)), seat);
        for _ in 0..2 {
            let answer = router.resolve(&host("a.test"), &Cell::default()).await;
            assert!(
                matches!(answer, Err(RouteError::Unavailable { .. })),
                "{answer:?}"
            );
        }
        assert_eq!(seat.count(Counter::Lookups), 0);
        assert_eq!(seat.count(Counter::LookupFailures), 2);
    });
}

#[test]
fn a_sole_backend_and_what_is_no_backend_are_never_marked() {
    run(async {
        let cases: [(&[&str], usize, bool); 5] = [
            (&["http://a"], 0, false),
            (&["http://a", "http://b"], 0, true),
            (&["http://a", "http://b"], 2, false),
            (&["http://a", "nonsense"], 1, false),
            (&["http://a", "nonsense"], 0, true),
        ];
        for (backends, id, expected) in cases {
            let router = Router::start(&config(routes(backends), None), Seat::detached());
            let route = router
                .resolve(&host("a.test"), &Cell::default())
                .await
                .unwrap();
            let marked = router.mark_dead(&host("a.test"), &route.frontend, id);
            assert_eq!(marked, expected, "{backends:?} {id}");
            let route = router
                .resolve(&host("a.test"), &Cell::default())
                .await
                .unwrap();
            assert_eq!(route.dead.contains(id), expected, "{backends:?} {id}");
            assert!(!router.is_checked());
        }
    });
}

#[test]
fn the_cache_answers_until_a_mark_of_ours() {
    run(async {
        let seat = Seat::detached();
        let router = Router::start(&config(routes(&["http://a", "http://b"]), cache(10)), seat);
        let name = host("a.test");
        let sources = async || {
            router
                .resolve(&name, &Cell::default())
                .await
                .unwrap()
                .source
        };
        assert_eq!(
            (sources().await, sources().await),
            (Source::Table, Source::Cache)
        );
        let missing = host("b.test");
        for _ in 0..3 {
            let answer = router.resolve(&missing, &Cell::default()).await;
            assert!(matches!(answer, Err(RouteError::NotFound)));
        }
        assert_eq!(seat.count(Counter::Lookups), 2);
        let route = router.resolve(&name, &Cell::default()).await.unwrap();
        assert!(router.mark_dead(&name, &route.frontend, 1));
        let route = router.resolve(&name, &Cell::default()).await.unwrap();
        assert_eq!(route.source, Source::Table);
        assert!(route.dead.contains(1));
        assert!(
            router
                .resolve(&name, &Cell::default())
                .await
                .unwrap()
                .dead
                .contains(1)
        );
    });
}
