//! What peers of HTTP/2 say against its rules, or to their very edge: nobody else is misled by it.

use std::io::{Read, Write};
use std::net::TcpStream;

use http::{Request, Response};
use serde_json::json;

use crate::harness::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, SETTINGS, block, pseudo,
};
use crate::harness::{
    Backend, Ended, Flow, Hipache, Redis, SOON, Setup, StreamBackend, block_on, read_all, response,
    speak,
};

fn scene(backend: &str) -> (Redis, Hipache) {
    let redis = Redis::start();
    redis.route("a.test", &[backend]);
    let keys = json!({
        "http": { "h2c": true },
        "admin": { "bind": "127.0.0.1", "port": 0 },
        "server": { "maxSockets": 2, "retryOnError": 0, "connectTimeout": 2 },
    });
    let hipache = Hipache::with(&redis, &keys);
    (redis, hipache)
}

/// Answers each request on a connection of HTTP/2 with these frames.
fn answering(answer: impl Fn(u32) -> Vec<Frame> + Send + Sync + 'static) -> Backend {
    Backend::sockets(move |tcp| {
        // The proxy closes when it has had enough.
        let _ = converse(tcp, &answer);
    })
}

fn converse(mut tcp: TcpStream, answer: &impl Fn(u32) -> Vec<Frame>) -> std::io::Result<()> {
    tcp.write_all(&Frame::new(SETTINGS, 0, 0, []).bytes())?;
    let mut scratch = vec![0; 24];
    tcp.read_exact(&mut scratch)?;
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head)?;
        scratch.resize(usize::from(u16::from_be_bytes([head[1], head[2]])), 0);
        tcp.read_exact(&mut scratch)?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let answers = match head[3] {
            HEADERS => answer(stream),
            SETTINGS if head[4] & ACK == 0 => vec![Frame::new(SETTINGS, ACK, 0, [])],
            _ => continue,
        };
        for frame in answers {
            tcp.write_all(&frame.bytes())?;
        }
    }
}

fn head(stream: u32, flags: u8, status: &str) -> Frame {
    Frame::new(
        HEADERS,
        END_HEADERS | flags,
        stream,
        block(&[(":status", status)]),
    )
}

#[test]
fn a_length_in_the_handshake_of_a_websocket_swallows_no_later_request() {
    let backend = Backend::scripted(|conn, _| {
        // As a server does that does not care for the body of what it refuses.
        conn.send(response(200, "", "no"));
        Flow::Keep
    });
    let (_redis, mut hipache) = scene(&backend.url());
    let mut client = Frames::connect(hipache.address());
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
        ("content-length", "5"),
    ];
    client.send(&Frame::new(HEADERS, END_HEADERS, 1, block(&fields)));
    client.expect("an answer", |frame| {
        frame.stream == 1 && frame.kind == HEADERS
    });
    assert_eq!(backend.last().field("content-length"), None);
    hipache.log().next();
    assert!(client.is_served(3, "a.test", "/next"));
    assert_eq!(backend.last().target, "/next");
}

#[test]
fn a_length_that_is_said_twice_is_passed_on_once() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend.url());
    let mut client = Frames::connect(hipache.address());
    let lengths = [("content-length", "3"), ("content-length", "3")];
    let fields = [pseudo("POST", "a.test", "/").as_slice(), &lengths].concat();
    client.send(&Frame::new(HEADERS, END_HEADERS, 1, block(&fields)));
    client.send(&Frame::new(DATA, END_STREAM, 1, *b"abc"));
    client.expect("an answer", |frame| {
        frame.stream == 1 && frame.has(END_STREAM)
    });
    assert_eq!(hipache.log().next().status, 200);
    assert_eq!(backend.last().head.all("content-length"), ["3"]);
    assert_eq!(backend.last().body, b"abc");
}

#[test]
fn no_client_is_told_to_switch_by_a_backend_that_cannot() {
    let backend = answering(|stream| vec![head(stream, 0, "101"), head(stream, END_STREAM, "200")]);
    let url = backend.url().replace("http", "h2c");
    let (_redis, mut hipache) = scene(&url);
    let mut client = hipache.client();
    client.send("GET /switch HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().status, 502);
    let line = hipache.log().next();
    assert_eq!((line.target(), line.status), ("/switch", 502));
    let request = Request::get("http://a.test/switch").body(()).unwrap();
    let status = block_on(async {
        let (response, _) = speak(hipache.address())
            .await
            .send_request(request, true)
            .unwrap();
        response.await.unwrap().status()
    });
    assert_eq!(status, 502);
}

#[test]
fn nothing_follows_the_head_of_a_response_without_content() {
    let backend = StreamBackend::start(Setup::default(), |mut call| async move {
        let status: u16 = call.request.uri().path()[1..].parse().unwrap();
        let response = Response::builder().status(status).body(()).unwrap();
        let mut send = call.head(response);
        let _ = send.send_data("more".into(), true);
    });
    let (_redis, mut hipache) = scene(&backend.url());
    for (method, status) in [("GET", 204), ("GET", 304), ("HEAD", 200)] {
        let uri = format!("http://a.test/{status}");
        let request = Request::builder().method(method).uri(uri);
        let (got, body) = block_on(async {
            let (response, _) = speak(hipache.address())
                .await
                .send_request(request.body(()).unwrap(), true)
                .unwrap();
            let mut response = response.await.unwrap();
            let body = read_all(response.body_mut()).await.unwrap().0;
            (response.status(), body)
        });
        assert_eq!(
            (got.as_u16(), body.as_slice()),
            (status, &b""[..]),
            "{method}"
        );
        let line = hipache.log().next();
        assert_eq!((line.status, line.bytes > 0), (status, true), "{method}");
    }
    let ended = hipache.scrape();
    assert_eq!(ended.sum("hipache_exchanges_total", &[("end", "ok")]), 3.0);
}

#[test]
fn connections_that_allow_no_stream_any_more_do_not_use_up_the_limit() {
    let backend = answering(|stream| {
        // SETTINGS_MAX_CONCURRENT_STREAMS.
        let none = Frame::new(SETTINGS, 0, 0, [0, 3, 0, 0, 0, 0]);
        vec![none, head(stream, END_STREAM, "200")]
    });
    let url = backend.url().replace("http", "h2c");
    let (_redis, mut hipache) = scene(&url);
    for number in 1..=5 {
        let (response, _) = hipache.exchange("a.test", "/");
        assert_eq!(response.status, 200, "{number}");
        assert_eq!(backend.connections(), number);
    }
}

#[test]
fn a_connection_does_not_change_its_version_behind_a_request() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend.url());
    let mut client = hipache.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_ne!(client.end(SOON), Ended::Silent);
    let lines = [hipache.log().next().status, hipache.log().next().status];
    assert_eq!(lines, [200, 400]);
}
