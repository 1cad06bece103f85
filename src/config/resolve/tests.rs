//! Tests of `config::resolve`.

use super::*;
use crate::config::findings::Weight;
use crate::config::load::parse;
use crate::config::show;
use crate::config::{AccessLog, RedisAddress, Target};

const AROUND: Surroundings = Surroundings {
    is_root: false,
    cores: 3,
    memory: Some(8 << 30),
    env: |_| None,
};

/// What is in force with this file, which must be free of errors, and what else was found.
fn in_force(text: &str) -> (Config, Vec<String>) {
    let mut findings = Findings::default();
    let config = parse(text.as_bytes(), AROUND, &mut findings);
    assert!(!findings.has_errors(), "{text}: {findings:?}");
    let lines = findings
        .iter()
        .map(|f| format!("{:?} {f}", f.weight))
        .collect();
    (config.unwrap(), lines)
}

fn redis(text: &str) -> String {
    let Driver::Redis(redis) = in_force(text).0.driver else {
        panic!("{text}")
    };
    let of = |server: &RedisServer| {
        let RedisAddress::Tcp { host, port, .. } = &server.address else {
            panic!("{text}")
        };
        let password = server.password.as_ref().map_or("", |secret| &secret.0);
        format!(":{password}@{host}:{port}/{}", server.database)
    };
    let write = redis.write.as_ref().map_or("-".to_owned(), of);
    format!("{} {write} #{}", of(&redis.read), redis.prefix)
}

fn default_log() -> AccessLog {
    AccessLog::plain(Target::File("/var/log/hipache/access.log".into()))
}

#[test]
fn workers_share_half_of_the_memory_by_default() {
    let memory = in_force("{}").0.server.memory;
    assert_eq!(memory.limit, Some((4 << 30) / 3));
    assert_eq!(
        (memory.check_interval.as_secs(), memory.min_age.as_secs()),
        (10, 60)
    );
}

#[test]
fn empty_object_is_the_default() {
    let (config, lines) = in_force("{}");
    assert_eq!(lines, [""; 0]);
    let server = &config.server;
    assert_eq!(
        (server.debug, server.workers, server.max_sockets),
        (false, 3, 100)
    );
    assert_eq!(
        (server.retry_on_error, server.dead_backend_ttl.as_secs()),
        (3, 30)
    );
    assert_eq!(
        (server.http_keep_alive, server.dead_backend_on_500),
        (true, true)
    );
    assert_eq!(
        (server.graceful_wait.as_secs(), server.drain_idle.as_secs()),
        (30, 5)
    );
    assert_eq!(server.drain_wait, None);
    assert_eq!(server.heartbeat_timeout, Some(Duration::from_secs(10)));
    assert!(!server.core_dumps);
    assert_eq!(server.access_logs, [default_log()]);
    assert_eq!((&server.static_dir, server.lru_cache), (&None, None));
    assert_eq!(
        limits(&config),
        [
            Some(30.0),
            Some(30.0),
            Some(30.0),
            Some(30.0),
            Some(30.0),
            None
        ]
    );
    assert_eq!(config.http.bind, ["127.0.0.1:80".parse().unwrap()]);
    let loopback = [
        "127.0.0.1",
        "10.9.9.9",
        "172.31.0.1",
        "192.168.1.1",
        "::1",
        "fd00::1",
    ];
    for trusted in loopback {
        let trusted: std::net::IpAddr = trusted.parse().unwrap();
        assert!(
            config
                .http
                .trusted_proxies
                .iter()
                .any(|range| range.contains(&trusted)),
            "{trusted}"
        );
    }
    assert_eq!(config.http.trusted_proxies.len(), 6);
    assert!(config.https.is_empty());
    assert_eq!(redis("{}"), ":@127.0.0.1:6379/0 - #");
    assert_eq!(config.identity, None);
}

fn limits(config: &Config) -> [Option<f64>; 6] {
    let t = &config.server.timeouts;
    [
        t.request_head,
        t.keep_alive,
        t.connect,
        t.first_byte,
        t.idle_body,
        t.tunnel,
    ]
    .map(|limit| limit.map(|limit| limit.as_secs_f64()))
}

