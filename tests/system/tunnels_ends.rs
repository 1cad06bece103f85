//! Who ended a WebSocket, and how, as the access log and the span tell it: by a Close frame, by the end
//! of a connection or a stream, by a reset, by silence, by a worker that leaves.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use nix::sys::signal::Signal;
use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::{
    Collector, Hipache, Redis, SOON, Setup, Socket, StreamBackend, Way, attribute, block_on,
    connect, eventually, extended_connect, new_server, old_server, read_message, speak,
};
use crate::https::secure;
use crate::tunnels::{Tls, address};

/// What a line tells here.
const TELLING: &str =
    "$request_uri $hipache_end $hipache_tunnel_closed_by $hipache_websocket_close";

/// A proxy whose lines and spans tell the ends of tunnels.
struct Scene {
    tls: Tls,
    redis: Redis,
    collector: Collector,
    hipache: Hipache,
    log: PathBuf,
}

impl Scene {
    fn start(backend: &str, keys: &serde_json::Value) -> Self {
        let (tls, redis, collector) = (Tls::new(), Redis::start(), Collector::start());
        let log = tls.file("told.log");
        let telling = json!({
            "server": { "accessLog": { "target": &log, "format": TELLING } },
            "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 },
        });
        let mut all = telling;
        for (section, keys) in keys.as_object().unwrap() {
            for (key, value) in keys.as_object().unwrap() {
                all[section][key] = value.clone();
            }
        }
        let hipache = tls.start(&redis, backend, &all);
        Self {
            tls,
            redis,
            collector,
            hipache,
            log,
        }
    }

    fn open(&self, way: &Way, target: &str) -> Socket {
        let mut socket = way.open(address(&self.hipache, way), "a.test", target);
        // Something went through: the tunnel stands.
        socket.send(Message::binary(b"hello".to_vec())).unwrap();
        let (message, ..) = read_message(&mut socket);
        assert_eq!(message.into_data(), b"hello".as_slice());
        socket
    }

    /// Holds the line and the span of a target against what is expected.
    #[track_caller]
    fn expect(&self, target: &str, expected: &str) {
        let found = eventually(&format!("a line of {target}"), SOON, || {
            let text = std::fs::read_to_string(&self.log).ok()?;
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find_map(|(told, rest)| (told == target).then(|| rest.to_owned()))
        });
        assert_eq!(found, expected, "{target}");
        let root = &self.collector.trace_of(target)[0];
        let told = |key| attribute(root, key).unwrap_or_else(|| "-".to_owned());
        let span = [
            "hipache.end",
            "hipache.tunnel.closed_by",
            "hipache.websocket.close_status",
        ];
        assert_eq!(span.map(told).join(" "), expected, "the span of {target}");
        assert_eq!(attribute(root, "error.type"), None, "{target}");
    }
}

/// What is done to an open WebSocket, and what is told of it.
type Case = (&'static str, fn(Socket), &'static str);

const CASES: [Case; 6] = [
    ("client-says", client_says, "ok client 1001"),
    (
        "backend-says",
        |socket| told_to("close", socket),
        "ok backend 4001",
    ),
    ("client-leaves", drop, "client_gone client -"),
    (
        "backend-leaves",
        |socket| told_to("leave", socket),
        "connection_terminated backend -",
    ),
    (
        "client-says-and-leaves",
        client_says_and_leaves,
        "ok client 1000",
    ),
    (
        "backend-resets",
        |socket| told_to("reset", socket),
        "connection_terminated backend -",
    ),
];

fn client_says(mut socket: Socket) {
    let code = CloseCode::Away;
    let reason = "".into();
    socket.close(Some(CloseFrame { code, reason })).unwrap();
    // The server's Close frame comes back, and then the end.
    assert!(matches!(socket.read(), Ok(Message::Close(Some(_)))));
    while socket.read().is_ok() {}
}

/// Many clients do not wait for the answer.
fn client_says_and_leaves(mut socket: Socket) {
    let code = CloseCode::Normal;
    let reason = "".into();
    socket.close(Some(CloseFrame { code, reason })).unwrap();
}

/// Makes the server end it; the client must notice.
fn told_to(word: &str, mut socket: Socket) {
    socket.send(Message::text(word)).unwrap();
    let began = Instant::now();
    while socket.read().is_ok() {}
    assert!(began.elapsed() < SOON, "the client was told of {word}");
}

#[test]
fn each_end_is_told_by_line_and_span_whatever_carries_the_websocket() {
    let (_old, old) = old_server(None);
    let new = new_server(None);
    let scene = Scene::start(&old, &json!({}));
    for (version, url) in [("old", old), ("new", new.url())] {
        scene.redis.run(&["DEL", "frontend:a.test"]);
        scene.redis.route("a.test", &[&url]);
        for (name, way) in scene.tls.ways() {
            for (word, end, expected) in CASES {
                let target = format!("/{version}/{name}/{word}");
                end(scene.open(&way, &target));
                scene.expect(&target, expected);
            }
        }
    }
}

