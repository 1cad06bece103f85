//! TLS handshakes in the metrics: by what was agreed on, the same as the access log says, and by why
//! they came to nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

use crate::harness::{
    Authority, Backend, Collector, Directory, Hipache, Redis, SOON, Scrape, Starter, eventually,
};
use crate::https::{client, get, keep, listener, secure};

const HANDSHAKES: &str = "hipache_tls_handshakes_total";
const FAILED: &str = "hipache_tls_handshakes_failed_total";
const DURATIONS: &str = "hipache_tls_handshake_duration_seconds_count";

/// Version, suite, whether it was resumed, whose certificate was shown.
type Agreed = [String; 4];

fn starter(redis: &Redis, files: &Directory, authority: &Authority) -> Starter {
    // Clients name no host that is an address.
    let identity = authority.issue(&["default.test", "127.0.0.1"]);
    Hipache::builder()
        .redis(redis)
        .set(&listener(files, &identity, &json!({})))
        .set(&json!({ "admin": { "bind": "127.0.0.1", "port": 0 } }))
}

#[test]
fn handshakes_are_counted_as_the_log_tells_them() {
    let (redis, backend, collector) = (Redis::start(), Backend::saying("here"), Collector::start());
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    keep(&redis, "own.test", &authority.issue(&["own.test"]));
    let starter = starter(&redis, &files, &authority);
    let log = starter.directory().join("told.log");
    let format = "$ssl_protocol $ssl_cipher $ssl_session_reused $ssl_server_name";
    let hipache = starter
        .set(&json!({
            "server": { "workers": 2, "accessLog": { "target": &log, "format": format } },
            "telemetry": { "metrics": { "endpoint": collector.url(), "interval": 0.2 } },
        }))
        .start();
    let address = secure(&hipache);
    let mut count = 0;
    for (version, times) in [(&rustls::version::TLS12, 2), (&rustls::version::TLS13, 3)] {
        for (name, more) in [("own.test", 1), ("default.test", 2), ("127.0.0.1", 4)] {
            let config = client(&authority, &[version]);
            for _ in 0..times + more {
                get(address, &config, name, "/").expect(name);
                count += 1;
            }
        }
    }
    let told = told_by_log(&log, count);
    assert!(told.len() >= 12, "{told:?}");
    let metrics = hipache.scrape();
    assert_eq!(counted(&metrics), told);
    assert_eq!(metrics.sum(FAILED, &[]), 0.0);
    for (version, word) in [("TLSv1.2", "1.2"), ("TLSv1.3", "1.3")] {
        for resumed in ["false", "true"] {
            let those = told
                .iter()
                .filter(|(key, _)| key[0] == version && key[2] == resumed);
            let sum: usize = those.map(|(_, count)| count).sum();
            let labels = [("tls_protocol_version", word), ("tls_resumed", resumed)];
            let found = metrics.sum(DURATIONS, &labels);
            assert_eq!(found, f64::from(u32::try_from(sum).unwrap()), "{labels:?}");
        }
    }
    let all = f64::from(u32::try_from(count).unwrap());
    let pushed = |name: &'static str| {
        collector.wait_for_push(name, |pushed| pushed.sum(name) == all);
    };
    pushed("hipache.tls.handshakes");
    assert_eq!(collector.refusals(), [""; 0]);
}

/// The same counts by the lines of the access log, of which there must be so many.
fn told_by_log(log: &std::path::Path, count: usize) -> BTreeMap<Agreed, usize> {
    let text = eventually("the lines", SOON, || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        (text.lines().count() == count).then_some(text)
    });
    let mut told = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let resumed = if words[2] == "r" { "true" } else { "false" };
        let certificate = match words[3] {
            "own.test" => "own",
            "default.test" => "default",
            _ => "none",
        };
        let agreed = [words[0], words[1], resumed, certificate].map(str::to_owned);
        *told.entry(agreed).or_default() += 1;
    }
    told
}

fn counted(metrics: &Scrape) -> BTreeMap<Agreed, usize> {
    let samples = metrics.samples().iter();
    let samples = samples.filter(|((name, _), _)| name == HANDSHAKES);
    samples
        .map(|((_, labels), count)| {
            let labels: BTreeMap<_, _> = labels.iter().cloned().collect();
            let agreed = [
                format!("TLSv{}", labels["tls_protocol_version"]),
                labels["tls_cipher"].clone(),
                labels["tls_resumed"].clone(),
                labels["certificate"].clone(),
            ];
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of a few"
            )]
            (agreed, *count as usize)
        })
        .collect()
}

#[test]
fn handshakes_that_come_to_nothing_are_counted_by_reason() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    keep(&redis, "own.test", &authority.issue(&["own.test"]));
    let hipache = starter(&redis, &files, &authority)
        .set(&json!({
            "https": { "strictSni": true },
            "server": { "requestHeadTimeout": 1 },
        }))
        .start();
    let address = secure(&hipache);
    let both = [&rustls::version::TLS12, &rustls::version::TLS13];
    let trusting = client(&authority, &both);
    get(address, &trusting, "own.test", "/").unwrap();
    let silent = TcpStream::connect(address).unwrap();
    get(address, &trusting, "default.test", "/").unwrap_err();
    drop(TcpStream::connect(address).unwrap());
    get(address, &client(&Authority::new(), &both), "own.test", "/").unwrap_err();
    say(address, b"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n");
    get(address, &only_rsa(), "own.test", "/").unwrap_err();
    let reasons = [
        "timeout",
        "unknown_name",
        "client_gone",
        "alert_received",
        "not_tls",
        "no_common_terms",
    ];
    let metrics = eventually("all failures", SOON, || {
        let metrics = hipache.scrape();
        (metrics.sum(FAILED, &[]) >= 6.0).then_some(metrics)
    });
    for reason in reasons {
        let found = metrics.sum(FAILED, &[("error_type", reason)]);
        assert_eq!(found, 1.0, "{reason}: {}", metrics.text);
    }
    assert_eq!(metrics.sum(FAILED, &[]), 6.0);
    assert_eq!(metrics.sum(HANDSHAKES, &[]), 1.0);
    drop(silent);
}

/// Sends this without TLS and waits for the end.
fn say(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    // An alert, or a reset: either way it is over.
    stream.read_to_end(&mut rest).ok();
}

/// A client that takes only certificates with an RSA key; ours have others.
fn only_rsa() -> Arc<ClientConfig> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}
