//! WebSockets and other upgrades, through to a real server.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::harness::{Backend, Client, Ended, Flow, Hipache, Redis, Refused, SOON, response};

/// A WebSocket server that sends back what it gets, after a greeting.
fn echo() -> Backend {
    Backend::sockets(|tcp| {
        let Ok(mut socket) = tungstenite::accept(tcp) else {
            return;
        };
        if socket.send(Message::text("welcome")).is_err() {
            return;
        }
        while let Ok(message) = socket.read() {
            let answer = match message {
                Message::Text(_) | Message::Binary(_) => socket.send(message),
                _ => socket.flush(),
            };
            if answer.is_err() {
                return;
            }
        }
    })
}

fn scene(backends: &[&str], keys: &Value) -> (Redis, Hipache) {
    let redis = Redis::start();
    redis.route("a.test", backends);
    let hipache = Hipache::with(&redis, keys);
    (redis, hipache)
}

/// Opens a WebSocket through the proxy.
fn open(hipache: &Hipache, target: &str) -> WebSocket<TcpStream> {
    let tcp = hipache.client().into_tcp();
    let request = format!("ws://a.test{target}");
    let (socket, answer) = tungstenite::client(request, tcp).expect("the handshake succeeds");
    assert_eq!(answer.status().as_u16(), 101);
    socket
}

