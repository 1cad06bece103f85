//! Clients of HTTP/2 that want to harm: each is ended, told why and counted, and nobody else notices.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::frames::{
    CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM,
    Frame, Frames, HEADERS, PING, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS,
    block, pseudo,
};
use crate::harness::{Backend, Flow, Hipache, Redis, SOON, eventually};

/// More than a worker needs for any of the attacks, in a build that nobody optimised.
const GROWTH: u64 = 24 << 20;

/// A proxy that takes HTTP/2 without TLS, and its metrics.
struct Scene {
    _redis: Redis,
    backend: Backend,
    hipache: Hipache,
}

impl Scene {
    fn start(backend: Backend, server: Value) -> Self {
        let redis = Redis::start();
        redis.route("a.test", &[&backend.url()]);
        let keys = json!({
            "http": { "h2c": true },
            "admin": { "bind": "127.0.0.1", "port": 0 },
            "server": server
        });
        let hipache = Hipache::with(&redis, &keys);
        Self {
            _redis: redis,
            backend,
            hipache,
        }
    }

    fn saying() -> Self {
        Self::start(Backend::saying("here"), json!({}))
    }

    fn client(&self) -> Frames {
        Frames::connect(self.hipache.address())
    }

    fn resident(&self) -> u64 {
        Hipache::resident(self.hipache.workers()[0])
    }

    fn errors(&self, reason: &str) -> f64 {
        self.hipache.scrape().sum(
            "hipache_http2_connection_errors_total",
            &[("error_type", reason)],
        )
    }

    /// Lets a client do this; another is served meanwhile and afterwards, and memory stays what it was.
    fn attack(&self, name: &str, attack: impl FnOnce(&mut Frames) -> u32) {
        let mut other = self.client();
        assert!(other.is_served(1, "a.test", "/before"), "{name}");
        let (memory, errors) = (self.resident(), self.errors("enhance_your_calm"));
        let mut attacker = self.client();
        let code = attack(&mut attacker);
        assert_eq!(code, ENHANCE_YOUR_CALM, "{name}");
        assert!(other.is_served(3, "a.test", "/after"), "{name}");
        assert_eq!(self.errors("enhance_your_calm"), errors + 1.0, "{name}");
        let grown = self.resident().saturating_sub(memory);
        assert!(grown < GROWTH, "{name}: {grown} bytes more");
    }
}

/// A stream that waits for its backend.
fn open(client: &mut Frames, stream: u32) {
    let head = block(&pseudo("POST", "a.test", "/upload"));
    client.send(&Frame::new(HEADERS, END_HEADERS, stream, head));
}

#[test]
fn frames_that_move_nothing_end_their_connection() {
    let scene = Scene::saying();
    let floods: [(&str, Frame); 5] = [
        ("ping", Frame::new(PING, 0, 0, [0; 8])),
        ("settings", Frame::new(SETTINGS, 0, 0, [])),
        ("priority", Frame::new(PRIORITY, 0, 1, [0, 0, 0, 3, 0])),
        ("unknown", Frame::new(0xBE, 0, 0, [0; 8])),
        ("window", Frame::window(0, 1)),
    ];
    for (name, frame) in floods {
        scene.attack(name, |client| {
            let many = frame.bytes().repeat(100);
            let writes = client.flood(|_| many.clone());
            assert!(writes >= 10, "{name}: ended after {writes} writes");
            client.ended_with()
        });
    }
}

#[test]
fn empty_pieces_of_a_body_end_their_connection() {
    let backend = Backend::scripted(|conn, request| match request.method.as_str() {
        "POST" => {
            conn.read_body(request);
            Flow::Close
        }
        _ => {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            Flow::Keep
        }
    });
    let scene = Scene::start(backend, json!({}));
    scene.attack("empty data", |client| {
        open(client, 1);
        let many = Frame::new(DATA, 0, 1, []).bytes().repeat(20);
        client.flood(|_| many.clone());
        client.ended_with()
    });
}

#[test]
fn streams_that_are_reset_as_soon_as_they_are_opened_end_their_connection() {
    let backend = Backend::scripted(|conn, request| {
        if request.target == "/reset" {
            conn.wait_for_end(SOON);
            return Flow::Close;
        }
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        Flow::Keep
    });
    let scene = Scene::start(backend, json!({}));
    scene.attack("in one write", |client| {
        client.flood(|number| {
            let stream = number * 2 + 1;
            let mut bytes = Frame::get(stream, "a.test", "/reset").bytes();
            bytes.extend(Frame::reset(stream, CANCEL).bytes());
            bytes
        });
        client.ended_with()
    });
    // One that waits until its request was looked at is caught, too.
    scene.attack("after a while", |client| {
        client.flood(|number| {
            std::thread::sleep(Duration::from_millis(2));
            match number % 2 {
                0 => Frame::get(number + 1, "a.test", "/reset").bytes(),
                _ => Frame::reset(number, CANCEL).bytes(),
            }
        });
        client.ended_with()
    });
}

