//! Clients that speak HTTP/2 in front of backends of either version: trailers, resets, WebSockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::ext::Protocol;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use serde_json::json;
use tokio::sync::mpsc;

use crate::harness::{
    Backend, Collector, Ended, Flow, Hipache, Redis, SOON, Setup, StreamBackend, attribute,
    block_on, read_all, send_all, speak,
};

/// A proxy that takes HTTP/2 without TLS, in front of this backend.
fn scene(redis: &Redis, collector: &Collector, backend: &str) -> Hipache {
    redis.route("a.test", &[backend]);
    let keys = json!({
        "http": { "h2c": true },
        "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 }
    });
    Hipache::builder().redis(redis).set(&keys).start()
}

fn post(path: &str) -> Request<()> {
    let request = Request::post(format!("http://a.test{path}"));
    request.header("te", "trailers").body(()).unwrap()
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, HeaderValue::from_static(value));
    trailers
}

/// A backend of HTTP/2 that sends back the body and the trailer `up` as `down`.
fn echo() -> StreamBackend {
    StreamBackend::start(Setup::default(), |mut call| async move {
        let (body, up) = read_all(call.request.body_mut()).await.unwrap();
        let response = Response::builder().header("trailer", "down");
        let mut send = call.head(response.body(()).unwrap());
        send.send_data(body.into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        if let Some(up) = up.as_ref().and_then(|up| up.get("up")) {
            trailers.insert("down", up.clone());
        }
        send.send_trailers(trailers).unwrap();
    })
}

/// The same of HTTP/1.1.
fn old_echo() -> Backend {
    Backend::scripted(|conn, request| {
        if !conn.read_body(request) {
            return Flow::Close;
        }
        let up = request.trailers.iter().find(|(name, _)| name == "up");
        let value = up.map_or("", |(_, value)| value);
        let size = request.body.len();
        conn.send(format!(
            "HTTP/1.1 200 OK\r\nTrailer: down\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n\
             0\r\nDown: {value}\r\n\r\n",
            String::from_utf8_lossy(&request.body),
        ));
        Flow::Keep
    })
}

#[test]
fn trailers_pass_both_ways_between_all_versions() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let (new, old) = (echo(), old_echo());
    let mut hipache = scene(&redis, &collector, &new.url());
    redis.route("b.test", &[&old.url()]);
    for host in ["a.test", "b.test"] {
        let (body, told) = block_on(async {
            let mut requests = speak(hipache.address()).await;
            let request = Request::post(format!("http://{host}/new"));
            let request = request.header("te", "trailers").header("trailer", "up");
            let (response, mut send) = requests
                .send_request(request.body(()).unwrap(), false)
                .unwrap();
            send.send_data(Bytes::from_static(b"body"), false).unwrap();
            send.send_trailers(trailers("up", "h2")).unwrap();
            read_all(response.await.unwrap().body_mut()).await.unwrap()
        });
        assert_eq!(
            (body.as_slice(), told),
            (&b"body"[..], Some(trailers("down", "h2"))),
            "{host}"
        );
        let line = hipache.log().next();
        assert_eq!(
            (line.request.as_str(), line.status),
            ("POST /new HTTP/2.0", 200),
            "{host}"
        );
        let mut client = hipache.client();
        client.send(format!(
            "POST /old HTTP/1.1\r\nHost: {host}\r\nConnection: te\r\nTE: trailers\r\n\
             Trailer: up\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nUp: h1\r\n\r\n"
        ));
        let response = client.response();
        assert_eq!(response.text(), "body", "{host}");
        assert_eq!(
            response.trailers,
            [("down".to_owned(), "h1".to_owned())],
            "{host}"
        );
        hipache.line_of("POST /old HTTP/1.1", &response);
    }
}

#[test]
fn a_reset_after_the_head_reaches_the_client_with_its_code() {
    let cases = [
        (Reason::CANCEL, Reason::CANCEL),
        (Reason::ENHANCE_YOUR_CALM, Reason::ENHANCE_YOUR_CALM),
        (Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR),
        (Reason::INTERNAL_ERROR, Reason::INTERNAL_ERROR),
    ];
    for (sent, expected) in cases {
        let (redis, collector) = (Redis::start(), Collector::start());
        let backend = StreamBackend::start(Setup::default(), move |mut call| async move {
            let mut send = call.head(Response::new(()));
            send.send_data(Bytes::from_static(b"half"), false).unwrap();
            // The client tells that it has it; nothing is left to be flushed.
            let _ = read_all(call.request.body_mut()).await;
            send.send_reset(sent);
        });
        let mut hipache = scene(&redis, &collector, &backend.url());
        let (body, error) = block_on(async {
            let mut requests = speak(hipache.address()).await;
            let (response, mut send) = requests.send_request(post("/reset"), false).unwrap();
            let mut response = response.await.unwrap();
            let half = response.body_mut().data().await.unwrap().unwrap();
            send.send_data(Bytes::new(), true).unwrap();
            (half, read_all(response.body_mut()).await.unwrap_err())
        });
        assert_eq!(&body[..], b"half");
        assert_eq!(error.reason(), Some(expected), "{sent:?}");
        assert_eq!(hipache.log().next().status, 200);
        let spans = collector.trace_of("/reset");
        let end = attribute(&spans[0], "error.type");
        assert_eq!(end.as_deref(), Some("connection_terminated"), "{sent:?}");
    }
}