#[test]
fn a_client_that_cuts_its_connection_is_gone() {
    let (_backend, url) = old_server(None);
    let scene = Scene::start(&url, &json!({}));
    let addresses = [scene.hipache.address(), secure(&scene.hipache)];
    for (name, address, config) in [
        ("ws", addresses[0], None),
        ("wss", addresses[1], Some(scene.tls.client(b"http/1.1"))),
    ] {
        // A reset; and an end of the connection in the midst of a frame.
        for linger in [Some(Duration::ZERO), None] {
            let target = format!("/cut/{name}/{}", linger.is_some());
            let tcp = connect(address);
            let held = tcp.try_clone().unwrap();
            let mut socket = Way::shake_hands(tcp, config.as_ref(), "a.test", &target);
            socket.send(Message::binary(vec![0; 100])).unwrap();
            read_message(&mut socket);
            socket2::SockRef::from(&held).set_linger(linger).unwrap();
            held.shutdown(std::net::Shutdown::Read).ok();
            drop((held, socket));
            scene.expect(&target, "client_gone client -");
        }
    }
    for word in ["reset", "connection"] {
        let target = format!("/cut/h2/{word}");
        block_on(async {
            let mut requests = speak(scene.hipache.address()).await;
            let opening = extended_connect(requests.clone(), "a.test", &target);
            let (mut recv, mut send) = opening.await;
            send.send_data(Bytes::from_static(b"\x82\x80\0\0\0\0"), false)
                .unwrap();
            recv.data().await.unwrap().unwrap();
            if word == "reset" {
                send.send_reset(Reason::CANCEL);
                // Answered after the reset, while the connection goes on.
                let ping = Request::get("http://__ping__/").body(()).unwrap();
                let (answer, _) = requests.send_request(ping, true).unwrap();
                assert_eq!(answer.await.unwrap().status(), 200);
            }
            // The connection ends with the runtime.
        });
        scene.expect(&target, "client_gone client -");
    }
}

#[test]
fn a_backend_that_resets_its_stream_ends_the_tunnel_for_either_client() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let setup = Setup {
            takes_websockets: true,
            ..Setup::default()
        };
        let backend = StreamBackend::start(setup, move |mut call| async move {
            let mut send = call.head(Response::new(()));
            send.send_data(Bytes::from_static(b"\x82\x00"), false)
                .unwrap();
            // The client says that it is there.
            call.request.body_mut().data().await.unwrap().unwrap();
            send.send_reset(reason);
        });
        let scene = Scene::start(&backend.url(), &json!({}));
        for (name, way) in scene.tls.ways() {
            let target = format!("/{name}");
            let mut socket = way.open(address(&scene.hipache, &way), "a.test", &target);
            read_message(&mut socket);
            socket.send(Message::binary(b"here".to_vec())).unwrap();
            while socket.read().is_ok() {}
            scene.expect(&target, "connection_terminated backend -");
        }
    }
}

#[test]
fn silence_ends_tunnels_with_a_limit_over_every_protocol() {
    let (_old, old) = old_server(None);
    let new = new_server(None);
    let scene = Scene::start(&old, &json!({ "server": { "tunnelTimeout": 0.6 } }));
    for (version, url) in [("old", old), ("new", new.url())] {
        scene.redis.run(&["DEL", "frontend:a.test"]);
        scene.redis.route("a.test", &[&url]);
        for (name, way) in scene.tls.ways() {
            let target = format!("/{version}/{name}");
            let mut socket = scene.open(&way, &target);
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(300));
                socket.send(Message::binary(b"still".to_vec())).unwrap();
                read_message(&mut socket);
            }
            let began = Instant::now();
            while socket.read().is_ok() {}
            assert!(began.elapsed() >= Duration::from_millis(500), "{target}");
            scene.expect(&target, "tunnel_idle - -");
        }
    }
}

#[test]
fn tunnels_of_either_version_last_through_a_reload_and_end_with_the_worker() {
    let (_backend, url) = old_server(None);
    let mut scene = Scene::start(
        &url,
        &json!({ "server": { "gracefulWait": 1, "debug": true } }),
    );
    let ways = scene.tls.ways();
    let mut sockets: Vec<_> = ways
        .iter()
        .map(|(name, way)| (*name, scene.open(way, &format!("/{name}"))))
        .collect();
    let workers = scene.hipache.workers();
    scene.hipache.signal(Signal::SIGHUP);
    scene.hipache.wait_for_stderr("worker ready", 2);
    scene.hipache.wait_for_stderr("only tunnels are left", 1);
    for (name, socket) in &mut sockets {
        socket.send(Message::binary(b"on".to_vec())).unwrap();
        let (message, ..) = read_message(socket);
        assert_eq!(message.into_data(), b"on".as_slice(), "{name}");
    }
    assert!(scene.hipache.workers().contains(&workers[0]));
    scene.hipache.stop();
    for (name, socket) in &mut sockets {
        while socket.read().is_ok() {}
        scene.expect(&format!("/{name}"), "shutdown - -");
    }
}