/// The handshake of an upgrade as literal bytes.
fn upgrade(host: &str, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[test]
fn messages_pass_both_ways_to_a_real_server() {
    let backend = echo();
    let (_redis, mut hipache) = scene(&[&backend.url()], &json!({}));
    let mut socket = open(&hipache, "/chat?room=1");
    assert_eq!(socket.read().unwrap(), Message::text("welcome"));
    for round in 0..50 {
        socket
            .send(Message::text(format!("message {round}")))
            .unwrap();
        assert_eq!(
            socket.read().unwrap(),
            Message::text(format!("message {round}"))
        );
    }
    let large: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    socket.send(Message::binary(large.clone())).unwrap();
    assert!(
        socket.read().unwrap().into_data() == large,
        "5 MB came back"
    );
    socket
        .send(Message::Ping(b"are you there".to_vec().into()))
        .unwrap();
    assert_eq!(
        socket.read().unwrap(),
        Message::Pong(b"are you there".to_vec().into())
    );
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    let line = hipache.log().next();
    assert_eq!(line.request, "GET /chat?room=1 HTTP/1.1");
    assert_eq!((line.status, line.vhost.as_str()), (101, "id-a.test"));
    assert!(line.bytes > 5_000_000, "{line:?}");
    hipache.log().expect_none();
}

/// A backend that switches to a protocol of its own: sends back what it gets until it gets `bye`.
fn raw() -> Backend {
    Backend::scripted(|conn, _| {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n";
        conn.send(format!("{switch}at once"));
        loop {
            let got = conn.read(3);
            if got.len() < 3 || got == b"bye" {
                return Flow::Close;
            }
            conn.send(got);
        }
    })
}

#[test]
fn bytes_sent_along_with_the_handshake_are_kept_and_every_byte_is_counted() {
    let backend = raw();
    let (_redis, mut hipache) = scene(&[&backend.url()], &json!({}));
    let mut client = hipache.client();
    client.send(format!("{}abc", upgrade("a.test", "/raw")));
    let head = client.head().unwrap();
    assert!(head.start.starts_with("HTTP/1.1 101"), "{head:?}");
    assert_eq!(head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert!(
        head.field("connection")
            .is_some_and(|it| it.eq_ignore_ascii_case("upgrade"))
    );
    assert_eq!(client.bytes(10), b"at onceabc");
    client.send("xyz");
    assert_eq!(client.bytes(3), b"xyz");
    client.send("bye");
    assert_eq!(
        client.end(SOON),
        Ended::Fin,
        "the backend's end is the client's"
    );
    let line = hipache.log().next();
    assert_eq!((line.status, line.bytes), (101, head.raw.len() as u64 + 13));
    let got = backend.last();
    assert_eq!(
        got.field("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(got.field("host"), Some("a.test"));
    assert_eq!(got.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.field("x-forwarded-proto"), Some("http"));
    assert_eq!(got.field("upgrade"), Some("websocket"));
}

#[test]
fn a_client_that_ends_its_tunnel_ends_the_backend_s_connection() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::scripted(move |conn, _| {
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        tell.lock()
            .unwrap()
            .send(conn.wait_for_end(Duration::from_secs(20)))
            .ok();
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&[&backend.url()], &json!({}));
    for reset in [false, true] {
        let mut client = hipache.client();
        client.send(upgrade("a.test", "/end"));
        client.head().unwrap();
        if reset {
            client.reset()
        } else {
            drop(client)
        }
        let ended = told
            .recv_timeout(SOON)
            .expect("the backend's connection ends");
        assert_ne!(ended, Ended::Silent);
        let line = hipache.log().next();
        assert_eq!((line.target(), line.status), ("/end", 101));
    }
}

#[test]
fn a_silent_tunnel_stays_unless_it_has_a_limit_of_its_own() {
    let backend = raw();
    let (_redis, hipache) = scene(
        &[&backend.url()],
        &json!({ "server": { "tcpTimeout": 0.4 } }),
    );
    let mut client = hipache.client();
    client.send(upgrade("a.test", "/stays"));
    client.head().unwrap();
    assert_eq!(client.bytes(7), b"at once");
    std::thread::sleep(Duration::from_millis(1200));
    client.send("abc");
    assert_eq!(client.bytes(3), b"abc", "tcpTimeout is not for tunnels");

    let keys = json!({ "server": { "tunnelTimeout": 0.5 } });
    let (_redis, mut hipache) = scene(&[&backend.url()], &keys);
    let mut client = hipache.client();
    client.send(upgrade("a.test", "/limited"));
    client.head().unwrap();
    assert_eq!(client.bytes(7), b"at once");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(200));
        client.send("abc");
        assert_eq!(client.bytes(3), b"abc", "what moves is not idle");
    }
    let start = Instant::now();
    assert_ne!(client.end(SOON), Ended::Silent);
    assert!(
        start.elapsed() > Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/limited", 101));
}

#[test]
fn a_backend_that_does_not_switch_answers_the_client() {
    let backend = Backend::answering(|_| {
        crate::harness::Reply::Keep(response(403, "X-Why: no\r\n", "forbidden"))
    });
    let (_redis, mut hipache) = scene(&[&backend.url()], &json!({}));
    let mut client = hipache.client();
    client.send(upgrade("a.test", "/no"));
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (403, "forbidden"));
    assert_eq!(answer.field("x-why"), Some("no"));
    let line = hipache.log().next();
    assert_eq!((line.status, line.bytes), (403, answer.raw_length));
}

#[test]
fn an_upgrade_that_cannot_be_served_is_answered_and_harms_no_worker() {
    let refused = Refused::new();
    let closing = Backend::answering(|_| crate::harness::Reply::Close(Vec::new()));
    let garbage = Backend::answering(|_| crate::harness::Reply::Close(b"no\r\n\r\n".to_vec()));
    let (redis, mut hipache) = scene(&[], &json!({}));
    redis.route("refused.test", &[&refused.url()]);
    redis.route("closing.test", &[&closing.url()]);
    redis.route("garbage.test", &[&garbage.url()]);
    let workers = hipache.workers();
    let hosts = [
        ("refused.test", 502),
        ("closing.test", 502),
        ("garbage.test", 502),
        ("a.test", 502),
        ("unknown.test", 400),
    ];
    for (host, status) in hosts {
        let mut client = hipache.client();
        client.send(upgrade(host, "/x"));
        let answer = client.response();
        assert_eq!(answer.status, status, "{host}");
        let line = hipache.log().next();
        assert_eq!(
            (line.status, line.bytes),
            (status, answer.raw_length),
            "{host}"
        );
    }
    let mut client = hipache.client();
    client.send(upgrade("__ping__", "/x"));
    assert_eq!(client.response().text(), "ok");
    assert_eq!(hipache.workers(), workers);
}

#[test]
fn a_handshake_is_retried_when_a_backend_refuses() {
    let (refused, backend) = (Refused::new(), echo());
    let (redis, mut hipache) = scene(&[&refused.url(), &backend.url()], &json!({}));
    for _ in 0..10 {
        redis.run(&["DEL", "dead:a.test"]);
        let mut socket = open(&hipache, "/retried");
        assert_eq!(socket.read().unwrap(), Message::text("welcome"));
        drop(socket);
        assert_eq!(hipache.log().next().status, 101);
    }
}

#[test]
fn other_upgrades_that_the_backend_ignores_are_ordinary_requests() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&[&backend.url()], &json!({}));
    let lines =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let cases = [("GET", ""), ("POST", "Content-Length: 4\r\n")];
    for (method, length) in cases {
        let mut client: Client = hipache.client();
        let body = if length.is_empty() { "" } else { "body" };
        client.send(format!(
            "{method} /x HTTP/1.1\r\nHost: a.test\r\n{lines}{length}\r\n{body}"
        ));
        let answer = client.response();
        assert_eq!(answer.text(), "here", "{method}");
        hipache.line_of(&format!("{method} /x HTTP/1.1"), &answer);
    }
}

#[test]
fn a_backend_that_switches_unasked_is_a_502() {
    let backend = Backend::answering(|_| {
        crate::harness::Reply::Keep(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
                .to_vec(),
        )
    });
    let (_redis, mut hipache) = scene(&[&backend.url()], &json!({}));
    let (answer, _) = hipache.exchange("a.test", "/x");
    assert_eq!(answer.status, 502);
}
