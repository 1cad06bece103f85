//! Heads of HTTP/2 on their way to HTTP/1.1 and back: what is refused, what is translated, what is
//! left out.

use http::{Request, Response};
use serde_json::json;

use crate::harness::frames::{
    END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PROTOCOL_ERROR, RST_STREAM, block,
    pseudo,
};
use crate::harness::{Backend, Flow, Hipache, Redis, block_on, ok, read_all, speak};

fn scene(backend: &Backend) -> (Redis, Hipache) {
    let redis = Redis::start();
    redis.route("a.test", &[&backend.url()]);
    let keys = json!({
        "http": { "h2c": true },
        "admin": { "bind": "127.0.0.1", "port": 0 }
    });
    let hipache = Hipache::with(&redis, &keys);
    (redis, hipache)
}

/// A whole answer over HTTP/2.
async fn ask(hipache: &Hipache, request: Request<()>) -> (Response<()>, Vec<u8>) {
    let mut requests = speak(hipache.address()).await;
    let (response, _) = requests.send_request(request, true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    let (bytes, _) = read_all(&mut body).await.unwrap();
    (Response::from_parts(head, ()), bytes)
}

#[test]
fn malformed_heads_are_refused_one_by_one_and_leave_a_line_each() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend);
    let get = pseudo("GET", "a.test", "/");
    let with = |field: (&'static str, &'static str)| [get.as_slice(), &[field]].concat();
    let cases: [Vec<(&str, &str)>; 15] = [
        get[1..].to_vec(),
        get[..3].to_vec(),
        [&get[..1], &get[2..]].concat(),
        vec![get[0], get[1], get[2], (":path", "")],
        with((":path", "/twice")),
        with((":status", "200")),
        with((":unknown", "x")),
        vec![get[0], ("x", "y"), get[1], get[2], get[3]],
        with(("X-Upper", "x")),
        with(("connection", "close")),
        with(("transfer-encoding", "chunked")),
        with(("te", "gzip")),
        with(("x", "line\nbreak")),
        // Announced, and never sent.
        with(("content-length", "7")),
        vec![get[0], get[1], (":authority", "a b"), get[3]],
    ];
    for fields in &cases {
        let mut client = Frames::connect(hipache.address());
        client.send(&Frame::request(1, fields));
        // A head that cannot be decoded as a whole ends the connection (RFC 9113 §4.3).
        let told = client.expect("a refusal", |frame| {
            [RST_STREAM, GOAWAY].contains(&frame.kind)
        });
        assert_eq!(told.code(), PROTOCOL_ERROR, "{fields:?}");
        let line = hipache.log().next();
        let logged = (line.request.as_str(), line.status, line.bytes);
        assert_eq!(logged, ("-", 400, 0), "{fields:?}");
        if told.kind == RST_STREAM {
            assert!(client.is_served(3, "a.test", "/well"));
            assert_eq!(hipache.log().next().target(), "/well");
        }
    }
    assert!(
        backend
            .requests()
            .iter()
            .all(|request| request.target == "/well")
    );
    assert!(backend.count() >= cases.len() / 2, "{}", backend.count());
    let scrape = hipache.scrape();
    let refused = scrape.sum("hipache_exchanges_total", &[("end", "bad_request")]);
    assert_eq!(refused, f64::from(u32::try_from(cases.len()).unwrap()));
    let ended = scrape.sum("hipache_http2_connection_errors_total", &[]);
    assert_eq!(
        ended,
        refused - f64::from(u32::try_from(backend.count()).unwrap())
    );
}

#[test]
fn the_authority_is_the_host_and_two_hosts_are_none() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend);
    let base = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(Fields, Fields, u16, &str); 7] = [
        (&[(":authority", "a.test")], &[], 200, "a.test"),
        (&[(":authority", "A.test:8080")], &[], 200, "A.test:8080"),
        (&[], &[("host", "a.test")], 200, "a.test"),
        (
            &[(":authority", "a.test")],
            &[("host", "A.TEST")],
            200,
            "A.TEST",
        ),
        (&[(":authority", "a.test")], &[("host", "b.test")], 400, ""),
        (&[], &[("host", "a.test"), ("host", "b.test")], 400, ""),
        (&[], &[], 400, ""),
    ];
    for (number, (authority, host, status, expected)) in (0..).zip(cases) {
        let mut client = Frames::connect(hipache.address());
        let fields = [authority, base.as_slice(), host].concat();
        client.send(&Frame::request(1, &fields));
        client.expect("an answer", |frame| {
            frame.has(END_STREAM) && frame.stream == 1
        });
        let line = hipache.log().next();
        assert_eq!(line.status, status, "{number}: {fields:?}");
        if status == 200 {
            assert_eq!(backend.last().head.all("host"), [expected], "{fields:?}");
        }
    }
}

