//! `options:<host>` with real TLS: plain requests are led to the port of HTTPS that clients know, and
//! those that come by it are served and told to stay.

use std::net::TcpListener;

use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::harness::{Authority, Backend, Directory, Hipache, Redis};
use crate::https::{client, get, listener, secure};

/// A host that is redirected and told to stay, and an HTTPS listener with these keys.
fn scene(more: &Value) -> (Redis, Backend, Directory, Authority, Hipache) {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("a.test", &[&backend.url()]);
    redis.run(&["HSET", "options:a.test", "https", "redirect", "hsts", "60"]);
    let keys = listener(&files, &authority.issue(&["a.test"]), more);
    let hipache = Hipache::with(&redis, &keys);
    (redis, backend, files, authority, hipache)
}

/// A port of this address that nobody listens on.
fn unused_port() -> u16 {
    let socket = TcpListener::bind("[::1]:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn plain_requests_are_led_to_the_listener_and_served_there() {
    let port = unused_port();
    let (_redis, backend, _files, authority, hipache) = scene(&json!({ "port": port }));
    let response = hipache.get("a.test", "/x?y=1");
    let location = format!("https://a.test:{port}/x?y=1");
    assert_eq!(response.status, 301);
    assert_eq!(response.field("location"), Some(location.as_str()));
    assert_eq!(response.field("strict-transport-security"), None);
    assert_eq!(backend.count(), 0);
    for version in [&TLS12, &TLS13] {
        let config = client(&authority, &[version]);
        let (response, _) = get(secure(&hipache), &config, "a.test", "/x?y=1").unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        let lower = response.to_ascii_lowercase();
        assert!(
            lower.contains("\r\nstrict-transport-security: max-age=60\r\n"),
            "{response}"
        );
    }
    assert_eq!(backend.count(), 2);
    assert_eq!(backend.last().field("x-forwarded-proto"), Some("https"));
}

#[test]
fn behind_a_port_mapping_they_are_led_to_the_port_that_clients_know() {
    for (public, expected) in [(443, "https://a.test/x"), (9443, "https://a.test:9443/x")] {
        let more = json!({ "port": unused_port(), "publicPort": public });
        let (_redis, _backend, _files, _authority, mut hipache) = scene(&more);
        let response = hipache.get("a.test", "/x");
        assert_eq!(response.field("location"), Some(expected));
        // It counts from the next reload.
        let former = hipache.workers();
        hipache.reload(&json!({ "https": { "publicPort": 1 } }));
        hipache.wait_for_workers(1, &former);
        let response = hipache.get("a.test", "/x");
        assert_eq!(response.field("location"), Some("https://a.test:1/x"));
    }
}