#[test]
fn tcp_timeout_is_the_default_of_the_others() {
    let table = [
        (
            r#"{"server": {"tcpTimeout": 2}}"#,
            [Some(2.0), Some(2.0), Some(2.0), Some(2.0), Some(2.0), None],
        ),
        (r#"{"server": {"tcpTimeout": 0}}"#, [None; 6]),
        (
            r#"{"server": {"tcpTimeout": 0, "requestHeadTimeout": 1, "keepAliveTimeout": 2, "connectTimeout": 0.25,
                "firstByteTimeout": 4, "idleBodyTimeout": 5, "tunnelTimeout": 6}}"#,
            [
                Some(1.0),
                Some(2.0),
                Some(0.25),
                Some(4.0),
                Some(5.0),
                Some(6.0),
            ],
        ),
        (
            r#"{"server": {"firstByteTimeout": 0, "tunnelTimeout": 0}}"#,
            [Some(30.0), Some(30.0), Some(30.0), None, Some(30.0), None],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(limits(&in_force(text).0), expected, "{text}");
    }
}

#[test]
fn server_settings_are_taken() {
    let text = r#"{"server": {"debug": true, "workers": 7.0, "maxSockets": 9, "gracefulWait": 1.5, "drainIdle": 0, "coreDumps": true,
        "drainWait": 60, "heartbeatTimeout": 0,
        "deadBackendTTL": 8, "retryOnError": 0, "httpKeepAlive": false, "deadBackendOn500": false,
        "staticDir": "pages", "lruCache": {"size": 12}}}"#;
    let server = in_force(text).0.server;
    assert_eq!(
        (server.debug, server.workers, server.max_sockets),
        (true, 7, 9)
    );
    assert!(server.core_dumps);
    assert_eq!(
        (
            server.graceful_wait.as_millis(),
            server.drain_idle.as_millis()
        ),
        (1500, 0)
    );
    assert_eq!(
        (server.drain_wait, server.heartbeat_timeout),
        (Some(Duration::from_secs(60)), None)
    );
    assert_eq!(
        (server.dead_backend_ttl.as_secs(), server.retry_on_error),
        (8, 0)
    );
    assert_eq!(
        (server.http_keep_alive, server.dead_backend_on_500),
        (false, false)
    );
    assert_eq!(server.static_dir, Some("pages".into()));
    assert_eq!(
        server.lru_cache,
        Some(LruCache {
            size: 12,
            ttl: Duration::from_secs(10)
        })
    );
}

