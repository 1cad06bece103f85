//! What backends do while a request is on its way to them: they answer early, read nothing, reset.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend_responses::Scene;
use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, RST_STREAM, block, pseudo,
};
use crate::harness::{Backend, Client, Flow, Request, SOON, eventually, response, text};

/// Bytes of an upload that fill every buffer on the way.
pub(crate) const LARGE: usize = 64 << 20;

/// Sends a large body from a thread of its own, until it is taken or refused.
pub(crate) fn upload(client: &Client, head: &str, bytes: usize) -> std::thread::JoinHandle<()> {
    let mut tcp = client.tcp();
    let head = head.to_owned();
    std::thread::spawn(move || {
        let mut piece = vec![b'x'; 1 << 20];
        if head.contains("chunked") {
            piece = [b"100000\r\n", &*piece, b"\r\n"].concat();
        }
        let mut sent = tcp.write_all(head.as_bytes());
        for _ in 0..bytes >> 20 {
            sent = sent.and_then(|()| tcp.write_all(&piece));
        }
    })
}

pub(crate) fn post(target: &str, bytes: usize) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {bytes}\r\n\r\n")
}

#[test]
fn a_reset_cuts_a_response_that_only_the_connection_ends_while_a_request_is_on_its_way() {
    let backend = Backend::scripted(|conn, _| {
        conn.send("HTTP/1.1 200 OK\r\n\r\npart");
        // The proxy has sent all that the buffers between take by now.
        std::thread::sleep(Duration::from_millis(300));
        conn.reset_at_close();
        Flow::Close
    });
    let scene = Scene::start(&backend.url(), &json!({}));
    for round in 0..5 {
        let target = format!("/{round}");
        let mut client = scene.hipache.client();
        let sender = upload(&client, &post(&target, LARGE), LARGE);
        let got = client.try_response("POST");
        let (told, _) = scene.told(&target);
        let broken = got
            .map(|response| response.text())
            .expect_err("a reset is no end");
        assert_eq!(
            (broken.status, text(&broken.body).as_str()),
            (Some(200), "part")
        );
        assert_eq!(told, "200 connection_terminated");
        drop(client);
        sender.join().unwrap();
    }
}

/// What a backend does with an upload that it does not want, and what the client is told.
const UNWANTED: [(&str, &str, &str); 6] = [
    (
        "sized",
        "HTTP/1.1 413 Large\r\nContent-Length: 5\r\n\r\nhello",
        "413 \"hello\" ok",
    ),
    ("fin", "HTTP/1.1 413 Large\r\n\r\nhello", "413 \"hello\" ok"),
    (
        "chunked",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "200 \"hello\" ok",
    ),
    (
        "empty",
        "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
        "401 \"\" ok",
    ),
    ("bodiless", "HTTP/1.1 304 Same\r\n\r\n", "304 \"\" ok"),
    (
        "interim",
        "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
        "403 \"\" ok",
    ),
];

#[test]
fn an_early_answer_reaches_the_client_whatever_becomes_of_the_upload() {
    let backend = Backend::scripted(|conn, request| {
        let words: Vec<_> = request.target.split('/').collect();
        let (_, answer, _) = UNWANTED[words[1].parse::<usize>().unwrap()];
        conn.read(100_000);
        conn.send(answer);
        match words[2] {
            // As most servers do: what is not read makes a reset of the close.
            "close" if !answer.contains("Large\r\n\r\n") => {}
            _ => {
                conn.half_close();
                conn.wait_for_end(SOON);
            }
        }
        Flow::Close
    });
    let scene = Scene::start(&backend.url(), &json!({}));
    for (number, (name, _, expected)) in UNWANTED.iter().enumerate() {
        for way in ["close", "linger"] {
            for framing in ["Content-Length: 67108864", "Transfer-Encoding: chunked"] {
                let target = format!("/{number}/{way}/{}", framing.len());
                let mut client = scene.hipache.client();
                let head = format!("POST {target} HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n");
                let sender = upload(&client, &head, LARGE);
                let got = scene.answer(&mut client, "POST", &target);
                assert_eq!(got, *expected, "{name} {way} {framing}");
                drop(client);
                sender.join().unwrap();
            }
        }
    }
}

/// What a backend saw of a body: how it is framed, what it is, and what comes behind it.
fn seen(request: &Request) -> String {
    let framing = request
        .field("transfer-encoding")
        .or(request.field("content-length"));
    let trailers: Vec<_> = request
        .trailers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let body = text(&request.body);
    format!("{} {body:?} {}", framing.unwrap_or("-"), trailers.join(" "))
        .trim_end()
        .to_owned()
}

/// A method, what follows the request line and the host, and what the backend sees of it.
const REQUESTS: [(&str, &str, &str); 10] = [
    ("GET", "\r\n", "- \"\""),
    ("POST", "\r\n", "- \"\""),
    ("POST", "Content-Length: 0\r\n\r\n", "0 \"\""),
    ("GET", "Content-Length: 5\r\n\r\nhello", "5 \"hello\""),
    ("HEAD", "Content-Length: 5\r\n\r\nhello", "5 \"hello\""),
    (
        "GET",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "chunked \"hello\"",
    ),
    (
        "DELETE",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunked \"\"",
    ),
    (
        "POST",
        "Transfer-Encoding: Chunked\r\n\r\n1;a=b\r\nh\r\n04\r\nello\r\n00\r\n\r\n",
        "chunked \"hello\"",
    ),
    (
        "POST",
        "Transfer-Encoding: chunked\r\nTrailer: X, Host\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\nHost: b\r\nY: 2\r\n\r\n",
        "chunked \"hello\" x",
    ),
    (
        "POST",
        "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "5 \"hello\"",
    ),
];

