//! HTTPS listeners from what is written for all and for one.

use serde_json::{Value, json};

use super::*;
use crate::config::{findings::Weight, section};

/// The listeners in one line each, and what is told.
fn found(written: &Value) -> (Vec<String>, Vec<String>) {
    let mut findings = Findings::default();
    let listeners = resolve(section::read(written).unwrap(), &mut findings);
    let pair = |pair: &Pair| {
        let passphrase = pair.passphrase.as_ref().map_or("", |secret| &secret.0);
        let (cert, key) = (pair.cert.display(), pair.key.display());
        format!("{cert}/{key}/{passphrase}")
    };
    let line = |bind: &HttpsBind| {
        let pairs: Vec<_> = bind.pairs.iter().map(pair).collect();
        format!("{} {} {:?}", bind.address, pairs.join(" "), bind.ca)
    };
    let told = findings.iter().map(ToString::to_string).collect();
    (listeners.iter().map(line).collect(), told)
}

#[test]
fn a_listener_inherits_what_it_does_not_override() {
    let written = json!({
        "port": 8443, "key": "k", "passphrase": "hush", "cert": "c", "ca": "a",
        "bind": [
            "::1",
            { "address": "::2", "port": 1, "key": "k2", "ca": ["x", "y"] },
            { "address": "::3", "cert": "c3", "passphrase": "own" },
        ],
    });
    let (listeners, told) = found(&written);
    let expected = [
        r#"[::1]:8443 c/k/hush ["a"]"#,
        r#"[::2]:1 c/k2/ ["x", "y"]"#,
        r#"[::3]:8443 c3/k/own ["a"]"#,
    ];
    assert_eq!(listeners, expected);
    assert_eq!(told, [""; 0]);
    let (listeners, told) = found(&json!({ "key": "k", "cert": "c" }));
    assert_eq!(listeners, [""; 0]);
    assert_eq!(
        told,
        ["https.bind: not given, so nothing listens for HTTPS"]
    );
}

#[test]
fn each_certificate_has_its_key() {
    let both = json!(["c", "d"]);
    let table = [
        (json!({ "cert": both, "key": ["k", "l"] }), "c/k/ d/l/", ""),
        (
            json!({ "cert": both, "key": ["k", "l"], "passphrase": "p" }),
            "c/k/p d/l/p",
            "",
        ),
        (
            json!({ "cert": both, "key": ["k", "l"], "passphrase": [null, "p"] }),
            "c/k/ d/l/p",
            "",
        ),
        (
            json!({ "cert": both, "key": "k" }),
            "",
            "`key` has 1, and `cert` 2: expected as many of both",
        ),
        (
            json!({ "cert": "c", "key": "k", "passphrase": ["p", "q"] }),
            "",
            "`passphrase` has 2, and `cert` 1: expected as many of both",
        ),
        (
            json!({ "cert": [], "key": [] }),
            "",
            "HTTPS needs both a `key` and a `cert`, here or in `https`",
        ),
        (
            json!({ "cert": "c" }),
            "",
            "HTTPS needs both a `key` and a `cert`, here or in `https`",
        ),
        (
            json!({ "cert": "c", "key": "k", "requestCert": true }),
            "c/k/",
            "`requestCert` needs a `ca` that vouches for the certificates of clients",
        ),
    ];
    for (mut written, pairs, text) in table {
        written["address"] = json!("::1");
        let (listeners, told) = found(&json!({ "bind": [written] }));
        let shown = |pairs: &str| format!("[::1]:443 {pairs} []");
        let expected = Vec::from_iter((!pairs.is_empty()).then(|| shown(pairs)));
        assert_eq!(listeners, expected, "{written}");
        let expected = Vec::from_iter((!text.is_empty()).then(|| format!("https.bind[0]: {text}")));
        assert_eq!(told, expected, "{written}");
    }
}

#[test]
fn terms_are_inherited_and_told_once() {
    let written = json!({
        "key": "k", "cert": "c", "ciphers": "AES:RC4",
        "bind": [
            "::1",
            { "address": "::2", "secureOptions": 0x2000_0000 },
            { "address": "::3", "ciphers": "RC4", "tlsPreset": "modern" },
        ],
    });
    let mut findings = Findings::default();
    let listeners = resolve(section::read(&written).unwrap(), &mut findings);
    let counts: Vec<_> = listeners
        .iter()
        .map(|bind| bind.terms.suites.len())
        .collect();
    assert_eq!(counts, [7, 4, 3]);
    let told: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let left_out = "RC4: no suite that is spoken here, left out";
    let expected = [
        format!("https.ciphers: {left_out}"),
        format!("https.bind[2].ciphers: {left_out}"),
    ];
    assert_eq!(told, expected);
    assert!(
        findings
            .iter()
            .all(|finding| finding.weight == Weight::Warning)
    );
}

#[test]
fn a_public_port_is_one() {
    for (port, expected, count) in [(1, Some(1), 0), (8443, Some(8443), 0), (0, None, 1)] {
        let mut findings = Findings::default();
        let found = public_port(Written::Right(Port(port)), &mut findings);
        assert_eq!(
            (found, findings.iter().count()),
            (expected, count),
            "{port}"
        );
    }
}