#[test]
fn a_cancelled_upload_is_never_taken_for_a_whole_one() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let (tell, mut told) = mpsc::channel(4);
    let new = StreamBackend::start(Setup::default(), move |mut call| {
        let tell = tell.clone();
        async move {
            let begun = call.request.body_mut().data().await.unwrap().unwrap();
            tell.send(format!("begun {}", begun.len())).await.unwrap();
            let end = read_all(call.request.body_mut()).await;
            let end = end.map(|_| ()).map_err(|error| error.reason());
            tell.send(format!("{end:?}")).await.unwrap();
        }
    });
    let mut hipache = scene(&redis, &collector, &new.url());
    block_on(async {
        let mut requests = speak(hipache.address()).await;
        let (_response, mut send) = requests.send_request(post("/new"), false).unwrap();
        send.send_data(Bytes::from_static(b"part"), false).unwrap();
        assert_eq!(told.recv().await.unwrap(), "begun 4");
        send.send_reset(Reason::CANCEL);
        assert_eq!(told.recv().await.unwrap(), "Err(Some(CANCEL))");
    });
    assert_eq!(hipache.log().next().target(), "/new");
    let root = &collector.trace_of("/new")[0];
    assert_eq!(
        attribute(root, "error.type").as_deref(),
        Some("client_gone")
    );

    let (tell, ended) = std::sync::mpsc::channel();
    let (begin, begun) = std::sync::mpsc::channel();
    let old = Backend::scripted(move |conn, request| {
        begin.send(()).unwrap();
        tell.send(conn.count_body(request)).unwrap();
        Flow::Close
    });
    redis.route("b.test", &[&old.url()]);
    block_on(async {
        let mut requests = speak(hipache.address()).await;
        let request = Request::post("http://b.test/old").body(()).unwrap();
        let (_response, mut send) = requests.send_request(request, false).unwrap();
        send.send_data(Bytes::from_static(b"part"), false).unwrap();
        tokio::task::spawn_blocking(move || begun.recv_timeout(SOON).unwrap())
            .await
            .unwrap();
        send.send_reset(Reason::CANCEL);
        let end = tokio::task::spawn_blocking(move || ended.recv_timeout(SOON).unwrap());
        let end: Result<u64, Ended> = end.await.unwrap();
        assert!(end.is_err(), "{end:?}");
    });
}

#[test]
fn a_cancel_reaches_the_backend_while_it_answers() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let (tell, mut told) = mpsc::channel(1);
    let backend = StreamBackend::start(Setup::default(), move |mut call| {
        let tell = tell.clone();
        async move {
            let mut send = call.head(Response::new(()));
            send.send_data(Bytes::from_static(b"first"), false).unwrap();
            let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
            tell.send(reason.unwrap()).await.unwrap();
        }
    });
    let mut hipache = scene(&redis, &collector, &backend.url());
    block_on(async {
        let mut requests = speak(hipache.address()).await;
        let (response, mut send) = requests.send_request(post("/gone"), true).unwrap();
        let mut response = response.await.unwrap();
        response.body_mut().data().await.unwrap().unwrap();
        send.send_reset(Reason::CANCEL);
        assert_eq!(told.recv().await, Some(Reason::CANCEL));
    });
    hipache.log().next();
    let root = &collector.trace_of("/gone")[0];
    assert_eq!(
        attribute(root, "error.type").as_deref(),
        Some("client_gone")
    );
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_backend_that_reads_slowly_slows_the_client_down() {
    const TOTAL: usize = 32 << 20;
    let (redis, collector) = (Redis::start(), Collector::start());
    let go = Arc::new(tokio::sync::Notify::new());
    let shared = Arc::clone(&go);
    let backend = StreamBackend::start(Setup::default(), move |mut call| {
        let go = Arc::clone(&shared);
        async move {
            go.notified().await;
            let (body, _) = read_all(call.request.body_mut()).await.unwrap();
            call.answer(body.len().to_string());
        }
    });
    let hipache = scene(&redis, &collector, &backend.url());
    block_on(async {
        let mut requests = speak(hipache.address()).await;
        let (response, mut send) = requests.send_request(post("/slow"), false).unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        tokio::spawn(async move { send_all(&mut send, TOTAL, &count).await });
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = sent.load(Ordering::SeqCst);
            if now > 0 && std::mem::replace(&mut last, now) == now {
                break;
            }
        }
        assert!(last < 2 << 20, "{last} bytes went ahead of the backend");
        go.notify_one();
        let (body, _) = read_all(response.await.unwrap().body_mut()).await.unwrap();
        assert_eq!(body, TOTAL.to_string().as_bytes());
    });
}

