//! WebSockets over every pair of protocols: large messages, pings while they flow, bounded memory, and
//! what is counted.

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::json;
use tungstenite::Message;

use crate::harness::{
    Authority, Collector, Directory, Hipache, Redis, SOON, Way, attribute, eventually, new_server,
    old_server, read_message, send_fragments, status,
};
use crate::https::{client, listener, secure};

const MIB: usize = 1 << 20;
/// A message as large as real ones get.
const LARGE: usize = 64 * MIB;
/// What a worker may need more than before for any number of large messages, in KiB.
const ROOM: u64 = 24 << 10;

/// Who vouches for the proxy and its backends.
pub(crate) struct Tls {
    files: Directory,
    pub(crate) authority: Authority,
}

impl Tls {
    pub(crate) fn new() -> Self {
        Self {
            files: Directory::fresh(),
            authority: Authority::new(),
        }
    }

    /// A proxy for `a.test` with a listener of each kind.
    pub(crate) fn start(&self, redis: &Redis, backend: &str, keys: &serde_json::Value) -> Hipache {
        redis.route("a.test", &[backend]);
        let shown = self.authority.issue(&["a.test"]);
        let ca = self.files.write("ca.pem", self.authority.pem());
        Hipache::builder()
            .redis(redis)
            .set(&listener(&self.files, &shown, &json!({})))
            .set(&json!({ "http": { "h2c": true },
                "server": { "backendCa": ca },
                "admin": { "bind": "127.0.0.1", "port": 0 },
            }))
            .set(keys)
            .start()
    }

    /// A path among the test's files.
    pub(crate) fn file(&self, name: &str) -> std::path::PathBuf {
        self.files.join(name)
    }

    /// A client that agrees on one of these protocols.
    pub(crate) fn client(&self, protocol: &[u8]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&client(&self.authority, rustls::ALL_VERSIONS));
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }

    /// Every way to come, with a word for it.
    pub(crate) fn ways(&self) -> [(&'static str, Way); 4] {
        [
            ("ws", Way::Http1),
            ("wss", Way::Https1(self.client(b"http/1.1"))),
            ("h2c", Way::Http2),
            ("h2", Way::Https2(self.client(b"h2"))),
        ]
    }
}

/// Where this client finds the proxy.
pub(crate) fn address(hipache: &Hipache, way: &Way) -> std::net::SocketAddr {
    match way {
        Way::Http1 | Way::Http2 => hipache.address(),
        Way::Https1(_) | Way::Https2(_) => secure(hipache),
    }
}

/// Sends a message of this size both ways, in one frame and in fragments.
fn exchange_large(hipache: &Hipache, way: &Way, size: usize) {
    let mut socket = way.open(address(hipache, way), "a.test", "/large");
    let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let fragments = size.div_ceil(4 * MIB);
    socket.send(Message::binary(content.clone())).unwrap();
    let (message, pings, _) = read_message(&mut socket);
    assert!(message.into_data() == content, "one frame came back");
    assert_eq!(pings, fragments, "the server's pings came while it flowed");
    assert!(send_fragments(&mut socket, &content));
    let (message, pings, pongs) = read_message(&mut socket);
    assert!(message.into_data() == content, "the fragments came back");
    assert!(
        pongs > 0,
        "the client's pings were answered while it flowed"
    );
    assert_eq!(pings, fragments);
    // Each read of a ping leaves a pong, sent with what is written next; only the last of several counts.
    socket.send(Message::text("pongs")).unwrap();
    let (answer, ..) = read_message(&mut socket);
    assert!(answer.into_text().unwrap().parse::<usize>().unwrap() > 0);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
}

/// The most memory that a worker has had, in KiB.
fn peak(hipache: &Hipache) -> u64 {
    status(hipache.workers()[0], "VmHWM")[0]
}

#[test]
fn messages_of_64_mib_pass_both_ways_while_memory_stays_bounded() {
    let tls = Tls::new();
    let of_backend = || Some(tls.authority.issue(&["127.0.0.1"]));
    let (_http, http) = old_server(None);
    let (_https, https) = old_server(of_backend());
    let (h2c, h2) = (new_server(None), new_server(of_backend()));
    let urls = [http, https, h2c.url(), h2.url()];
    let redis = Redis::start();
    let hipache = tls.start(&redis, &urls[0], &json!({}));
    let all: Vec<_> = urls
        .iter()
        .flat_map(|url| tls.ways().map(|(name, way)| (url, name, way)))
        .collect();
    for (number, (url, name, way)) in all.iter().enumerate() {
        redis.run(&["DEL", "frontend:a.test"]);
        redis.route("a.test", &[url]);
        // All pairs, with four of them for the whole size: each way and each backend once.
        let size = if number % 5 == 0 { LARGE } else { 6 * MIB };
        let before = peak(&hipache);
        exchange_large(&hipache, way, size);
        assert!(
            peak(&hipache) < before + ROOM,
            "{name} to {url}: {before} KiB before"
        );
    }
    let scrape = eventually("the end of all tunnels", SOON, || {
        let scrape = hipache.scrape();
        (scrape.sum("hipache_tunnels_open", &[]) == 0.0).then_some(scrape)
    });
    assert_eq!(scrape.sum("hipache_tunnels_total", &[]), all.len() as f64);
}

#[test]
fn a_tunnel_is_measured_as_one_whatever_carries_it() {
    let tls = Tls::new();
    let (redis, collector) = (Redis::start(), Collector::start());
    let (_backend, url) = old_server(None);
    let keys = json!({ "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 } });
    let hipache = tls.start(&redis, &url, &keys);
    for (number, (name, way)) in tls.ways().iter().enumerate() {
        let target = format!("/{name}");
        let mut socket = way.open(address(&hipache, way), "a.test", &target);
        assert_eq!(
            hipache.scrape().sum("hipache_tunnels_open", &[]),
            1.0,
            "{name}"
        );
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        let root = &collector.trace_of(&target)[0];
        let events: Vec<_> = root
            .events
            .iter()
            .map(|event| event.name.as_str())
            .collect();
        assert_eq!(events, ["upgrade", "tunnel_end"], "{name}");
        let status = if way.is_stream() { "200" } else { "101" };
        let told = attribute(root, "http.response.status_code");
        assert_eq!(told.as_deref(), Some(status), "{name}");
        let scrape = hipache.scrape();
        let count = |name: &str| scrape.sum(&format!("{name}_seconds_count"), &[]);
        assert_eq!(
            count("hipache_tunnel_duration"),
            (number + 1) as f64,
            "{name}"
        );
        assert_eq!(count("http_server_request_duration"), 0.0, "{name}");
        assert_eq!(scrape.sum("hipache_tunnels_open", &[]), 0.0, "{name}");
    }
}
