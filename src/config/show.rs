//! The configuration in force, in the form of a configuration file, with its secrets masked.
//!
//! What is printed is a valid file again: reading it gives the same configuration.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::{
    AccessLog, Admin, Config, Driver, Http, HttpsBind, Identity, MASK, Pair, RedisAddress,
    RedisDriver, RedisServer, Server, Versions, show_log, telemetry,
};

/// The configuration as JSON, each access log with an example of its lines.
pub(crate) fn show(config: &Config, example: &dyn Fn(&AccessLog) -> String) -> Json {
    let mut shown = Map::new();
    shown.insert("server".into(), server(&config.server, example));
    shown.insert("http".into(), http(&config.http));
    shown.insert("admin".into(), admin(&config.admin));
    if !config.https.is_empty() {
        let binds: Vec<_> = config.https.iter().map(https).collect();
        let section = json!({
            "bind": binds,
            "publicPort": config.https_public_port,
            "certificates": config.certificates,
        });
        shown.insert("https".into(), section);
    }
    match &config.driver {
        Driver::Redis(redis) => shown.insert("driver".into(), json!(redis_urls(redis))),
        Driver::File(path) => {
            shown.insert("driver".into(), json!(format!("file:{}", path.display())))
        }
        // The one thing that no file can say.
        Driver::Routes(routes) => shown.insert("routes".into(), table(routes)),
    };
    shown.insert("telemetry".into(), telemetry::show(&config.telemetry));
    if let Some(Identity { user, gid, .. }) = &config.identity {
        shown.insert("user".into(), json!(user));
        shown.insert("group".into(), json!(gid));
    }
    shown.into()
}

fn table(routes: &[(String, Vec<String>)]) -> Json {
    let entry = |(host, backends): &(String, Vec<String>)| (host.clone(), json!(backends));
    Json::Object(routes.iter().map(entry).collect())
}

fn server(server: &Server, example: &dyn Fn(&AccessLog) -> String) -> Json {
    let timeouts = &server.timeouts;
    let lru = server
        .lru_cache
        .map(|lru| json!({ "size": lru.size, "ttl": seconds(lru.ttl) }));
    json!({
        "debug": server.debug,
        "workers": server.workers,
        "maxSockets": server.max_sockets,
        "requestHeadTimeout": limit(timeouts.request_head),
        "keepAliveTimeout": limit(timeouts.keep_alive),
        "connectTimeout": limit(timeouts.connect),
        "firstByteTimeout": limit(timeouts.first_byte),
        "idleBodyTimeout": limit(timeouts.idle_body),
        "tunnelTimeout": limit(timeouts.tunnel),
        "memoryLimit": server.memory.limit.unwrap_or(0),
        "memoryCheckInterval": seconds(server.memory.check_interval),
        "memoryMinAge": seconds(server.memory.min_age),
        "gracefulWait": seconds(server.graceful_wait),
        "drainWait": limit(server.drain_wait),
        "heartbeatTimeout": limit(server.heartbeat_timeout),
        "drainIdle": seconds(server.drain_idle),
        "coreDumps": server.core_dumps,
        "deadBackendTTL": seconds(server.dead_backend_ttl),
        "retryOnError": server.retry_on_error,
        "accessLog": show_log::logs(&server.access_logs, example),
        "httpKeepAlive": server.http_keep_alive,
        "deadBackendOn500": server.dead_backend_on_500,
        "backendCa": server.backend_tls.ca,
        "backendVerify": server.backend_tls.is_verified,
        "staticDir": server.static_dir,
        "lruCache": lru,
    })
}

/// The number of a configuration, the same in every process and after every start: FNV-1a over what
/// is shown, so secrets are no part of it.
pub(crate) fn hash(config: &Config) -> String {
    let text = show(config, &|_| String::new()).to_string();
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    format!("{hash:016x}")
}

fn admin(admin: &Admin) -> Json {
    json!({
        "bind": admin.bind.iter().map(address).collect::<Vec<_>>(),
        "vhosts": admin.vhosts,
    })
}

