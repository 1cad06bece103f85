//! The access log against what the clients saw: every outcome in one run, each with its one line.

use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Backend, Client, Flow, Hipache, Line, Redis, Refused, Response, SOON, ok, response,
};

/// What a client saw of one exchange.
#[derive(Debug)]
struct Seen {
    /// Request line as sent, `-` when its head was refused.
    request: String,
    /// Status received, 0 when none was.
    status: u16,
    /// Bytes received.
    bytes: u64,
    /// Whether the client left before the end: more may have been sent than it received.
    left: bool,
    /// Identifier of the frontend.
    vhost: &'static str,
}

/// The story of one run.
struct Run {
    redis: Redis,
    hipache: Hipache,
    backend: Backend,
    seen: Vec<Seen>,
}

impl Run {
    fn client(&self) -> Client {
        self.hipache.client()
    }

    fn note(&mut self, request: &str, response: &Response, vhost: &'static str) {
        self.seen.push(Seen {
            request: request.to_owned(),
            status: response.status,
            bytes: response.raw_length,
            left: false,
            vhost,
        });
    }

    /// Sends these bytes on a connection of its own and notes the response, which has this status.
    #[track_caller]
    fn ask(&mut self, bytes: &str, status: u16, vhost: &'static str) {
        let request = bytes.split("\r\n").next().unwrap();
        let mut client = self.client();
        client.send(bytes);
        let response = client.try_response(request.split(' ').next().unwrap());
        let response = response.unwrap_or_else(|broken| panic!("{request}: {broken:?}"));
        assert_eq!(response.status, status, "{request}");
        self.note(request, &response, vhost);
    }

    /// As `ask`, with a head that is refused: its line has no request.
    #[track_caller]
    fn ask_refused(&mut self, bytes: &str, status: u16) {
        self.ask(bytes, status, "-");
        self.seen.last_mut().unwrap().request = "-".to_owned();
    }
}

fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A backend with an answer for each path.
fn backend() -> Backend {
    Backend::scripted(|conn, request| {
        match request.target.as_str() {
            "/404" => conn.send(response(404, "", "nothing")),
            "/500" => conn.send(response(500, "", "sorry")),
            "/301" => conn.send(response(301, "Location: /x\r\n", "")),
            "/204" => conn.send("HTTP/1.1 204 No Content\r\n\r\n"),
            "/304" => conn.send("HTTP/1.1 304 Not Modified\r\n\r\n"),
            "/chunked" => conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            "/hints" => conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            "/head" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            "/large" => conn.send(response(200, "", &"x".repeat(300_000))),
            "/closing" | "/post-closing" => {
                conn.read_body(request);
                return Flow::Close;
            }
            "/garbage" => {
                conn.send("garbage\r\n\r\n");
                return Flow::Close;
            }
            "/truncated" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
                return Flow::Close;
            }
            "/early" => {
                conn.send(response(413, "Connection: close\r\n", "too much"));
                conn.wait_for_end(Duration::from_secs(2));
                return Flow::Close;
            }
            "/silent" | "/left-waiting" => {
                conn.wait_for_end(Duration::from_secs(20));
                return Flow::Close;
            }
            "/left-reading" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
                while conn.send([b'x'; 100_000]) {}
                return Flow::Close;
            }
            "/upgrade" => {
                conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello");
                conn.wait_for_end(Duration::from_secs(20));
                return Flow::Close;
            }
            "/continue" => {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n");
                conn.read_body(request);
                conn.send(response(200, "", "got it"))
            }
            _ => {
                conn.read_body(request);
                conn.send(response(200, "", "here"))
            }
        };
        Flow::Keep
    })
}

fn answered_by_the_backend(run: &mut Run) {
    for (target, status) in [
        ("/plain", 200),
        ("/404", 404),
        ("/500", 500),
        ("/301", 301),
        ("/204", 204),
        ("/304", 304),
        ("/chunked", 200),
        ("/hints", 200),
        ("/large", 200),
    ] {
        run.ask(&get("a.test", target), status, "id-a.test");
    }
    run.ask(
        "HEAD /head HTTP/1.1\r\nHost: a.test\r\n\r\n",
        200,
        "id-a.test",
    );
    run.ask(
        "GET /old HTTP/1.0\r\nHost: a.test\r\n\r\n",
        200,
        "id-a.test",
    );
    run.ask(&get("wild.w.test", "/wild"), 200, "id-*.w.test");
    run.ask(
        "GET http://a.test/absolute HTTP/1.1\r\nHost: x\r\n\r\n",
        200,
        "id-a.test",
    );
    run.ask(
        "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
        200,
        "id-a.test",
    );
    let post = "POST /post HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";
    run.ask(post, 200, "id-a.test");
    let put = "PUT /put HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    run.ask(put, 200, "id-a.test");
    let head = "PUT /continue HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody";
    run.ask(head, 200, "id-a.test");
    let early = "POST /early HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\npart";
    run.ask(early, 413, "id-a.test");
}

