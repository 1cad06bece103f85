//! What a backend's bytes become, down to the odd and the hostile: what the client gets, whether the
//! connection is used again, and what access log and span say of it. However the bytes come: at once, or
//! one by one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;

use crate::harness::{
    Authority, Backend, Client, Collector, Directory, Ended, Flow, Hipache, Identity, Redis, SOON,
    attribute, eventually, response, text,
};

/// What a line tells here.
const TELLING: &str = "$request_uri $status $hipache_end $bytes_sent";

/// The method, the bytes that answer it, what becomes of the connection then, and what comes of all that:
/// status, body (with `…` where it is cut off), end, and whether the connection serves the next request.
type Case = (&'static str, String, &'static str, &'static str);

/// A proxy whose lines and spans tell the ends of exchanges.
pub(crate) struct Scene {
    _redis: Redis,
    _directory: Directory,
    collector: Collector,
    pub(crate) hipache: Hipache,
    log: PathBuf,
}

impl Scene {
    pub(crate) fn start(backend: &str, keys: &Value) -> Self {
        let (redis, collector, directory) =
            (Redis::start(), Collector::start(), Directory::fresh());
        redis.route("a.test", &[backend]);
        let log = directory.join("told.log");
        let telling = json!({
            "server": { "accessLog": { "target": &log, "format": TELLING }, "retryOnError": 0 },
            "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 },
        });
        let hipache = Hipache::builder()
            .redis(&redis)
            .set(&telling)
            .set(keys)
            .start();
        Self {
            _redis: redis,
            _directory: directory,
            collector,
            hipache,
            log,
        }
    }

    /// What becomes of a request: status, body (with `…` where it is cut off) and end.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, target: &str) -> String {
        let mut client = self.hipache.client();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"
        ));
        self.answer(&mut client, method, target)
    }

    /// What comes of a request that was sent.
    #[track_caller]
    pub(crate) fn answer(&self, client: &mut Client, method: &str, target: &str) -> String {
        let got = client.try_response(method);
        let (told, bytes_sent) = self.told(target);
        let (status, end) = told.split_once(' ').unwrap();
        let body = match got {
            Ok(response) => {
                let got = (response.status.to_string(), response.raw_length);
                assert_eq!(got, (status.to_owned(), bytes_sent), "{target}");
                match response.field("proxy-status") {
                    Some(_) => String::new(),
                    None => format!(" {:?}", response.text()),
                }
            }
            Err(broken) => {
                assert_ne!(broken.how, Ended::Silent, "{target}");
                format!(" {:?}…", text(&broken.body))
            }
        };
        format!("{status}{body} {end}")
    }

    /// What line and span say of a target, which must be the same: status, end, and bytes sent.
    #[track_caller]
    pub(crate) fn told(&self, target: &str) -> (String, u64) {
        let line = eventually(&format!("a line of {target}"), SOON, || {
            let text = std::fs::read_to_string(&self.log).ok()?;
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find_map(|(told, rest)| (told == target).then(|| rest.to_owned()))
        });
        let (told, bytes) = line.rsplit_once(' ').unwrap();
        let root = &self.collector.trace_of(target)[0];
        let of_span = |key| attribute(root, key).unwrap_or_else(|| "000".to_owned());
        let span = ["http.response.status_code", "hipache.end"]
            .map(of_span)
            .join(" ");
        assert_eq!(span, told, "span and line of {target}");
        (told.to_owned(), bytes.parse().unwrap())
    }
}

/// A backend that answers `/N/…` as the case says, in pieces of one byte where the target ends so.
fn backend(cases: Vec<Case>) -> (Backend, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let backend = Backend::scripted(move |conn, request| {
        let Some((number, way)) = request.target[1..].split_once('/') else {
            conn.send(response(
                200,
                "Connection: close\r\n",
                &request.number.to_string(),
            ));
            return Flow::Close;
        };
        let (_, bytes, then, _) = &cases[number.parse::<usize>().unwrap()];
        let bytes = bytes.as_bytes();
        match way {
            "bytes" => bytes.iter().all(|byte| conn.send([*byte])),
            _ => conn.send(bytes),
        };
        count.fetch_add(1, Ordering::SeqCst);
        match *then {
            "keep" => return Flow::Keep,
            "reset" => conn.reset_at_close(),
            _ => {}
        }
        Flow::Close
    });
    (backend, sent)
}