fn address(bind: &std::net::SocketAddr) -> Json {
    json!({ "address": bind.ip(), "port": bind.port() })
}

fn http(http: &Http) -> Json {
    let bind = |bind: &std::net::SocketAddr| {
        let mut shown = address(bind);
        shown["proxyProtocol"] = http.proxy_protocol.contains(bind).into();
        shown
    };
    json!({
        "bind": http.bind.iter().map(bind).collect::<Vec<_>>(),
        "h2c": http.h2c,
        "proxyProtocolFrom": http.proxy_protocol_from,
        "trustedProxies": http.trusted_proxies,
    })
}

fn https(bind: &HttpsBind) -> Json {
    let of_each = |one: fn(&Pair) -> Json| bind.pairs.iter().map(one).collect::<Vec<_>>();
    let terms = &bind.terms;
    let suites: Vec<_> = terms.suites.iter().map(|suite| suite.name).collect();
    json!({
        "address": bind.address.ip(),
        "port": bind.address.port(),
        "key": of_each(|pair| json!(pair.key)),
        "passphrase": of_each(|pair| json!(pair.passphrase.as_ref().map(|_| MASK))),
        "cert": of_each(|pair| json!(pair.cert)),
        "ca": bind.ca,
        "requestCert": bind.request_cert,
        "strictSni": bind.strict_sni,
        "proxyProtocol": bind.proxy_protocol,
        "tlsPreset": match terms.versions {
            Versions::Tls13 => "modern",
            Versions::Tls12 | Versions::Both => "intermediate",
        },
        "secureProtocol": match terms.versions {
            Versions::Tls12 => "TLSv1_2_method",
            Versions::Tls13 | Versions::Both => "SSLv23_method",
        },
        "ciphers": suites.join(":"),
        "honorCipherOrder": terms.server_order,
        "secureOptions": terms.secure_options(),
    })
}

fn redis_urls(redis: &RedisDriver) -> Vec<String> {
    let prefix = match redis.prefix.as_str() {
        "" => String::new(),
        prefix => format!("#{prefix}"),
    };
    let read = redis_url(&redis.read) + &prefix;
    let write = redis.write.as_ref().map(redis_url);
    std::iter::once(read).chain(write).collect()
}

fn redis_url(server: &RedisServer) -> String {
    let password = server
        .password
        .as_ref()
        .map_or_else(String::new, |_| format!(":{MASK}"));
    let username = encode(server.username.as_deref().unwrap_or_default()).replace('/', "%2F");
    let login = match username + &password {
        nobody if nobody.is_empty() => nobody,
        login => login + "@",
    };
    let database = server.database;
    match &server.address {
        RedisAddress::Tcp { host, port, tls } => {
            let scheme = if *tls { "rediss" } else { "redis" };
            let (open, close) = if host.contains(':') {
                ("[", "]")
            } else {
                ("", "")
            };
            format!("{scheme}://{login}{open}{host}{close}:{port}/{database}")
        }
        RedisAddress::Unix(path) => {
            let path = encode(&path.to_string_lossy());
            format!("redis+unix://{login}{path}?db={database}")
        }
    }
}

/// Percent-encodes what would end a part of a URL (RFC 3986 §2.1).
fn encode(text: &str) -> String {
    let encoded = |c: char| match c {
        '%' | '#' | '?' | '@' | ':' | ' ' => format!("%{:02X}", u32::from(c)),
        other => other.to_string(),
    };
    text.chars().map(encoded).collect()
}

/// Seconds as one writes them: `30`, not `30.0`.
pub(super) fn seconds(time: Duration) -> Json {
    match time.subsec_nanos() {
        0 => json!(time.as_secs()),
        _ => json!(time.as_secs_f64()),
    }
}

/// A limit of waiting, where none is 0.
fn limit(time: Option<Duration>) -> Json {
    seconds(time.unwrap_or_default())
}
