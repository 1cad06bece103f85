//! Connections that a balancer hands over with a PROXY header.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Backend, Client, Collector, Ended, Hipache, Redis, Request, SOON, attribute, eventually,
};

/// A client that nobody trusts, and one that is a proxy itself.
const STRANGER: &str = "PROXY TCP4 203.0.113.7 198.51.100.2 40000 443\r\n";
const PROXY: &str = "PROXY TCP6 2001:db8::9 2001:db8::2 40001 8443\r\n";

/// Asks for a PROXY header on its first address and for none on its second.
fn scene(keys: &Value) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let bind = json!([{ "address": "127.0.0.1", "proxyProtocol": true }, "127.0.0.2"]);
    let trusted = json!(["127.0.0.0/8", "2001:db8::/32"]);
    let hipache = Hipache::builder()
        .redis(&redis)
        .set(&json!({ "http": { "bind": bind, "trustedProxies": trusted } }))
        .set(&json!({ "admin": { "port": 0, "bind": "127.0.0.1" } }))
        .set(keys)
        .start();
    (redis, backend, hipache)
}

/// Version 2 of [`STRANGER`], with an extension.
fn block() -> Vec<u8> {
    let mut block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".to_vec();
    block.extend([203, 0, 113, 7, 198, 51, 100, 2, 0x9C, 0x40, 1, 187]);
    block.extend([4, 0, 1, 7]);
    block
}

fn request(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")
}

/// Sends these bytes as one connection, and gives what the backend got.
fn pass(hipache: &mut Hipache, backend: &Backend, bytes: &[u8]) -> Request {
    let mut client = hipache.client();
    client.send(bytes);
    assert_eq!(client.response().status, 200);
    backend.last()
}

fn fields<'a>(request: &'a Request, names: [&str; 3]) -> [Option<&'a str>; 3] {
    names.map(|name| request.field(name))
}

const TOLD: [&str; 3] = ["x-forwarded-for", "x-real-ip", "x-forwarded-port"];

#[test]
fn the_client_of_the_header_is_the_one_that_is_told_and_logged() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let stranger = [Some("203.0.113.7"), Some("203.0.113.7"), Some("443")];
    for header in [STRANGER.as_bytes().to_vec(), block()] {
        let bytes = [&header, request("").as_bytes()].concat();
        let got = pass(&mut hipache, &backend, &bytes);
        assert_eq!(fields(&got, TOLD), stranger);
        assert_eq!(hipache.log().next().address, "::ffff:203.0.113.7");
    }
    // The balancer is trusted, yet it is its client who speaks: only a client that is trusted itself
    // is believed.
    let forged = "X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Port: 1\r\n";
    let bytes = [STRANGER, &request(forged)].concat();
    let got = pass(&mut hipache, &backend, bytes.as_bytes());
    assert_eq!(fields(&got, TOLD), stranger);
    assert_eq!(hipache.log().next().address, "::ffff:203.0.113.7");
    let bytes = [PROXY, &request(forged)].concat();
    let got = pass(&mut hipache, &backend, bytes.as_bytes());
    let told = [Some("1.2.3.4"), Some("1.2.3.4"), Some("1")];
    assert_eq!(fields(&got, TOLD), told);
    assert_eq!(hipache.log().next().address, "::ffff:1.2.3.4");
    // Nothing of it where no header is asked for.
    let mut client = Client::connect(hipache.addresses()[1]);
    client.get("a.test", "/x");
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.last().field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(hipache.log().next().address, "::ffff:127.0.0.1");
    let mut client = Client::connect(hipache.addresses()[1]);
    client.send([STRANGER, &request("")].concat());
    assert_eq!(client.response().status, 400, "not asked for, not believed");
}

#[test]
fn a_header_is_read_to_its_last_byte_however_it_is_cut() {
    let (_redis, backend, mut hipache) = scene(&json!({}));
    let rest = request("");
    for header in [STRANGER.as_bytes(), &block()] {
        for cut in 1..=header.len() {
            let mut client = hipache.client();
            client.send(&header[..cut]);
            client.send(&header[cut..]);
            client.send(&rest);
            assert_eq!(client.response().status, 200, "cut at {cut}");
            assert_eq!(backend.last().field("x-real-ip"), Some("203.0.113.7"));
        }
        let lines = hipache.log().take_lines(header.len());
        assert!(
            lines
                .iter()
                .all(|line| line.address == "::ffff:203.0.113.7")
        );
    }
}