#[test]
fn a_head_without_end_is_ended_and_leaves_a_line() {
    let mut scene = Scene::saying();
    scene.attack("continuations", |client| {
        client.send(&Frame::new(
            HEADERS,
            END_STREAM,
            1,
            block(&pseudo("GET", "a.test", "/")),
        ));
        let more = Frame::new(CONTINUATION, 0, 1, block(&[("x", "y")])).bytes();
        client.flood(|_| more.clone());
        client.ended_with()
    });
    let lines = scene.hipache.log().take_lines(3);
    let refused = lines.iter().find(|line| line.request == "-").unwrap();
    assert_eq!((refused.status, refused.bytes), (431, 0), "{lines:?}");
}

#[test]
fn a_head_that_grows_when_it_is_decoded_is_refused_and_then_ended() {
    let mut scene = Scene::saying();
    let mut client = scene.client();
    // One large field is put into the table (RFC 7541 §6.2.1) and then named again by a byte each.
    let bomb = |stream: u32, times: usize, is_first: bool| {
        let mut head = block(&pseudo("GET", "a.test", "/bomb"));
        if is_first {
            let field = block(&[("bomb", &"x".repeat(3000))]);
            head.push(0x40);
            head.extend(&field[1..]);
        }
        head.extend(std::iter::repeat_n(0xBE, times));
        Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, head)
    };
    client.send(&bomb(1, 40, true));
    let answer = client.expect("an answer", |frame| {
        frame.stream == 1 && frame.kind == HEADERS
    });
    assert!(answer.has(END_STREAM));
    let line = scene.hipache.log().next();
    assert_eq!((line.request.as_str(), line.status), ("-", 431));
    assert!(client.is_served(3, "a.test", "/next"));
    scene.hipache.log().next();
    client.send(&bomb(5, 200, false));
    assert_eq!(client.ended_with(), ENHANCE_YOUR_CALM);
    let line = scene.hipache.log().next();
    assert_eq!((line.request.as_str(), line.status), ("-", 431));
    assert_eq!(scene.backend.count(), 1);
}

#[test]
fn streams_beyond_the_limit_are_refused_and_counted() {
    let backend = Backend::scripted(|conn, _| {
        conn.wait_for_end(SOON);
        Flow::Close
    });
    let scene = Scene::start(backend, json!({ "maxSockets": 1000 }));
    let mut client = scene.client();
    for number in 0..130 {
        client.send(&Frame::get(number * 2 + 1, "a.test", "/wait"));
    }
    for stream in [257, 259] {
        let refused = client.expect("a refusal", |frame| frame.kind == RST_STREAM);
        assert_eq!((refused.stream, refused.code()), (stream, REFUSED_STREAM));
    }
    let count = || {
        let scrape = scene.hipache.scrape();
        scrape.sum("hipache_http2_streams_refused_total", &[])
    };
    assert_eq!(count(), 2.0);
    assert_eq!(scene.errors("enhance_your_calm"), 0.0);
}

#[test]
fn a_slow_preface_and_a_slow_head_are_ended_within_their_limit() {
    let mut scene = Scene::start(Backend::saying("here"), json!({ "requestHeadTimeout": 1 }));
    let start = Instant::now();
    let mut half = Frames::silent(scene.hipache.address());
    half.write(b"PRI * HTTP/2.0\r\n\r\nSM").unwrap();
    assert_eq!(half.next(), None, "settings come with the preface");
    let line = scene.hipache.log().next();
    assert_eq!((line.request.as_str(), line.status), ("-", 408));

    let head = Frame::get(3, "a.test", "/never").bytes();
    let open = Frame::new(HEADERS, END_STREAM, 3, block(&pseudo("GET", "a.test", "/"))).bytes();
    for bytes in [&head[..5], &head[..20], &open] {
        let mut slow = scene.client();
        assert!(slow.is_served(1, "a.test", "/served"));
        assert_eq!(scene.hipache.log().next().target(), "/served");
        slow.write(bytes).unwrap();
        if bytes.len() == 5 {
            // No head is known to have begun: the connection is an idle one.
            assert!(slow.is_quiet(Duration::from_millis(1500)));
            continue;
        }
        assert_eq!(slow.ended_with(), ENHANCE_YOUR_CALM);
        let line = scene.hipache.log().next();
        assert_eq!((line.request.as_str(), line.status), ("-", 408));
    }
    assert!(start.elapsed() < SOON);
}

/// A backend with a large body for whoever asks.
fn large(bytes: usize) -> Backend {
    Backend::scripted(move |conn, _| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        let is_sent = conn.send(head) && conn.send(vec![b'x'; bytes]);
        if is_sent { Flow::Keep } else { Flow::Close }
    })
}