/// A text message of a WebSocket, masked with nothing as a client's, or plain as a server's.
fn message(text: &str, is_client: bool) -> Bytes {
    let length = u8::try_from(text.len()).unwrap();
    let mut frame = match is_client {
        true => vec![0x81, 0x80 | length, 0, 0, 0, 0],
        false => vec![0x81, length],
    };
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

/// A WebSocket on a stream: says hello, and reads the answer.
async fn greet(hipache: &Hipache, host: &str) {
    let mut requests = speak(hipache.address()).await;
    while !requests.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{host}/chat"))
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static("websocket"));
    let (response, mut send) = requests
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let mut response = response.await.unwrap();
    assert_eq!(response.status(), 200, "{host}");
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    send.send_data(message("hello", true), false).unwrap();
    let expected = message("hello", false);
    let mut got = Vec::new();
    while got.len() < expected.len() {
        got.extend_from_slice(&response.body_mut().data().await.unwrap().unwrap());
    }
    assert_eq!(got, expected, "{host}");
    send.send_data(Bytes::new(), true).unwrap();
    while let Some(Ok(_)) = response.body_mut().data().await {}
}

/// A WebSocket server on a stream of HTTP/2 that sends back what it gets, unmasked.
fn new_sockets() -> StreamBackend {
    let setup = Setup {
        takes_websockets: true,
        ..Setup::default()
    };
    StreamBackend::start(setup, |mut call| async move {
        let protocol = call.request.extensions().get::<Protocol>().cloned();
        assert_eq!(protocol.unwrap().as_str(), "websocket");
        let mut send = call.head(Response::new(()));
        let mut frame = Vec::new();
        while let Some(Ok(data)) = call.request.body_mut().data().await {
            frame.extend_from_slice(&data);
            let Some(length) = frame.get(1).map(|byte| usize::from(byte & 0x7F)) else {
                continue;
            };
            if frame.len() < length + 6 {
                continue;
            }
            let mask: Vec<u8> = frame[2..6].to_vec();
            let unmask = |(at, byte): (usize, &u8)| byte ^ mask[at % 4];
            let text: Vec<u8> = frame[6..6 + length]
                .iter()
                .enumerate()
                .map(unmask)
                .collect();
            send.send_data(message(std::str::from_utf8(&text).unwrap(), false), false)
                .unwrap();
            frame.drain(..6 + length);
        }
        let _ = send.send_data(Bytes::new(), true);
    })
}

#[test]
fn websockets_pass_between_all_versions() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let old = Backend::sockets(|tcp| {
        let Ok(mut socket) = tungstenite::accept(tcp) else {
            return;
        };
        while let Ok(message) = socket.read() {
            if socket.send(message).is_err() {
                return;
            }
        }
    });
    let new = new_sockets();
    let mut hipache = scene(&redis, &collector, &new.url());
    redis.route("b.test", &[&old.url()]);
    for host in ["a.test", "b.test"] {
        block_on(greet(&hipache, host));
        let line = hipache.log().next();
        assert_eq!(
            (line.status, line.vhost.clone()),
            (200, format!("id-{host}")),
            "{line:?}"
        );
        assert_eq!(line.target(), "/chat");
    }
    let tcp = hipache.client().into_tcp();
    let (mut socket, answer) = tungstenite::client("ws://a.test/old", tcp).unwrap();
    assert_eq!(answer.status(), 101);
    socket.send(tungstenite::Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), tungstenite::Message::text("hello"));
    drop(socket);
    let line = hipache.log().next();
    assert_eq!((line.status, line.target()), (101, "/old"));
    // Each span tells what was said on its side.
    let statuses: Vec<_> = collector
        .trace_of("/old")
        .iter()
        .filter_map(|span| attribute(span, "http.response.status_code"))
        .collect();
    assert_eq!(statuses, ["101", "200"]);
}

#[test]
fn a_websocket_is_refused_where_the_backend_takes_none_over_http_2() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = echo();
    let mut hipache = scene(&redis, &collector, &backend.url());
    let mut client = hipache.client();
    client.send(
        "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.status, 502);
    hipache.line_of("GET /chat HTTP/1.1", &response);
    let root = &collector.trace_of("/chat")[0];
    let end = attribute(root, "error.type");
    assert_eq!(end.as_deref(), Some("http_protocol_error"));
    hipache.wait_for_stderr("takes no WebSocket over HTTP/2", 1);
    assert!(backend.heads().is_empty());
}