#[test]
fn log_and_span_tell_the_client_and_the_balancer() {
    let collector = Collector::start();
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    redis.route("a.test", &[&backend.url()]);
    let starter = Hipache::builder().redis(&redis);
    let log = starter.directory().join("own.log");
    let format = "$remote_addr $remote_port $realip_remote_addr $realip_remote_port \
                  $proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr \
                  $proxy_protocol_server_port $server_port";
    let hipache = starter
        .set(&json!({ "http": { "proxyProtocol": true } }))
        .set(&json!({ "server": { "accessLog": { "target": log, "format": format } } }))
        .set(&json!({ "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 } }))
        .start();
    let port = hipache.address().port();
    let mut lines = Vec::new();
    let cases = [
        (
            STRANGER.as_bytes().to_vec(),
            "203.0.113.7 40000",
            "203.0.113.7 40000 198.51.100.2 443",
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1 PEER", "- - - -"),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(),
            "127.0.0.1 PEER",
            "- - - -",
        ),
    ];
    for (index, (header, client_told, proxied)) in cases.into_iter().enumerate() {
        let mut client = hipache.client();
        let path = format!("/case{index}");
        client.send(&header);
        client.get("a.test", &path);
        assert_eq!(client.response().status, 200);
        let peer = client.into_tcp().local_addr().unwrap();
        let client_told = client_told.replace("PEER", &peer.port().to_string());
        let (address, client_port) = client_told.split_once(' ').unwrap();
        lines.push(format!(
            "{client_told} 127.0.0.1 {} {proxied} {port}",
            peer.port()
        ));
        let span = &collector.trace_of(&path)[0];
        let told = |key| attribute(span, key).unwrap_or_default();
        assert_eq!(told("client.address"), address);
        assert_eq!(told("network.peer.address"), "127.0.0.1");
        assert_eq!(told("network.peer.port"), peer.port().to_string());
        let (told_port, server_port) = match index {
            0 => (client_port.to_owned(), "443".to_owned()),
            _ => (String::new(), port.to_string()),
        };
        assert_eq!(
            (told("client.port"), told("server.port")),
            (told_port, server_port)
        );
    }
    let written = eventually("three lines", SOON, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == lines.len()).then_some(text)
    });
    assert_eq!(written.lines().collect::<Vec<_>>(), lines);
}

/// What a scrape counts of the headers: untrusted, malformed; and connections without a byte.
fn counted(hipache: &Hipache) -> [f64; 3] {
    let scrape = hipache.scrape();
    [
        "hipache_proxy_headers_untrusted_total",
        "hipache_proxy_headers_malformed_total",
        "hipache_connections_silent_total",
    ]
    .map(|name| scrape.sum(name, &[]))
}

#[test]
fn a_header_of_anybody_else_is_never_believed() {
    let from = json!({ "http": { "proxyProtocolFrom": "192.0.2.0/24" } });
    let (_redis, backend, mut hipache) = scene(&from);
    for bytes in [[STRANGER, &request("")].concat(), request("")] {
        let mut client = hipache.client();
        // It may be closed before all of this is sent.
        let _ = client.try_send(bytes);
        let ended = client.end(SOON);
        assert!(matches!(ended, Ended::Fin | Ended::Reset), "{ended:?}");
    }
    assert_eq!(counted(&hipache), [2.0, 0.0, 0.0]);
    assert_eq!(backend.count(), 0);
    hipache.log().expect_none();
    let told = hipache.stderr();
    let told = told
        .iter()
        .filter(|line| line.contains("http.proxyProtocolFrom"));
    assert_eq!(told.count(), 1, "at most once a minute");
}

#[test]
fn what_is_no_header_is_closed_and_counted_and_silence_is_silence() {
    let limits = json!({ "server": { "requestHeadTimeout": 0.2 } });
    let (_redis, backend, mut hipache) = scene(&limits);
    // Not a header, one that is wrong, one that never comes to its end, and one that is left.
    let cases = [request(""), "PROXY TCP4 x\r\n".into(), "PROXY TC".into()];
    for bytes in &cases {
        let mut client = hipache.client();
        let _ = client.try_send(bytes);
        let ended = client.end(SOON);
        assert!(matches!(ended, Ended::Fin | Ended::Reset), "{ended:?}");
    }
    let mut client = hipache.client();
    client.send("PROXY TC");
    client.half_close();
    client.end(SOON);
    assert_eq!(counted(&hipache), [0.0, 4.0, 0.0]);
    // A check of health: nothing at all, and a connection of the balancer's own.
    let mut client = hipache.client();
    client.half_close();
    client.end(SOON);
    let mut client = hipache.client();
    client.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    client.half_close();
    client.end(SOON);
    assert_eq!(counted(&hipache), [0.0, 4.0, 2.0]);
    assert_eq!(backend.count(), 0);
    hipache.log().expect_none();
    let told = hipache.stderr();
    let told = told
        .iter()
        .filter(|line| line.contains("proxied connection"));
    assert_eq!(told.count(), 1, "at most once a minute");
}

#[test]
fn a_drain_does_not_wait_for_a_header_that_does_not_come() {
    let keys = json!({ "server": { "drainIdle": 0.2, "gracefulWait": 20 } });
    let (_redis, _backend, mut hipache) = scene(&keys);
    let mut client = hipache.client();
    client.send("PROXY TC");
    hipache.signal(nix::sys::signal::Signal::SIGTERM);
    let status = hipache.wait(Duration::from_secs(10));
    assert!(status.success(), "{status:?}");
}