#[test]
fn cookies_are_joined_and_only_trailers_are_asked_for() {
    let backend = Backend::saying("here");
    let (_redis, hipache) = scene(&backend);
    let request = Request::get("http://a.test/cookies")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .header("cookie", "d=4")
        .header("te", "trailers");
    let (response, _) = block_on(ask(&hipache, request.body(()).unwrap()));
    assert_eq!(response.status(), 200);
    let got = backend.last();
    assert_eq!(got.head.all("cookie"), ["a=1; b=2; c=3; d=4"]);
    assert_eq!(got.head.all("te"), ["trailers"]);
    assert_eq!(got.head.all("connection"), ["te"]);
    assert_eq!(got.head.start, "GET /cookies HTTP/1.1");
}

#[test]
fn what_concerns_a_connection_is_left_out_of_responses() {
    let backend = Backend::scripted(|conn, request| {
        let status = &request.target[1..];
        conn.send(format!(
            "HTTP/1.1 {status} X\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: x\r\nUpgrade: x/1\r\nX-Hop: x\r\nTE: trailers\r\nKept: y\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        ));
        Flow::Keep
    });
    let (_redis, hipache) = scene(&backend);
    for status in [200, 426] {
        let request = Request::get(format!("http://a.test/{status}"));
        let (response, body) = block_on(ask(&hipache, request.body(()).unwrap()));
        assert_eq!(
            (response.status().as_u16(), body.as_slice()),
            (status, &b"ok"[..])
        );
        let mut names: Vec<_> = response
            .headers()
            .keys()
            .map(|name| name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["date", "kept"], "{status}");
    }
}

#[test]
fn a_date_is_added_only_where_the_backend_gave_none() {
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/dated" => crate::harness::Reply::Keep(crate::harness::response(
            200,
            "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            "",
        )),
        _ => ok(""),
    });
    let (_redis, hipache) = scene(&backend);
    let date = |path: &str| {
        let request = Request::get(format!("http://a.test{path}"))
            .body(())
            .unwrap();
        let (response, _) = block_on(ask(&hipache, request));
        let dates: Vec<_> = response.headers().get_all("date").iter().cloned().collect();
        assert_eq!(dates.len(), 1, "{path}");
        dates[0].to_str().unwrap().to_owned()
    };
    assert_eq!(date("/dated"), "Thu, 01 Jan 1970 00:00:00 GMT");
    let now = httpdate::parse_http_date(&date("/undated")).unwrap();
    let off = now.elapsed().unwrap_or_default();
    assert!(off < std::time::Duration::from_secs(20), "{off:?}");
}

#[test]
fn the_answer_to_a_head_request_has_a_length_and_no_body() {
    let backend = Backend::saying("here");
    let (_redis, mut hipache) = scene(&backend);
    for (host, status) in [("a.test", 200), ("unknown.test", 404)] {
        let request = Request::head(format!("http://{host}/")).body(()).unwrap();
        let (response, body) = block_on(ask(&hipache, request));
        assert!(body.is_empty(), "{host}");
        let length = response.headers()["content-length"].to_str().unwrap();
        assert_ne!(length, "0", "{host}");
        let line = hipache.log().next();
        assert!([status, 400, 503].contains(&line.status), "{line:?}");
        assert_eq!(response.status().as_u16(), line.status);
    }
}

#[test]
fn a_body_that_is_not_of_the_announced_length_is_a_bad_request() {
    let backend = Backend::scripted(|conn, request| {
        conn.read_body(request);
        Flow::Close
    });
    let (_redis, mut hipache) = scene(&backend);
    let mut client = Frames::connect(hipache.address());
    let mut fields = pseudo("POST", "a.test", "/length").to_vec();
    fields.push(("content-length", "10"));
    client.send(&Frame::new(HEADERS, END_HEADERS, 1, block(&fields)));
    backend.wait_for(1);
    client.send(&Frame::new(0, END_STREAM, 1, *b"short"));
    let reset = client.expect("a reset", |frame| frame.kind == RST_STREAM);
    assert_eq!(reset.code(), PROTOCOL_ERROR);
    assert_eq!(hipache.log().next().target(), "/length");
    let bad = |hipache: &Hipache| {
        let scrape = hipache.scrape();
        scrape.sum("hipache_exchanges_total", &[("end", "bad_request")])
    };
    assert_eq!(bad(&hipache), 1.0);
}