#[test]
fn responses_that_nobody_makes_room_for_are_bounded_and_end_by_themselves() {
    const STREAMS: u32 = 128;
    let server = json!({ "idleBodyTimeout": 2, "maxSockets": 1000 });
    let mut scene = Scene::start(large(4 << 20), server);
    let mut other = scene.client();
    let memory = scene.resident();
    let mut client = scene.client();
    for number in 0..STREAMS {
        client.send(&Frame::get(number * 2 + 1, "a.test", "/stalled"));
    }
    scene.backend.wait_for(STREAMS as usize);
    let grown = scene.resident().saturating_sub(memory);
    assert!(grown < 4 * GROWTH, "{grown} bytes more");
    for _ in 0..STREAMS {
        let reset = client.expect("the end of a stream", |frame| frame.kind == RST_STREAM);
        assert_eq!(reset.code(), CANCEL);
    }
    let lines = scene.hipache.log().take_lines(STREAMS as usize);
    assert!(
        lines
            .iter()
            .all(|line| line.status == 200 && line.bytes < 70_000)
    );
    let ends = |end| {
        let scrape = scene.hipache.scrape();
        scrape.sum("hipache_exchanges_total", &[("end", end)])
    };
    assert_eq!(ends("client_timeout"), f64::from(STREAMS));
    // The connection itself is well: with room it is served.
    client.send(&Frame::window(0, 1 << 20));
    client.send(&Frame::get(STREAMS * 2 + 1, "a.test", "/room"));
    client.send(&Frame::window(STREAMS * 2 + 1, 8 << 20));
    client.send(&Frame::window(0, 8 << 20));
    client.expect("a whole body", |frame| {
        frame.stream == STREAMS * 2 + 1 && frame.has(END_STREAM)
    });
    other.send(&Frame::get(1, "a.test", "/other"));
    other.expect("data", |frame| frame.kind == DATA);
}

#[test]
fn room_made_byte_by_byte_does_not_hold_a_response() {
    let server = json!({ "idleBodyTimeout": 1 });
    let mut scene = Scene::start(large(1 << 20), server);
    let mut client = Frames::with(scene.hipache.address(), &[(4, 0)]);
    client.send(&Frame::get(1, "a.test", "/drip"));
    let start = Instant::now();
    let reset = eventually("the end of the stream", SOON, || {
        let _ = client.write(&Frame::window(1, 1).bytes());
        std::thread::sleep(Duration::from_millis(20));
        let frame = client.next()?;
        (frame.kind == RST_STREAM).then_some(frame)
    });
    assert_eq!(reset.code(), CANCEL);
    assert!(start.elapsed() >= Duration::from_millis(900));
    let line = scene.hipache.log().next();
    assert_eq!((line.target(), line.status), ("/drip", 200));
    let scrape = scene.hipache.scrape();
    let slow = scrape.sum("hipache_exchanges_total", &[("end", "client_timeout")]);
    assert_eq!(slow, 1.0);
}

#[test]
fn mistakes_end_a_connection_with_their_code() {
    let scene = Scene::saying();
    let mistakes: [(&str, &str, u32, Frame); 5] = [
        (
            "protocol_error",
            "data on stream 0",
            PROTOCOL_ERROR,
            Frame::new(DATA, 0, 0, [0]),
        ),
        (
            "frame_size_error",
            "a ping of 7 bytes",
            6,
            Frame::new(PING, 0, 0, [0; 7]),
        ),
        (
            "compression_error",
            "no head",
            COMPRESSION_ERROR,
            Frame::new(HEADERS, END_HEADERS, 1, [0xFF; 9]),
        ),
        (
            "flow_control_error",
            "too wide a window",
            3,
            Frame::window(0, u32::MAX >> 1),
        ),
        (
            "protocol_error",
            "an even stream",
            PROTOCOL_ERROR,
            Frame::get(2, "a.test", "/"),
        ),
    ];
    for (reason, what, code, frame) in mistakes {
        let before = scene.errors(reason);
        let mut client = scene.client();
        client.send(&frame);
        let told = client.ended_with();
        // Some are told as the general error, as RFC 9113 §7 allows.
        assert!(told == code || told == PROTOCOL_ERROR, "{what}: {told}");
        let reason = if told == code {
            reason
        } else {
            "protocol_error"
        };
        assert!(scene.errors(reason) > before, "{what}");
    }
}

#[test]
fn many_tiny_messages_are_no_flood() {
    const MESSAGES: u32 = 10_000;
    let backend = Backend::scripted(|conn, request| {
        // As one that is busy: all of it waits in the proxy.
        std::thread::sleep(Duration::from_millis(500));
        let read = conn.count_body(request);
        let body = read.map_or_else(|end| format!("{end:?}"), |count| count.to_string());
        conn.send(crate::harness::response(200, "", &body));
        Flow::Keep
    });
    let mut scene = Scene::start(backend, json!({}));
    let mut client = scene.client();
    open(&mut client, 1);
    let message = Frame::new(DATA, 0, 1, [0; 6]).bytes();
    client.write(&message.repeat(MESSAGES as usize)).unwrap();
    // As a client does that measures the way: a ping now and then.
    for _ in 0..50 {
        client.send(&Frame::new(PING, 0, 0, [1; 8]));
    }
    client.send(&Frame::new(DATA, END_STREAM, 1, []));
    let body = client.expect("an answer", |frame| frame.kind == DATA);
    assert_eq!(
        String::from_utf8_lossy(&body.payload),
        (MESSAGES * 6).to_string()
    );
    assert_eq!(scene.hipache.log().next().status, 200);
    assert_eq!(scene.errors("enhance_your_calm"), 0.0);
}