#[test]
fn a_request_reaches_the_backend_in_the_framing_that_it_has() {
    let backend = Backend::scripted(|conn, request| {
        conn.read_body(request);
        conn.send(response(200, "", ""));
        Flow::Keep
    });
    let scene = Scene::start(&backend.url(), &json!({}));
    let mut count = 0;
    for (number, (method, rest, expected)) in REQUESTS.iter().enumerate() {
        for way in ["whole", "bytes"] {
            let target = format!("/{number}/{way}");
            let mut client = scene.hipache.client();
            let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n{rest}");
            match way {
                "bytes" => bytes
                    .as_bytes()
                    .iter()
                    .for_each(|byte| client.send([*byte])),
                _ => client.send(&bytes),
            }
            assert_eq!(
                scene.answer(&mut client, method, &target),
                "200 \"\" ok",
                "{bytes:?}"
            );
            count += 1;
            eventually("the request", SOON, || {
                (seen(&backend.requests()[count - 1]) == *expected).then_some(())
            });
            let request = &backend.requests()[count - 1];
            assert_eq!(
                (seen(request).as_str(), request.target.as_str()),
                (*expected, &*target)
            );
        }
    }
    assert_eq!(
        backend.connections(),
        1,
        "nothing was left behind a request"
    );
}

/// Fields behind the pseudo-fields, frames that follow (kind, flags, payload), and what the backend sees.
type Streamed = (
    &'static [(&'static str, &'static str)],
    &'static [(u8, u8, &'static str)],
    &'static str,
);

const X: &str = "x";
const STREAMED: [Streamed; 9] = [
    (&[], &[], "- \"\""),
    (&[("content-length", "0")], &[], "0 \"\""),
    (
        &[("content-length", "0")],
        &[(DATA, END_STREAM, "")],
        "0 \"\"",
    ),
    (&[], &[(DATA, END_STREAM, "")], "chunked \"\""),
    (
        &[],
        &[
            (DATA, 0, ""),
            (DATA, 0, "he"),
            (DATA, 0, ""),
            (DATA, END_STREAM, "llo"),
        ],
        "chunked \"hello\"",
    ),
    (
        &[("content-length", "5")],
        &[(DATA, 0, "hello"), (DATA, END_STREAM, "")],
        "5 \"hello\"",
    ),
    (
        &[("content-length", "5")],
        &[(DATA, 0, "hel"), (DATA, 0, ""), (DATA, END_STREAM, "lo")],
        "5 \"hello\"",
    ),
    (
        &[("trailer", X)],
        &[(DATA, 0, "hello"), (HEADERS, END_STREAM, X)],
        "chunked \"hello\" x",
    ),
    (
        &[("content-length", "5"), ("trailer", X)],
        &[(DATA, 0, "hello"), (HEADERS, END_STREAM, X)],
        "5 \"hello\"",
    ),
];

#[test]
fn a_request_of_http_2_reaches_the_backend_in_the_framing_that_it_has() {
    let backend = Backend::scripted(|conn, request| {
        conn.read_body(request);
        conn.send(response(200, "", ""));
        Flow::Keep
    });
    let scene = Scene::start(&backend.url(), &json!({ "http": { "h2c": true } }));
    let mut client = Frames::connect(scene.hipache.address());
    let mut stream = 1;
    for (fields, frames, expected) in STREAMED {
        for method in ["GET", "POST"] {
            let target = format!("/{stream}");
            let pseudo = pseudo(method, "a.test", &target);
            let flags = if frames.is_empty() { END_STREAM } else { 0 };
            let head = block(&[&pseudo, fields].concat());
            client.send(&Frame::new(HEADERS, END_HEADERS | flags, stream, head));
            for (kind, flags, payload) in frames {
                client.send(&match *kind {
                    HEADERS => Frame::new(
                        HEADERS,
                        END_HEADERS | flags,
                        stream,
                        block(&[(payload, "1")]),
                    ),
                    kind => Frame::new(kind, *flags, stream, *payload),
                });
            }
            let last = client.expect("an answer", |frame| {
                frame.stream == stream && (frame.has(END_STREAM) || frame.kind == RST_STREAM)
            });
            assert_eq!(last.kind, HEADERS, "{fields:?} {frames:?}");
            assert_eq!(scene.told(&target).0, "200 ok");
            let at = backend.count() - 1;
            eventually("the request", SOON, || {
                (seen(&backend.requests()[at]) == expected).then_some(())
            });
            assert_eq!(backend.last().target, target);
            stream += 2;
        }
    }
    assert_eq!(
        backend.connections(),
        1,
        "nothing was left behind a request"
    );
}

#[test]
fn a_flood_of_interim_responses_does_not_outlast_the_limit() {
    for (name, flood) in [
        ("continue", "HTTP/1.1 100 \r\n\r\n".repeat(4000)),
        (
            "hints",
            "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n".repeat(2000),
        ),
    ] {
        let backend = Backend::scripted(move |conn, _| {
            while conn.send(&flood) {}
            Flow::Close
        });
        let limits = json!({ "server": { "firstByteTimeout": 0.5 } });
        let scene = Scene::start(&backend.url(), &limits);
        let start = Instant::now();
        assert_eq!(
            scene.ask("GET", "/x"),
            "504 connection_read_timeout",
            "{name}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            start.elapsed()
        );
    }
}
