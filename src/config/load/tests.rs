//! Tests of `config::load`.

use super::*;
use crate::config::keys::{paths, schema};

const AROUND: Surroundings = Surroundings {
    is_root: false,
    cores: 3,
    memory: Some(8 << 30),
    env: |_| None,
};

/// Everything found in this text, a line each.
fn found(text: &str) -> Vec<String> {
    let mut findings = Findings::default();
    parse(text.as_bytes(), AROUND, &mut findings);
    findings
        .iter()
        .map(|finding| format!("{:?} {finding}", finding.weight))
        .collect()
}

#[test]
fn what_is_no_object_is_told() {
    let table = [
        ("", "Error the file is empty, a JSON object is expected"),
        (" \n", "Error the file is empty, a JSON object is expected"),
        ("[]", "Error an array is no JSON object of settings"),
        ("\"x\"", "Error \"x\" is no JSON object of settings"),
        (
            "{\n  \"a\": 1,\n}",
            "Error this is no JSON: trailing comma at line 3 column 1",
        ),
        (
            "{} {}",
            "Error this is no JSON: trailing characters at line 1 column 4",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(found(text), [expected], "{text:?}");
    }
}

/// Each text has one error, this one.
fn assert_told(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(found(text), [format!("Error {expected}")], "{text}");
    }
}

#[test]
fn each_wrong_server_setting_is_told_with_path_and_unit() {
    assert_told(&[
        (
            r#"{"server": []}"#,
            "server: an array is no object of settings",
        ),
        (
            r#"{"server": {"debug": "yes"}}"#,
            "server.debug: \"yes\" is neither true nor false",
        ),
        (
            r#"{"server": {"workers": 0}}"#,
            "server.workers: 0 is not in 1–4294967295, at least 1 is needed",
        ),
        (
            r#"{"server": {"workers": "two"}}"#,
            "server.workers: \"two\" is no whole number",
        ),
        (
            r#"{"server": {"workers": 1.5}}"#,
            "server.workers: 1.5 is no whole number",
        ),
        (
            r#"{"server": {"maxSockets": -1}}"#,
            "server.maxSockets: -1 is not in 1–4294967295, at least 1 is needed",
        ),
        (
            r#"{"server": {"tcpTimeout": "two"}}"#,
            "server.tcpTimeout: \"two\" is no number of seconds",
        ),
        (
            r#"{"server": {"tcpTimeout": -1}}"#,
            "server.tcpTimeout: -1 is not in 0–1000000000 seconds",
        ),
    ]);
}

#[test]
fn each_wrong_setting_of_attempts_and_files_is_told() {
    assert_told(&[
        (
            r#"{"server": {"gracefulWait": 1e10}}"#,
            "server.gracefulWait: 10000000000.0 is not in 0–1000000000 seconds",
        ),
        (
            r#"{"server": {"deadBackendTTL": 0.5}}"#,
            "server.deadBackendTTL: 0.5 is no whole number of seconds",
        ),
        (
            r#"{"server": {"retryOnError": -2}}"#,
            "server.retryOnError: -2 is not in 0–4294967295",
        ),
        (
            r#"{"server": {"accessLog": true}}"#,
            "server.accessLog: true is no path, \"stdout\", \"stderr\", \"syslog:…\", \"off\" or false",
        ),
        (
            r#"{"server": {"staticDir": ""}}"#,
            "server.staticDir: \"\" is no path",
        ),
        (
            r#"{"server": {"lruCache": 5}}"#,
            "server.lruCache: 5 is no object of settings",
        ),
        (
            r#"{"server": {"lruCache": {"size": 0}}}"#,
            "server.lruCache.size: 0 is not in 1–4294967295, at least 1 is needed",
        ),
        (
            r#"{"server": {"lruCache": {"ttl": 0}}}"#,
            "server.lruCache.ttl: 0 is no age in seconds, more than 0 is needed",
        ),
    ]);
}

#[test]
fn each_wrong_listener_setting_is_told_with_path_and_unit() {
    assert_told(&[
        (
            r#"{"http": {"port": 70000}}"#,
            "http.port: port 70000 is not in 0–65535",
        ),
        (
            r#"{"http": {"port": "80"}}"#,
            "http.port: \"80\" is no port number",
        ),
        (
            r#"{"http": {"bind": "a.test"}}"#,
            "http.bind: \"a.test\" is no IP address",
        ),
        (
            r#"{"http": {"bind": 7}}"#,
            "http.bind: 7 is no IP address, object or array of these",
        ),
        (
            r#"{"http": {"bind": {"port": 7}}}"#,
            "http.bind: the address is missing, expected {\"address\": IP, \"port\": PORT}",
        ),
        (
            r#"{"http": {"bind": ["::1", {"address": "::", "port": -1}]}}"#,
            "http.bind[1].port: port -1 is not in 0–65535",
        ),
        (
            r#"{"admin": {"bind": [{"port": 7}]}}"#,
            "admin.bind[0]: the address is missing, expected {\"address\": IP, \"port\": PORT}",
        ),
        (
            r#"{"admin": {"vhosts": 1001}}"#,
            "admin.vhosts: 1001 is not in 0–1000",
        ),
        (
            r#"{"http": {"trustedProxies": ["10.0.0.0/33"]}}"#,
            "http.trustedProxies[0]: \"10.0.0.0/33\" is no IP address or range such as 10.0.0.0/8",
        ),
        (
            r#"{"https": {"bind": "::1", "key": "k"}}"#,
            "https.bind: HTTPS needs both a `key` and a `cert`, here or in `https`",
        ),
    ]);
}

