//! Tests of `config::driver_url`.

use super::*;

/// A URL in one line: user, password, address, database, prefix.
fn told(url: &str) -> String {
    let (server, prefix) = match DriverUrl::parse(url) {
        Ok(DriverUrl::Redis(server, prefix)) => (server, prefix),
        Ok(DriverUrl::File(path)) => return format!("file {}", path.display()),
        Err(text) => return text,
    };
    let address = match server.address {
        RedisAddress::Tcp { host, port, tls } => {
            format!("{}{host} {port}", if tls { "tls " } else { "" })
        }
        RedisAddress::Unix(path) => format!("socket {}", path.display()),
    };
    let user = server.username.unwrap_or_default();
    let password = server.password.map(|secret| secret.0).unwrap_or_default();
    format!(
        "{user}:{password}@ {address} /{} #{prefix}",
        server.database
    )
}

#[test]
fn every_part_is_optional() {
    let table = [
        ("redis:", ":@ 127.0.0.1 6379 /0 #"),
        ("redis://", ":@ 127.0.0.1 6379 /0 #"),
        ("REDIS://Host", ":@ Host 6379 /0 #"),
        ("redis:#pre:", ":@ 127.0.0.1 6379 /0 #pre:"),
        ("redis:///3", ":@ 127.0.0.1 6379 /3 #"),
        ("redis://:7000", ":@ 127.0.0.1 7000 /0 #"),
        ("redis://host:", ":@ host 6379 /0 #"),
        ("redis://:pw@host:7/2#pre", ":pw@ host 7 /2 #pre"),
        ("redis://:pw@/2", ":pw@ 127.0.0.1 6379 /2 #"),
        ("redis://user:pw@host", "user:pw@ host 6379 /0 #"),
        ("redis://user@host", "user:@ host 6379 /0 #"),
        ("redis://:a%40b%2Fc%25@host", ":a@b/c%@ host 6379 /0 #"),
        ("redis://:a:b@c@host", ":a:b@c@ host 6379 /0 #"),
        ("redis://[::1]", ":@ ::1 6379 /0 #"),
        ("redis://:p@[fe80::1]:99/", ":p@ fe80::1 99 /0 #"),
        ("rediss://host", ":@ tls host 6379 /0 #"),
        ("unix:/run/r.sock", ":@ socket /run/r.sock /0 #"),
        ("unix:///run/r.sock", ":@ socket /run/r.sock /0 #"),
        ("redis+unix:///r.sock?db=1", ":@ socket /r.sock /1 #"),
        ("redis+unix://:pw@/r.sock#p", ":pw@ socket /r.sock /0 #p"),
        (
            "unix:/r.sock?user=u&pass=%41&db=2",
            "u:A@ socket /r.sock /2 #",
        ),
        ("file:/etc/routes.json", "file /etc/routes.json"),
        ("file:///etc/routes.json", "file /etc/routes.json"),
        ("file:config/routes.json", "file config/routes.json"),
    ];
    for (url, expected) in table {
        assert_eq!(told(url), expected, "{url}");
    }
}

#[test]
fn a_wrong_url_is_told_without_its_password() {
    let table = [
        ("", "this has no scheme"),
        ("localhost", "this has no scheme"),
        ("redis:host", "two slashes are missing"),
        (
            "redis://:hush@host:0",
            "port of the Redis is not in 1–65535",
        ),
        (
            "redis://:hush@host:70000",
            "port of the Redis is not in 1–65535",
        ),
        ("redis://:hush@::1", "an IPv6 host stands in brackets"),
        ("redis://:hush@[::1", "is not closed"),
        ("redis://:hush@[host]", "no IPv6 address"),
        ("redis://:hush@[::1]7", "a colon is expected"),
        (
            "redis://:hush@host/two",
            "the database is not in 0–2147483647",
        ),
        ("redis://:hush@host/-1", "the database is not in"),
        ("redis://:hush%zz@host", "two hexadecimal digits"),
        ("redis://:hush%+1@host", "two hexadecimal digits"),
        ("redis://:hush%ff@host", "not UTF-8"),
        ("redis://:hush?@host", "has no query"),
        ("unix:", "needs an absolute path"),
        ("unix://host/run", "needs an absolute path"),
        ("unix:/r?secret=hush", "may only hold db="),
        ("file:", "path of the file is missing"),
        ("file://host/routes", "a file is on this host"),
        (
            "memcached://host",
            "memcached: of the original is not supported",
        ),
        ("etcd:", "etcd: of the original is not supported"),
        (
            "zookeeper://:hush@host",
            "zookeeper: of the original is not supported",
        ),
        (
            "http://:hush@host",
            "http: is unknown, expected redis:, rediss:",
        ),
    ];
    for (url, expected) in table {
        let text = told(url);
        assert!(text.contains(expected), "{url}: {text}");
        assert!(!text.contains("hush"), "{url}: {text}");
    }
}
