//! What is written about TLS, and what is in force.

use serde_json::{Value, json};

use super::*;
use crate::config::section;

/// The terms in one line, and what is told.
fn found(written: &Value) -> (String, Vec<String>) {
    let mut findings = Findings::default();
    let said = Said::of(section::read(written).unwrap(), "https");
    let terms = said.resolve("https.bind", &mut findings);
    let count = |is_13| {
        let suites = terms.suites.iter();
        suites.filter(|suite| suite.is_13() == is_13).count()
    };
    let order = if terms.server_order { " ours" } else { "" };
    let tickets = if terms.tickets { "" } else { " no tickets" };
    let versions = terms.versions;
    let line = format!(
        "{versions:?} {} {}{order}{tickets}",
        count(false),
        count(true)
    );
    let weigh = |finding: &crate::config::findings::Finding| {
        let weight = if finding.is_error() {
            "error"
        } else {
            "warning"
        };
        format!("{weight} {finding}")
    };
    (line, findings.iter().map(weigh).collect())
}

#[test]
fn what_can_be_honoured_is() {
    let table = [
        (json!({}), "Both 6 3"),
        (json!({ "tlsPreset": "intermediate" }), "Both 6 3"),
        (json!({ "tlsPreset": "modern" }), "Tls13 0 3"),
        (json!({ "secureProtocol": "SSLv23_method" }), "Both 6 3"),
        (
            json!({ "secureProtocol": "SSLv23_server_method" }),
            "Both 6 3",
        ),
        (json!({ "secureProtocol": "TLS_method" }), "Both 6 3"),
        (json!({ "secureProtocol": "TLSv1_2_method" }), "Tls12 6 0"),
        (
            json!({ "secureProtocol": "TLSv1_2_server_method" }),
            "Tls12 6 0",
        ),
        (json!({ "honorCipherOrder": true }), "Both 6 3 ours"),
        (json!({ "honorCipherOrder": false }), "Both 6 3"),
        // SSL_OP_CIPHER_SERVER_PREFERENCE, SSL_OP_NO_TLSv1_2, SSL_OP_NO_TLSv1_3, SSL_OP_NO_TICKET.
        (json!({ "secureOptions": 0x0040_0000 }), "Both 6 3 ours"),
        (json!({ "secureOptions": 0x0800_0000 }), "Tls13 0 3"),
        (json!({ "secureOptions": 0x2000_0000 }), "Tls12 6 0"),
        (
            json!({ "secureOptions": 0x0000_4000 }),
            "Both 6 3 no tickets",
        ),
        // SSL_OP_ALL with SSL_OP_NO_SSLv2, _SSLv3, _TLSv1, _TLSv1_1: what nobody does anyway.
        (json!({ "secureOptions": 0x9700_0BFF_u32 }), "Both 6 3"),
        (json!({ "ciphers": "HIGH:!aNULL" }), "Both 6 3"),
        (json!({ "ciphers": "ECDHE+AES128:!MD5" }), "Both 2 3"),
        (
            json!({ "ciphers": "TLS_AES_128_GCM_SHA256:AES" }),
            "Both 4 1",
        ),
        (
            json!({ "ciphers": "AES", "secureProtocol": "TLSv1_2_method", "honorCipherOrder": true }),
            "Tls12 4 0 ours",
        ),
    ];
    for (written, expected) in table {
        let (terms, told) = found(&written);
        assert_eq!(terms, expected, "{written}");
        assert_eq!(told, [""; 0], "{written}");
    }
}

#[test]
fn what_cannot_be_honoured_is_told_once_by_its_name() {
    let table = [
        (
            json!({ "ciphers": "AES128-GCM-SHA256:RC4:HIGH:!MD5" }),
            "Both 6 3",
            "warning https.ciphers: AES128-GCM-SHA256, RC4: no suite that is spoken here, left out",
        ),
        (
            json!({ "ciphers": "TLS_AES_256_GCM_SHA384" }),
            "Tls13 0 1",
            "warning https.ciphers: no suite of TLS 1.2 is left, so TLS 1.3 alone is spoken",
        ),
        (
            json!({ "ciphers": "aRSA+AES" }),
            "Both 2 3",
            "warning https.ciphers: no suite of TLS 1.2 is left for certificates with ECDSA keys: \
             they are shown by TLS 1.3 alone",
        ),
        (
            json!({ "ciphers": "AES", "tlsPreset": "modern" }),
            "Tls13 0 3",
            "warning https.ciphers: TLS 1.2 is not spoken, so its suites are left out",
        ),
        (
            json!({ "secureOptions": 0x00A4_0000 }),
            "Both 6 3",
            "warning https.secureOptions: SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION, \
             SSL_OP_PRIORITIZE_CHACHA, SSL_OP_TLS_ROLLBACK_BUG: not supported, left out",
        ),
        (
            json!({ "secureOptions": 0x8000 }),
            "Both 6 3",
            "warning https.secureOptions: bits 0x8000: not supported, left out",
        ),
    ];
    for (written, expected, text) in table {
        let (terms, told) = found(&written);
        assert_eq!(
            (terms.as_str(), told),
            (expected, vec![text.to_owned()]),
            "{written}"
        );
    }
}

#[test]
fn terms_that_leave_nothing_are_errors() {
    let none = "error https.bind: `tlsPreset`, `secureProtocol` and `secureOptions` together leave no version of TLS";
    let expected = "expected SSLv23_method (TLS 1.2 and 1.3) or TLSv1_2_method";
    let unsafe_one = format!(
        "error https.secureProtocol: TLSv1_method asks for a version that is unsafe and not spoken, {expected}"
    );
    let unknown = format!("error https.secureProtocol: \"tls12\" is no method of TLS, {expected}");
    let suites = "error https.ciphers: no suite is left for the versions of TLS that are spoken";
    let table = [
        (
            json!({ "tlsPreset": "modern", "secureProtocol": "TLSv1_2_method" }),
            none,
        ),
        (json!({ "secureOptions": 0x2800_0000 }), none),
        (json!({ "secureProtocol": "TLSv1_method" }), &unsafe_one),
        (json!({ "secureProtocol": "tls12" }), &unknown),
        (
            json!({ "ciphers": "TLS_AES_128_GCM_SHA256", "secureProtocol": "TLSv1_2_method" }),
            suites,
        ),
    ];
    for (written, text) in table {
        assert_eq!(found(&written).1, [text], "{written}");
    }
}