/// Holds what comes of each case against what is expected.
fn check(cases: &[Case]) {
    let (backend, sent) = backend(cases.to_vec());
    let scene = Scene::start(&backend.url(), &json!({}));
    let mut count = 0;
    let mut wrong = Vec::new();
    for (number, (method, bytes, then, expected)) in cases.iter().enumerate() {
        for way in ["whole", "bytes"] {
            if (*then, way) == ("reset", "bytes") {
                // A reset takes with it what of many pieces is still on the way.
                continue;
            }
            let target = format!("/{number}/{way}");
            let got = scene.ask(method, &target);
            count += 1;
            eventually("all that is sent", SOON, || {
                (sent.load(Ordering::SeqCst) == count).then_some(())
            });
            let was_kept = scene.hipache.get("a.test", "/probe").text() != "0";
            let kept = if was_kept { " kept" } else { "" };
            let got = format!("{got}{kept}");
            if got != **expected {
                wrong.push(format!(
                    "{method} {way} {bytes:.300?}\n  expected {expected}\n  got      {got}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a backend sends, what it does then, and what comes of that. Words are short for what often comes.
const CASES: &str = r#"
SIZED\r\nhello | keep | 200 "hello" ok kept
SIZED\r\nhello | reset | 200 "hello" ok
SIZEDConnection: close\r\n\r\nhello | keep | 200 "hello" ok
\r\nSIZED\r\nhello | keep | 200 "hello" ok kept
HTTP/1.1 200 OK\nContent-Length: 5\n\nhello | keep | 200 "hello" ok kept
HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello | keep | 200 "hello" ok kept
HTTP/1.1 999 Odd\r\nContent-Length: 5\r\n\r\nhello | keep | 999 "hello" ok kept
OK Content-Length: 5, 5\r\n\r\nhello | keep | 200 "hello" ok kept
OK Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello | keep | 200 "hello" ok kept
OK Content-Length: 00005\r\n\r\nhello | keep | 200 "hello" ok kept
OK Content-Length: \t 5 \t\r\n\r\nhello | keep | 200 "hello" ok kept
SIZEDX: é\r\n\r\nhello | keep | 200 "hello" ok kept

# Less and more than announced.
SIZED\r\nhell | close | 200 "hell"… connection_terminated
SIZED\r\nhelloSIZED\r\nother | keep | 200 "hello" ok
OK Content-Length: 0\r\n\r\nSIZED\r\nother | keep | 200 "" ok
OK Content-Length: 18446744073709551615\r\n\r\nhello | close | 200 "hello"… connection_terminated
HTTP/1.1 204 None\r\n\r\n | keep | 204 "" ok kept
HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n | keep | 204 "" ok kept
HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n | keep | 204 "" ok
HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n | keep | 204 "" ok
HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\nhello | keep | 304 "" ok
HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n | keep | 304 "" ok kept
HEAD SIZED\r\n | keep | 200 "" ok kept
HEAD CHUNKED\r\n | keep | 200 "" ok kept
HEAD OK \r\n | keep | 200 "" ok kept
HEAD SIZED\r\nhello | keep | 200 "" ok
HEAD CHUNKED\r\nHELLO0\r\n\r\n | keep | 200 "" ok

# Chunks.
CHUNKED\r\nHELLO0\r\n\r\n | keep | 200 "hello" ok kept
CHUNKED\r\n2;a=b\r\nhe\r\n03 ; c="d;e"\r\nllo\r\n000;x\r\n\r\n | keep | 200 "hello" ok kept
CHUNKEDTrailer: X\r\n\r\nHELLO0\r\nX: 1\r\nContent-Length: 9\r\n\r\n | keep | 200 "hello" ok kept
CHUNKED\r\nHELLO0\r\n\r\nmore | keep | 200 "hello" ok
CHUNKED\r\nHELLO0\r\n | close | 200 "hello"… connection_terminated
CHUNKED\r\nHELLO | reset | 200 "hello"… connection_terminated
CHUNKED\r\n6\r\nhello | close | 200 "hello"… connection_terminated
CHUNKED\r\nHELLOffffffffffffffff\r\n | close | 200 "hello"… connection_terminated
CHUNKED\r\n5\r\nhello!\r\n0\r\n\r\n | keep | 200 "hello"… http_protocol_error
CHUNKED\r\n5\r\nhello\n0\r\n\r\n | keep | 200 "hello"… http_protocol_error
CHUNKED\r\nHELLO5\n | keep | 200 "hello"… http_protocol_error
CHUNKED\r\nHELLOx\r\n | keep | 200 "hello"… http_protocol_error
CHUNKED\r\nHELLO 0\r\n\r\n | keep | 200 "hello"… http_protocol_error
CHUNKED\r\nHELLO0x0\r\n\r\n | keep | 200 "hello"… http_protocol_error
CHUNKED\r\nHELLO10000000000000000\r\n | keep | 200 "hello"… http_protocol_error
CHUNKED\r\nHELLO0\r\nno field\r\n\r\n | keep | 200 "hello"… http_protocol_error

# Until the end of the connection.
OK \r\nhello | close | 200 "hello" ok
OK \r\nhello | reset | 200 "hello"… connection_terminated
OK Connection: keep-alive\r\n\r\nhello | close | 200 "hello" ok
HTTP/1.0 200 OK\r\n\r\nhello | close | 200 "hello" ok
HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello | keep | 200 "hello" ok
HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello | keep | 200 "hello" ok kept

# Two framings: the chunks are believed, but not what would follow. And framings that are none.
SIZEDTransfer-Encoding: chunked\r\n\r\nHELLO0\r\n\r\n | keep | 200 "hello" ok
CHUNKEDContent-Length: 3\r\n\r\nHELLO0\r\n\r\n | keep | 200 "hello" ok
SIZEDTransfer-Encoding:\r\n\r\nhello | keep | 502 http_protocol_error
OK Transfer-Encoding: ,\r\n\r\nhello | close | 502 http_protocol_error
CHUNKEDTransfer-Encoding: chunked\r\n\r\nHELLO0\r\n\r\n | keep | 502 http_protocol_error
OK Transfer-Encoding: identity\r\n\r\nhello | close | 502 http_protocol_error
OK Transfer-Encoding: "chunked"\r\n\r\nHELLO0\r\n\r\n | keep | 502 http_protocol_error
OK Transfer-Encoding: chunked;q=1\r\n\r\nHELLO0\r\n\r\n | keep | 502 http_protocol_error
OK Transfer-Encoding: \vchunked\r\n\r\nHELLO0\r\n\r\n | keep | 502 http_protocol_error
OK Transfer-Encoding : chunked\r\n\r\nHELLO0\r\n\r\n | keep | 502 http_protocol_error
OK Transfer-Encoding\r\n : chunked\r\n\r\nHELLO0\r\n\r\n | keep | 502 http_protocol_error
OK Content-Length: 5, 6\r\n\r\nhello! | keep | 502 http_protocol_error
OK Content-Length: +5\r\n\r\nhello | keep | 502 http_protocol_error
OK Content-Length: 0x5\r\n\r\nhello | keep | 502 http_protocol_error
OK Content-Length: 5 5\r\n\r\nhello | keep | 502 http_protocol_error
OK Content-Length:\r\n\r\nhello | close | 502 http_protocol_error
OK Content-Length: 5\r\n ,5\r\n\r\nhello | keep | 502 http_protocol_error
HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHELLO0\r\n\r\n | keep | 502 http_protocol_error

# What is no head.
HTTP/2.0 200 OK\r\n\r\n | keep | 502 http_protocol_error
HTTP/1.1 099 Low\r\n\r\n | keep | 502 http_protocol_error
HTTP/1.1 20 OK\r\n\r\n | keep | 502 http_protocol_error
HTTP/1.1 2000 OK\r\n\r\n | keep | 502 http_protocol_error
ICY 200 OK\r\n\r\n | keep | 502 http_protocol_error
http/1.1 200 OK\r\n\r\n | keep | 502 http_protocol_error
SSH-2.0-OpenSSH\r\n | keep | 502 http_protocol_error
OK X: a\0b\r\n\r\n | keep | 502 http_protocol_error
OK X: a\rb\r\n\r\n | keep | 502 http_protocol_error
OK X y: a\r\n\r\n | keep | 502 http_protocol_error
OK : a\r\n\r\n | keep | 502 http_protocol_error
OK X: a\r\n folded\r\n\r\n | keep | 502 http_protocol_error
SIZED | close | 502 connection_terminated

# Responses before the response.
HTTP/1.1 100 Continue\r\n\r\nSIZED\r\nhello | keep | 200 "hello" ok kept
HTTP/1.1 103 Hints\r\nContent-Length: 9\r\nConnection: close\r\n\r\nSIZED\r\nhello | keep | 200 "hello" ok kept
HTTP/1.0 100 Continue\r\n\r\nSIZED\r\nhello | keep | 200 "hello" ok kept
HTTP/1.1 199 Odd\r\n\r\nSIZED\r\nhello | keep | 200 "hello" ok kept
SIZED\r\nhelloHTTP/1.1 103 Hints\r\n\r\n | keep | 200 "hello" ok
HTTP/1.1 100 Continue\r\n\r\n | close | 502 connection_terminated
HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n | keep | 502 http_protocol_error
HTTP/1.1 101 Switching Protocols\r\n\r\nSIZED\r\nhello | keep | 502 http_protocol_error
"#;

/// The cases of a table.
fn parse(table: &'static str) -> Vec<Case> {
    let words = [
        ("CHUNKED", "OK Transfer-Encoding: chunked\\r\\n"),
        ("SIZED", "OK Content-Length: 5\\r\\n"),
        ("HELLO", "5\\r\\nhello\\r\\n"),
        ("OK ", "HTTP/1.1 200 OK\\r\\n"),
        ("\\r", "\r"),
        ("\\n", "\n"),
        ("\\t", "\t"),
        ("\\v", "\u{b}"),
        ("\\0", "\0"),
    ];
    let lines = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let cases = lines.map(|line| {
        let [told, then, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("no case: {line}");
        };
        let (method, told) = match told.strip_prefix("HEAD ") {
            Some(told) => ("HEAD", told),
            None => ("GET", told),
        };
        let replace = |told: String, (word, text)| told.replace::<&str>(word, text);
        let bytes = words.into_iter().fold(told.to_owned(), replace);
        (method, bytes, then, expected)
    });
    cases.collect()
}

#[test]
fn heads_and_framings_of_every_kind_come_to_their_end() {
    check(&parse(CASES));
}

#[test]
fn heads_have_a_bound() {
    let fields = |count: usize| -> String { (0..count).map(|n| format!("X-{n}: v\r\n")).collect() };
    let head =
        |fields: String| format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{fields}\r\nhello");
    let long = |bytes: usize| format!("X: {}\r\n", "v".repeat(bytes));
    let kept = "200 \"hello\" ok kept";
    let bad = "502 http_protocol_error";
    let cases: Vec<Case> = vec![
        ("GET", head(fields(31)), "keep", kept),
        ("GET", head(fields(32)), "keep", kept),
        ("GET", head(fields(255)), "keep", kept),
        ("GET", head(fields(256)), "keep", bad),
        ("GET", head(long(65_000)), "keep", kept),
        ("GET", head(long(150_000)), "keep", bad),
        (
            "GET",
            format!("HTTP/1.1 100 {}", "x".repeat(150_000)),
            "keep",
            bad,
        ),
    ];
    check(&cases);
}

/// Answers the first request of a session with the bytes of its case, and ends both in its own way.
fn end_session(identity: &Identity, tcp: TcpStream, cases: &[(&str, bool, bool, &str)]) {
    let below = tcp.try_clone().unwrap();
    let Some(mut session) = identity.shake_hands(tcp) else {
        return;
    };
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if session.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let target = text(&head).split(['/', ' ']).nth(2).unwrap().to_owned();
    let (bytes, says_so, is_reset, _) = cases[target.parse::<usize>().unwrap()];
    session.write_all(bytes.as_bytes()).unwrap();
    if says_so {
        session.conn.send_close_notify();
    }
    session.flush().unwrap();
    if is_reset {
        SockRef::from(&below)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
}

#[test]
fn the_end_of_tls_is_the_end_of_a_response_only_where_it_is_said() {
    let ok = "200 \"hello\" ok";
    let cut = "200 \"hello\"… connection_terminated";
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let until_close = "HTTP/1.1 200 OK\r\n\r\nhello";
    let half = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let cases = [
        (sized, true, false, ok),
        (sized, false, false, ok),
        (sized, false, true, ok),
        (chunked, true, false, ok),
        (chunked, false, false, ok),
        (chunked, false, true, ok),
        (until_close, true, false, ok),
        (until_close, true, true, ok),
        (until_close, false, false, cut),
        (until_close, false, true, cut),
        (half, true, false, cut),
        (half, false, false, cut),
    ];
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let backend = Backend::sockets(move |tcp| end_session(&identity, tcp, &cases));
    let directory = Directory::fresh();
    let ca = directory.write("ca.pem", authority.pem());
    let keys = json!({ "server": { "backendCa": ca } });
    let scene = Scene::start(&backend.url().replace("http", "https"), &keys);
    for (number, (_, _, _, expected)) in cases.iter().enumerate() {
        let target = format!("/{number}");
        assert_eq!(scene.ask("GET", &target), *expected, "{target}");
    }
}