fn several_on_one_connection(run: &mut Run) {
    let mut client = run.client();
    for target in ["/kept/1", "/kept/2", "/kept/3"] {
        client.get("a.test", target);
        let response = client.response();
        run.note(&format!("GET {target} HTTP/1.1"), &response, "id-a.test");
    }
    client.send([get("a.test", "/piped/1"), get("unknown.test", "/piped/2")].concat());
    for (target, vhost) in [("/piped/1", "id-a.test"), ("/piped/2", "-")] {
        let response = client.response();
        run.note(&format!("GET {target} HTTP/1.1"), &response, vhost);
    }
    client.get("__ping__", "/ping");
    assert_eq!(client.response().text(), "ok");
}

fn answered_by_the_proxy(run: &mut Run) {
    run.ask(&get("unknown.test", "/unknown"), 400, "-");
    run.ask(&get("b..ad", "/bad-host"), 400, "-");
    run.ask("GET /no-host HTTP/1.1\r\n\r\n", 400, "-");
    run.ask(&get("empty.test", "/empty"), 502, "id-empty.test");
    run.ask(&get("dead.test", "/all-dead"), 502, "id-dead.test");
    run.ask(&get("nourl.test", "/no-url"), 502, "id-nourl.test");
    run.ask(&get("refused.test", "/refused"), 502, "id-refused.test");
    run.ask(&get("noname.test", "/no-name"), 502, "id-noname.test");
    run.ask(&get("wrongtype.test", "/wrong-type"), 503, "-");
    run.ask(&get("retried.test", "/retried"), 200, "id-retried.test");
    run.ask(&get("a.test", "/closing"), 502, "id-a.test");
    run.ask(&get("a.test", "/garbage"), 502, "id-a.test");
    run.ask(&get("a.test", "/silent"), 504, "id-a.test");
    let post = "POST /post-closing HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";
    run.ask(post, 502, "id-a.test");
}

fn refused_heads(run: &mut Run) {
    run.ask_refused("garbage\r\n\r\n", 400);
    let long = "v".repeat(2_000_000);
    run.ask_refused(
        &format!("GET /long HTTP/1.1\r\nHost: a.test\r\nX: {long}\r\n\r\n"),
        431,
    );
    run.ask_refused("GET /slow HTTP/1.1\r\nHost: a.te", 408);
}