#[test]
fn each_wrong_setting_elsewhere_is_told_with_path_and_unit() {
    assert_told(&[
        (
            r#"{"https": {"passphrase": 12345}}"#,
            "https.passphrase: this is no text",
        ),
        (
            r#"{"driver": "redis://:hush@host:x"}"#,
            "driver: the port of the Redis is not in 1–65535",
        ),
        (
            r#"{"driver": ["redis:", "mongo:"]}"#,
            "driver[1]: the driver mongo: is unknown, expected redis:, rediss:, redis+unix:, unix: or file:",
        ),
        (
            r#"{"driver": []}"#,
            "driver: 0 URLs, expected one, or two: to read from and to write to",
        ),
        (
            r#"{"driver": ["redis:", "file:x"]}"#,
            "driver: two URLs must both be of a Redis, one to read from and one to write to",
        ),
        (r#"{"user": true}"#, "user: true is no name or number"),
        (r#"{"group": -1}"#, "group: -1 is not in 0–4294967294"),
    ]);
}

#[test]
fn all_problems_are_told_at_once() {
    let text = r#"{
        "server": { "workers": 0, "tcpTimeout": "two", "wrokers": 2 },
        "http": { "port": 70000, "bind": ["x", "127.0.0.1", { "address": 4, "port": "y" }] },
        "driver": "etcd:"
    }"#;
    let paths: Vec<_> = found(text)
        .into_iter()
        .map(|line| line.split(": ").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        paths,
        [
            "Key server.wrokers",
            "Error server.workers",
            "Error server.tcpTimeout",
            "Error http.port",
            "Error http.bind[0]",
            "Error http.bind[2].address",
            "Error http.bind[2].port",
            "Error driver",
        ]
    );
}

#[test]
fn unknown_key_is_told_with_what_was_meant() {
    let table = [
        (
            r#"{"server": {"wrokers": 2}}"#,
            "server.wrokers: this key is unknown; did you mean `workers`?",
        ),
        (
            r#"{"server": {"tcptimeout": 2}}"#,
            "server.tcptimeout: this key is unknown; did you mean `tcpTimeout`?",
        ),
        (
            r#"{"server": {"bind": 2}}"#,
            "server.bind: this key is unknown; did you mean `http.bind`?",
        ),
        (
            r#"{"workers": 2}"#,
            "workers: this key is unknown; did you mean `server.workers`?",
        ),
        (
            r#"{"redisPasword": "x"}"#,
            "redisPasword: this key is unknown; did you mean `redisPassword`?",
        ),
        (
            r#"{"htpp": {}}"#,
            "htpp: this key is unknown; did you mean `http`?",
        ),
        (
            r#"{"http": {"bind": [{"address": "::1", "prot": 1}]}}"#,
            "http.bind[0].prot: this key is unknown; did you mean `port`?",
        ),
        (
            r#"{"https": {"bind": [], "crt": "x"}}"#,
            "https.crt: this key is unknown; did you mean `cert`?",
        ),
        (
            r#"{"flux": {"capacitor": 88}}"#,
            "flux: this key is unknown",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(found(text), [format!("Key {expected}")], "{text}");
    }
}

#[test]
fn known_keys_are_silent() {
    let text = r#"{"$schema": "schema.json", "server": {"lruCache": {"size": 1, "ttl": 1}, "staticDir": null},
        "http": {"bind": {"address": "::", "port": 0}, "trustedProxies": "10.1.2.3"}, "user": 33}"#;
    assert_eq!(found(text), [""; 0]);
}

/// A value that no setting accepts: a section takes it as wrong, too.
const ABSURD: &str = "[[{}]]";

/// Writes `value` at `path`, whose `[]` become an array of one.
fn file_with(path: &str, value: &str) -> String {
    let open: String = path
        .split('.')
        .map(|key| match key.strip_suffix("[]") {
            Some(key) => format!("{{\"{key}\":["),
            None => format!("{{\"{key}\":"),
        })
        .collect();
    let close = path
        .split('.')
        .rev()
        .map(|key| if key.ends_with("[]") { "]}" } else { "}" });
    format!("{open}{value}{}", close.collect::<String>())
}

#[test]
fn every_key_of_the_schema_is_read() {
    let paths = paths(&schema());
    assert!(paths.len() > 60, "{paths:?}");
    for path in paths {
        let lines = found(&file_with(&path, ABSURD));
        let expected = format!("Error {}", path.replace("[]", "[0]"));
        let is_told = |line: &String| {
            line.strip_prefix(&expected)
                .is_some_and(|rest| rest.starts_with([':', '[']))
        };
        assert!(lines.iter().any(is_told), "{path}: {lines:?}");
        let is_unknown = lines.iter().any(|line| line.contains("unknown"));
        assert!(!is_unknown, "{path}: {lines:?}");
    }
}

#[test]
fn places_of_the_file_follow_the_flavour() {
    let table: [(Option<&str>, &[&str]); 3] = [
        (
            None,
            &[
                "./config/config.json",
                "/etc/hipache/config.json",
                "/etc/hipache.json",
            ],
        ),
        (
            Some(""),
            &[
                "./config/config.json",
                "/etc/hipache/config.json",
                "/etc/hipache.json",
            ],
        ),
        (
            Some("dev"),
            &["./config/config_dev.json", "/etc/hipache/config_dev.json"],
        ),
    ];
    for (flavour, expected) in table {
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(candidates(flavour), expected, "{flavour:?}");
    }
    let tried = find(Some("no-such-flavour")).unwrap_err();
    assert_eq!(tried.len(), 2);
}
