//! Which frontend serves a host: normalisation, exact names, wildcards, hosts that are no names.

use crate::harness::{Backend, Client, Hipache, Redis, Reply, ok, text};

/// Asks with this literal `Host` value and returns status and the identifier that was logged.
fn ask(hipache: &mut Hipache, host: &[u8]) -> (u16, String) {
    let mut client = hipache.client();
    client.send([b"GET /x HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat());
    let response = client.response();
    let line = hipache.line_of("GET /x HTTP/1.1", &response);
    (response.status, line.vhost)
}

#[test]
fn exact_names_go_before_wildcards_and_long_wildcards_before_short_ones() {
    let deep = "a.b.c.d.e.f.g.h.example.com";
    let cases: &[(&[&str], &str, &str)] = &[
        (&["a.test"], "a.test", "a.test"),
        (&["*.test"], "a.test", "*.test"),
        (&["*"], "a.test", "*"),
        (&["a.test", "*.test", "*"], "a.test", "a.test"),
        (&["*.test", "*"], "a.test", "*.test"),
        (&["*.test", "*"], "test", "*"),
        (&["*.b.test", "*.test"], "a.b.test", "*.b.test"),
        (&["*.b.test", "*.test"], "a.c.test", "*.test"),
        (&["*.foo.bar"], "foo.bar", "-"),
        (&["*.foo.bar", "*.bar"], "foo.bar", "*.bar"),
        (&["a.test"], "b.test", "-"),
        (&["localhost"], "localhost", "localhost"),
        (&["*.localhost"], "localhost", "-"),
        (&["*"], "localhost", "*"),
        // Wildcards have five labels at most; an exact name may have any number.
        (&[deep], deep, deep),
        (
            &["*.f.g.h.example.com", "*.g.h.example.com"],
            deep,
            "*.f.g.h.example.com",
        ),
        (
            &["*.g.h.example.com", "*.h.example.com"],
            deep,
            "*.g.h.example.com",
        ),
        (
            &["*.h.example.com", "*.example.com"],
            deep,
            "*.h.example.com",
        ),
        (&["*.example.com", "*.com"], deep, "*.example.com"),
        (&["*.com", "*"], deep, "*.com"),
        (&["*.e.f.g.h.example.com"], deep, "-"),
        (&["*.b.c.d.e.f.g.h.example.com", "*"], deep, "*"),
        (&["*.c.d.e.f.test"], "b.c.d.e.f.test", "*.c.d.e.f.test"),
    ];
    let redis = Redis::start();
    let backend = Backend::saying("here");
    let mut hipache = Hipache::on(&redis);
    for (frontends, host, expected) in cases {
        redis.run(&["FLUSHDB"]);
        for frontend in *frontends {
            redis.route(frontend, &[&backend.url()]);
        }
        let want = match *expected {
            "-" => (400, "-".to_owned()),
            frontend => (200, format!("id-{frontend}")),
        };
        assert_eq!(
            ask(&mut hipache, host.as_bytes()),
            want,
            "{host} with {frontends:?}"
        );
    }
}

#[test]
fn a_host_is_normalised_before_it_is_looked_up_and_passed_on_as_it_came() {
    let cases: &[(&str, &str)] = &[
        ("a.test", "a.test"),
        ("a.test:80", "a.test"),
        ("A.Test:8080", "a.test"),
        ("A.TEST", "a.test"),
        ("a.test:", "a.test"),
        ("a.test.", "a.test"),
        ("a.test.:80", "a.test"),
        ("A.TEST.", "a.test"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]"),
        ("under_score.a-b.test", "under_score.a-b.test"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("", "*"),
    ];
    let redis = Redis::start();
    let backend = Backend::saying("here");
    let mut hipache = Hipache::on(&redis);
    for (_, frontend) in cases {
        redis.route(frontend, &[&backend.url()]);
    }
    for (host, frontend) in cases {
        let answer = ask(&mut hipache, host.as_bytes());
        assert_eq!(answer, (200, format!("id-{frontend}")), "{host:?}");
        assert_eq!(
            backend.last().field("host"),
            Some(*host),
            "passed on unchanged"
        );
    }
}

#[test]
fn a_host_that_cannot_be_a_name_is_refused_and_never_reaches_redis() {
    let long = [b'a'; 300];
    let cases: &[&[u8]] = &[
        b"a b.test",
        b"a/b.test",
        b"user@a.test",
        b"a;b.test",
        b"a\"b.test",
        b"a..test",
        b".a.test",
        b"a.test:port",
        b"a.test:80:90",
        b"a.test:99999",
        b"[::1",
        b"[::g]",
        b"*",
        b"*.test",
        b"\xc3\xa4.test",
        b"\xff.test",
        b"a%2eb.test",
        &long,
    ];
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("*", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    ask(&mut hipache, b"first.test");
    let mut monitor = redis.monitor();
    for host in cases {
        let (status, vhost) = ask(&mut hipache, host);
        assert_eq!((status, vhost.as_str()), (400, "-"), "{:?}", text(host));
    }
    assert_eq!(ask(&mut hipache, b"sentinel.test").0, 200);
    let commands = monitor.until("sentinel.test");
    let asked = commands.iter().any(|command| {
        command.contains("frontend:") && !command.contains("sentinel") && !ends_common(command)
    });
    assert!(!asked, "{commands:#?}");
    assert_eq!(backend.count(), 2);
}

/// Keys that the sentinel's own lookup asks for besides its name.
fn ends_common(command: &str) -> bool {
    command.contains("frontend:*.test") || command.contains("frontend:*\"")
}

#[test]
fn two_host_lines_or_none_are_refused_unless_the_version_is_1_0() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("*", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    let cases = [
        (
            "GET /x HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
            400,
        ),
        ("GET /x HTTP/1.1\r\n\r\n", 400),
        ("GET /x HTTP/1.0\r\n\r\n", 400),
        ("GET /x HTTP/1.0\r\nHost: a.test\r\n\r\n", 200),
    ];
    for (request, status) in cases {
        let mut client = hipache.client();
        client.send(request);
        let response = client.response();
        assert_eq!(response.status, status, "{request:?}");
        let line = hipache.log().next();
        assert_eq!(
            (line.status, line.bytes),
            (status, response.raw_length),
            "{request:?}"
        );
    }
    assert_eq!(backend.count(), 1);
}

#[test]
fn a_frontend_without_backends_hides_the_wildcards_above_it() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("*", &[&backend.url()]);
    redis.route("a.test", &[]);
    let mut hipache = Hipache::on(&redis);
    let (response, line) = hipache.exchange("a.test", "/x");
    assert_eq!((response.status, line.vhost.as_str()), (502, "id-a.test"));
    assert!(
        line.backend.abs() < f64::EPSILON,
        "no backend was chosen: {line:?}"
    );
    assert_eq!(hipache.exchange("b.test", "/x").0.status, 200);
}

#[test]
fn a_change_in_redis_counts_for_the_very_next_request() {
    let redis = Redis::start();
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let mut hipache = Hipache::on(&redis);
    assert_eq!(hipache.exchange("a.test", "/0").0.status, 400);
    for round in 0..20 {
        redis.route("a.test", &[&one.url()]);
        assert_eq!(
            hipache.exchange("a.test", "/1").0.text(),
            "one",
            "round {round}"
        );
        redis.route("a.test", &[&two.url()]);
        assert_eq!(
            hipache.exchange("a.test", "/2").0.text(),
            "two",
            "round {round}"
        );
        redis.run(&["DEL", "frontend:a.test"]);
        assert_eq!(
            hipache.exchange("a.test", "/3").0.status,
            400,
            "round {round}"
        );
    }
}

#[test]
fn the_candidates_and_the_dead_set_are_read_in_one_transaction() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("*.test", &[&backend.url()]);
    let mut hipache = Hipache::on(&redis);
    hipache.exchange("warm.test", "/x");
    let mut monitor = redis.monitor();
    hipache.exchange("a.b.test", "/x");
    let commands = monitor.until("\"EXEC\"");
    let start = commands
        .iter()
        .position(|command| command.contains("\"MULTI\""))
        .unwrap();
    let block = commands[start..].join("\n").to_lowercase();
    let wanted = [
        "frontend:a.b.test",
        "frontend:*.b.test",
        "frontend:*.test",
        "frontend:*\"",
        "dead:a.b.test",
    ];
    for key in wanted {
        assert!(block.contains(key), "{key} in {block}");
    }
}

#[test]
fn a_backend_may_be_an_address_of_either_family_or_a_name_with_or_without_port() {
    let redis = Redis::start();
    let four = Backend::saying("four");
    let six = Backend::bind("[::1]:0", |conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix");
        crate::harness::Flow::Keep
    });
    let cases = [
        (four.url(), "four"),
        (format!("{}/", four.url()), "four"),
        (
            format!("HTTP://127.0.0.1:{}/path?query", four.port()),
            "four",
        ),
        (format!("http://user:pw@127.0.0.1:{}", four.port()), "four"),
        (format!("http://localhost:{}", four.port()), "four"),
        (format!(" http://127.0.0.1:{} ", four.port()), "four"),
        (format!("http://[::1]:{}", six.port()), "six"),
    ];
    let mut hipache = Hipache::on(&redis);
    for (url, body) in cases {
        redis.route("a.test", &[&url]);
        assert_eq!(hipache.exchange("a.test", "/x?y=1").0.text(), body, "{url}");
    }
    assert_eq!(
        four.last().target,
        "/x?y=1",
        "path and query of the backend do not count"
    );
}

#[test]
fn a_backend_that_is_no_url_is_a_502() {
    let redis = Redis::start();
    let mut hipache = Hipache::on(&redis);
    for entry in [
        "nonsense",
        "http://",
        "",
        "//127.0.0.1:80",
        "ftp://127.0.0.1",
        "http://:80",
    ] {
        redis.route("a.test", &[entry]);
        let (response, line) = hipache.exchange("a.test", "/x");
        assert_eq!(
            (response.status, line.vhost.as_str()),
            (502, "id-a.test"),
            "{entry:?}"
        );
    }
}

#[test]
fn a_name_that_does_not_resolve_hurts_its_own_host_only() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("good.test", &[&backend.url()]);
    redis.route("bad.test", &["http://no-such-host.invalid:80"]);
    let mut hipache = Hipache::on(&redis);
    let mut waiting: Vec<Client> = (0..8).map(|_| hipache.client()).collect();
    for client in &mut waiting {
        client.get("bad.test", "/bad");
    }
    let good = hipache.get("good.test", "/good");
    assert_eq!(good.text(), "here");
    for client in &mut waiting {
        assert_eq!(client.response().status, 502);
    }
    let lines = hipache.log().take_lines(9);
    assert_eq!(
        lines.iter().filter(|line| line.status == 502).count(),
        8,
        "{lines:#?}"
    );
}

#[test]
fn identifiers_are_free_text() {
    let redis = Redis::start();
    let backend = Backend::answering(|_| match ok("here") {
        Reply::Keep(bytes) => Reply::Keep(bytes),
        other => other,
    });
    redis.run(&[
        "RPUSH",
        "frontend:a.test",
        "two\r\nlines \"and\" quotes \\",
        &backend.url(),
    ]);
    let mut hipache = Hipache::on(&redis);
    let mut client = hipache.client();
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\nX-Debug: 1\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 200);
    let line = hipache.line_of("GET /x HTTP/1.1", &response);
    assert_eq!(line.vhost, r"two\x0D\x0Alines \x22and\x22 quotes \x5C");
}