fn broken_off(run: &mut Run) {
    let mut client = run.client();
    client.get("a.test", "/truncated");
    let head = client.head().unwrap();
    assert_eq!(client.bytes(4), b"part");
    client.end(SOON);
    run.seen.push(Seen {
        request: "GET /truncated HTTP/1.1".to_owned(),
        status: 200,
        bytes: head.raw.len() as u64 + 4,
        left: false,
        vhost: "id-a.test",
    });
    let mut client = run.client();
    let before = run.backend.count();
    client.get("a.test", "/left-waiting");
    run.backend.wait_for(before + 1);
    client.reset();
    run.seen.push(left("GET /left-waiting HTTP/1.1", 0, 0));
    let mut client = run.client();
    client.get("a.test", "/left-reading");
    let head = client.head().unwrap();
    client.bytes(1_000_000);
    client.reset();
    run.seen.push(left(
        "GET /left-reading HTTP/1.1",
        200,
        head.raw.len() as u64 + 1_000_000,
    ));
    let mut client = run.client();
    client
        .send("GET /upgrade HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(client.bytes(5), b"hello");
    drop(client);
    run.seen.push(Seen {
        request: "GET /upgrade HTTP/1.1".to_owned(),
        status: 101,
        bytes: head.raw.len() as u64 + 5,
        left: false,
        vhost: "id-a.test",
    });
}

fn left(request: &str, status: u16, bytes: u64) -> Seen {
    Seen {
        request: request.to_owned(),
        status,
        bytes,
        left: true,
        vhost: "id-a.test",
    }
}

fn start() -> Run {
    let (redis, backend) = (Redis::start(), backend());
    let refused = Refused::new();
    for host in ["a.test", "*.w.test", "dead.test"] {
        redis.route(host, &[&backend.url()]);
    }
    redis.run(&["SADD", "dead:dead.test", "0"]);
    redis.route("retried.test", &[&refused.url(), &backend.url()]);
    redis.route("refused.test", &[&refused.url()]);
    redis.route("empty.test", &[]);
    redis.route("nourl.test", &["nonsense"]);
    redis.route("noname.test", &["http://no-such-host.invalid"]);
    redis.run(&["SET", "frontend:wrongtype.test", "text"]);
    let keys = json!({
        "server": { "workers": 2, "requestHeadTimeout": 1, "firstByteTimeout": 1 },
    });
    let hipache = Hipache::with(&redis, &keys);
    Run {
        redis,
        hipache,
        backend,
        seen: Vec::new(),
    }
}

#[test]
fn every_outcome_has_its_one_line_and_the_line_says_what_the_client_saw() {
    let mut run = start();
    answered_by_the_backend(&mut run);
    several_on_one_connection(&mut run);
    answered_by_the_proxy(&mut run);
    refused_heads(&mut run);
    broken_off(&mut run);
    // What the clients ended is noticed, not told: its lines are awaited before the stop.
    let lines = run.hipache.log().wait_for(run.seen.len());
    run.hipache.stop();
    let all = run.hipache.log().all();
    assert_eq!(all.len(), lines.len(), "no line comes late");
    assert!(run.seen.len() > 40);
    let mut lines: Vec<Line> = all;
    for seen in &run.seen {
        let found = lines.iter().position(|line| agrees(seen, line));
        let found = found.unwrap_or_else(|| panic!("no line for {seen:?} in {lines:#?}"));
        lines.remove(found);
    }
    assert!(lines.is_empty(), "lines of nobody: {lines:#?}");
    drop(run.redis);
}

fn agrees(seen: &Seen, line: &Line) -> bool {
    let gone = seen.left && seen.status == 0 && matches!(line.status, 0 | 499);
    let status = line.status == seen.status || gone;
    let bytes = if seen.left {
        line.bytes >= seen.bytes
    } else {
        line.bytes == seen.bytes
    };
    let same = line.request == seen.request && line.vhost == seen.vhost;
    same && status && bytes && line.address == "::ffff:127.0.0.1"
}

#[test]
fn what_a_client_sends_cannot_forge_a_line() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let cases: &[(&[u8], &str)] = &[
        (b"plain UA/1.0 (x; y)", "plain UA/1.0 (x; y)"),
        (b"with \"quotes\"", r"with \x22quotes\x22"),
        (b"back\\slash", r"back\x5Cslash"),
        (b"tab\there", r"tab\x09here"),
        (b"\xc3\xa4\xff", r"\xC3\xA4\xFF"),
        (b"\" 200 5 \"\" \"", r"\x22 200 5 \x22\x22 \x22"),
        (b"", ""),
    ];
    for (sent, logged) in cases {
        let mut client = hipache.client();
        let head: &[u8] = b"GET /x HTTP/1.1\r\nHost: a.test\r\n";
        client.send(
            [
                head,
                b"User-Agent: ",
                sent,
                b"\r\nReferer: ",
                sent,
                b"\r\n\r\n",
            ]
            .concat(),
        );
        let response = client.response();
        assert_eq!(response.status, 200);
        let line = hipache.line_of("GET /x HTTP/1.1", &response);
        assert_eq!(
            (line.agent.as_str(), line.referer.as_str()),
            (*logged, *logged)
        );
    }
    let mut client = hipache.client();
    client.send(b"GET /\xc3\xa4\"x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let status = client.response().status;
    let line = hipache.log().next();
    assert_eq!(line.status, status);
    if status == 200 {
        assert_eq!(line.request, r"GET /\xC3\xA4\x22x HTTP/1.1");
    }
}

#[test]
fn times_are_of_the_right_clock_and_from_the_right_moment() {
    let redis = Redis::start();
    let slow = Backend::scripted(|conn, request| {
        std::thread::sleep(Duration::from_millis(200));
        conn.read_body(request);
        conn.send(response(200, "", "here"));
        Flow::Keep
    });
    redis.route("a.test", &[&slow.url()]);
    let mut hipache = Hipache::on(&redis);
    let before = httpdate::HttpDate::from(std::time::SystemTime::now());
    let (_, line) = hipache.exchange("a.test", "/x");
    let after = httpdate::HttpDate::from(std::time::SystemTime::now());
    assert!((0.2..2.0).contains(&line.total), "{line:?}");
    assert!((0.19..=line.total).contains(&line.backend), "{line:?}");
    let shown = |date: &httpdate::HttpDate| {
        // `Sun, 22 Nov 2026 05:01:23 GMT`
        let date = date.to_string();
        let words: Vec<&str> = date.split(' ').collect();
        format!("{}/{}/{}:{} +0000", words[1], words[2], words[3], words[4])
    };
    let times = [shown(&before), shown(&after)];
    assert!(
        times.contains(&line.time),
        "{} is neither of {times:?}",
        line.time
    );
    // A request is logged at its end, with the time at which it came.
    let mut client = hipache.client();
    client.post("a.test", "/y", b"body");
    client.response();
    assert!(hipache.log().next().total >= 0.2);
}

#[test]
fn a_kept_connection_counts_each_response_by_itself() {
    let redis = Redis::start();
    let backend = Backend::answering(|_| ok("the same"));
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let mut client = hipache.client();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        client.get("a.test", "/x");
        let response = client.response();
        sizes.push(hipache.line_of("GET /x HTTP/1.1", &response).bytes);
    }
    assert!(sizes[0] == sizes[1] && sizes[1] == sizes[2], "{sizes:?}");
}