#[test]
fn http_binds_in_all_forms() {
    let table = [
        (r#"{"port": 8080}"#, "127.0.0.1:8080"),
        (r#"{"bind": "0.0.0.0"}"#, "0.0.0.0:80"),
        (r#"{"bind": "localhost", "port": 0}"#, "127.0.0.1:0"),
        (
            r#"{"bind": ["::1", "[::2]"], "port": 1}"#,
            "[::1]:1 [::2]:1",
        ),
        (r#"{"bind": {"address": "::", "port": 5}}"#, "[::]:5"),
        (
            r#"{"bind": [{"address": "::1", "port": 5}, "1.2.3.4", {"address": "::2"}], "port": 6}"#,
            "[::1]:5 1.2.3.4:6 [::2]:6",
        ),
        (r#"{"bind": []}"#, ""),
    ];
    for (http, expected) in table {
        let config = in_force(&format!(r#"{{"http": {http}}}"#)).0;
        let binds: Vec<_> = config.http.bind.iter().map(ToString::to_string).collect();
        assert_eq!(binds.join(" "), expected, "{http}");
    }
}

#[test]
fn trusted_proxies_are_addresses_and_ranges() {
    let text = r#"{"http": {"trustedProxies": ["10.1.2.3", "fd00::/8"]}}"#;
    let trusted = in_force(text).0.http.trusted_proxies;
    assert_eq!(
        trusted,
        ["10.1.2.3/32".parse().unwrap(), "fd00::/8".parse().unwrap()]
    );
    let none = in_force(r#"{"http": {"trustedProxies": []}}"#)
        .0
        .http
        .trusted_proxies;
    assert_eq!(none, []);
}

#[test]
fn first_url_reads_and_last_writes() {
    let table = [
        (r#""redis://:a@b:1/2#p""#, ":a@b:1/2 - #p"),
        (r#"["redis://a"]"#, ":@a:6379/0 - #"),
        (
            r#"["redis://a#p", "redis://:w@b/1#q"]"#,
            ":@a:6379/0 :w@b:6379/1 #p",
        ),
    ];
    for (driver, expected) in table {
        assert_eq!(
            redis(&format!(r#"{{"driver": {driver}}}"#)),
            expected,
            "{driver}"
        );
    }
    let config = in_force(r#"{"driver": "file:routes.json"}"#).0;
    assert!(matches!(config.driver, Driver::File(path) if path.as_os_str() == "routes.json"));
}

#[test]
fn old_redis_keys_are_honoured_where_driver_is_absent() {
    let table = [
        (
            r#"{"redisHost": "a", "redisPort": 1, "redisPassword": "p", "redisDatabase": 2}"#,
            ":p@a:1/2 - #",
        ),
        (r#"{"redisPort": 7}"#, ":@127.0.0.1:7/0 - #"),
        (
            r#"{"redisHost": "a", "redisMasterHost": "b"}"#,
            ":@a:6379/0 :@b:6379/0 #",
        ),
        (
            r#"{"redisMasterHost": "b", "redisMasterPort": 3, "redisMasterPassword": "q", "redisMasterDatabase": 4}"#,
            ":@127.0.0.1:6379/0 :q@b:3/4 #",
        ),
        (r#"{"server": {"redisHost": "s"}}"#, ":@s:6379/0 - #"),
        (
            r#"{"redisHost": "t", "server": {"redisHost": "s"}}"#,
            ":@t:6379/0 - #",
        ),
        (
            r#"{"redisHost": "a", "driver": "redis://d"}"#,
            ":@d:6379/0 - #",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(redis(text), expected, "{text}");
        let keys = in_force(text).1;
        assert!(
            keys[0].ends_with("this key is deprecated, use `driver`"),
            "{keys:?}"
        );
    }
}

#[test]
fn old_listener_keys_move_to_http_and_https() {
    let table = [
        (
            r#"{"server": {"port": 81, "address": "::1"}}"#,
            "[::1]:81",
            "",
        ),
        (
            r#"{"server": {"address": ["::1", "1.2.3.4"], "address6": "::2"}}"#,
            "[::1]:80 1.2.3.4:80 [::2]:80",
            "",
        ),
        (r#"{"server": {"port": 81}}"#, "127.0.0.1:81", ""),
        (
            r#"{"server": {"port": 81, "address": "::1"}, "http": {"port": 82}}"#,
            "[::1]:82",
            "",
        ),
        (
            r#"{"server": {"address": "::1"}, "http": {"bind": "::2"}}"#,
            "[::2]:80",
            "",
        ),
        (
            r#"{"server": {"address": "::1", "https": {"port": 444, "key": "k", "cert": "c"}}}"#,
            "[::1]:80",
            "[::1]:444",
        ),
        (
            r#"{"server": {"https": {"bind": "::3", "key": "k", "cert": "c"}}}"#,
            "127.0.0.1:80",
            "[::3]:443",
        ),
        (
            r#"{"server": {"address": "::1"}, "https": {"key": "k", "cert": "c"}}"#,
            "[::1]:80",
            "[::1]:443",
        ),
    ];
    for (text, http, https) in table {
        let (config, lines) = in_force(text);
        let binds: Vec<_> = config.http.bind.iter().map(ToString::to_string).collect();
        assert_eq!(binds.join(" "), http, "{text}");
        let binds: Vec<_> = config
            .https
            .iter()
            .map(|bind| bind.address.to_string())
            .collect();
        assert_eq!(binds.join(" "), https, "{text}");
        assert!(lines[0].starts_with("Key server."), "{lines:?}");
        assert!(lines[0].contains("is deprecated, use `http"), "{lines:?}");
    }
    let lines = in_force(r#"{"server": {"port": 81}}"#).1;
    assert_eq!(
        lines,
        [
            "Key server.port: this key is deprecated, use `http.port`",
            "Warning http.bind: not given, so only 127.0.0.1 is listened on (0.3 listened on all addresses)",
        ]
    );
}

#[test]
fn user_counts_for_root_only() {
    let mut findings = Findings::default();
    let text = br#"{"user": ""}"#;
    assert!(
        parse(text, AROUND, &mut findings)
            .unwrap()
            .identity
            .is_none()
    );
    assert!(!findings.has_errors());
    let as_root = Surroundings {
        is_root: true,
        ..AROUND
    };
    parse(text, as_root, &mut findings);
    assert_eq!(
        findings
            .iter()
            .map(|f| (f.weight, f.path.as_str()))
            .collect::<Vec<_>>(),
        [(Weight::Error, "user")]
    );
    let config = parse(
        br#"{"user": "nobody", "group": 5}"#,
        as_root,
        &mut Findings::default(),
    );
    assert_eq!(config.unwrap().identity.unwrap().gid, 5);
}

/// Every section, with secrets at every place where they can stand.
const SECRETIVE: &str = r#"{
    "server": {"tcpTimeout": 0.5, "tunnelTimeout": 7, "accessLog": "-", "lruCache": {"size": 1, "ttl": 2.5}, "staticDir": "s"},
    "http": {"bind": ["::1", {"address": "1.2.3.4", "port": 0}], "trustedProxies": ["10.0.0.0/8"]},
    "https": {"bind": ["::1", {"address": "::2", "key": "k2", "passphrase": "hush2"}], "key": "k", "cert": "c",
              "passphrase": ["hush1"], "ca": ["a"], "certificates": "d", "publicPort": 443, "requestCert": true,
              "ciphers": "AES128", "honorCipherOrder": true, "secureOptions": 16384},
    "driver": ["redis+unix://u%2Fu:hush3@/r%20s.sock?db=3#pre", "rediss://:hush4@[::1]:1/2"]
}"#;

#[test]
fn shown_configuration_hides_secrets_and_is_a_file_again() {
    let texts = [
        SECRETIVE,
        "{}",
        r#"{"http": {"proxyProtocol": true, "proxyProtocolFrom": "::1"}}"#,
        r#"{"driver": "file:/a b.json", "server": {"accessLog": false}}"#,
        r#"{"server": {"accessLog": [
            {"target": "a.log", "format": "json", "filter": {"status": ["5xx", 404], "end": "ok",
             "vhost": ["a", "b"], "minDuration": 0.25}, "sample": 10},
            {"target": "syslog://[::1]:9", "format": "$host", "escape": "none",
             "mask": {"query": "*", "headers": [], "credentials": false},
             "drop": {"cookies": "s", "headers": "*"},
             "queue": {"bytes": 65536, "full": "wait", "wait": 1.5}},
            "stderr"]}}"#,
        r#"{"https": {"bind": ["::1", {"address": "::2", "tlsPreset": "modern"},
            {"address": "::3", "secureProtocol": "TLSv1_2_method"}], "key": ["k", "l"], "cert": ["c", "d"]}}"#,
        r#"{"redisPassword": "hush5", "redisMasterHost": "m", "redisMasterPassword": "hush6"}"#,
    ];
    for text in texts {
        let config = in_force(text).0;
        let shown = format!("{:#}", show(&config, &|_| "x".to_owned()));
        assert!(!shown.contains("hush"), "{shown}");
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
        let (again, lines) = in_force(&shown);
        assert_eq!(format!("{again:?}"), format!("{config:?}"), "{shown}");
        assert_eq!(lines, [""; 0], "{shown}");
    }
}
