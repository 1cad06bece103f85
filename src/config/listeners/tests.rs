//! Who asks for PROXY headers, and from whom.

use serde_json::json;

use super::*;
use crate::config::section;

#[test]
fn a_listener_says_for_itself_whether_it_asks_for_proxy_headers() {
    let proxied = json!({ "address": "127.0.0.1", "proxyProtocol": true });
    let plain = json!({ "address": "127.0.0.1", "proxyProtocol": false });
    let table = [
        (json!({}), "", "127.0.0.0/8"),
        (
            json!({ "bind": ["::1", proxied] }),
            "127.0.0.1:80",
            "127.0.0.0/8",
        ),
        (
            json!({ "bind": ["::1", plain], "proxyProtocol": true, "trustedProxies": "::1" }),
            "[::1]:80",
            "::1/128",
        ),
        (
            json!({ "proxyProtocol": true, "proxyProtocolFrom": ["192.0.2.1"] }),
            "127.0.0.1:80",
            "192.0.2.1/32",
        ),
    ];
    for (written, asking, from) in table {
        let mut findings = Findings::default();
        let http = http(section::read(&written).unwrap(), &mut findings);
        assert!(!findings.has_errors(), "{written}: {findings:?}");
        let asks: Vec<_> = http
            .proxy_protocol
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(asks.join(" "), asking, "{written}");
        assert_eq!(http.proxy_protocol_from[0].to_string(), from, "{written}");
        assert!(
            http.proxy_protocol
                .iter()
                .all(|asks| http.bind.contains(asks))
        );
    }
}
