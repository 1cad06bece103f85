//! gRPC through the proxy, by its real client and server (`grpcio`; `scripts/setup` brings it).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use crate::harness::{
    Authority, Collector, Directory, Hipache, Redis, Refused, SOON, attribute, eventually,
};
use crate::https::secure;
use crate::tunnels::Tls;

fn python(script: &str) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let interpreter = target.join("tools/bin/python3");
    assert!(
        interpreter.exists(),
        "no {}: scripts/setup makes it",
        interpreter.display()
    );
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/system/grpc")
        .join(script);
    let mut command = Command::new(interpreter);
    command.arg(script);
    command
}

/// The server, ended on drop.
struct Server {
    child: Child,
    port: String,
    lines: Receiver<String>,
}

impl Server {
    fn start(arguments: &[&Path]) -> Self {
        let mut child = python("server.py")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let port = lines.recv_timeout(SOON).expect("the server says its port");
        Self { child, port, lines }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The next call that ended.
    fn next(&self) -> String {
        self.lines.recv_timeout(SOON).expect("a call ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn scene(redis: &Redis, collector: &Collector, keys: &Value) -> Hipache {
    let base = json!({
        "http": { "h2c": true },
        "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 }
    });
    Hipache::builder().redis(redis).set(&base).set(keys).start()
}

/// Makes these calls through the proxy; what the client printed.
#[track_caller]
fn call(hipache: &Hipache, host: &str, calls: &[&str]) -> Vec<String> {
    let port = hipache.address().port().to_string();
    run_client(&[&port, host], calls)
}

/// The same over TLS, by an authority that the client trusts.
#[track_caller]
fn call_securely(hipache: &Hipache, authority: &Path, host: &str, calls: &[&str]) {
    let port = secure(hipache).port().to_string();
    let authority = authority.to_str().unwrap();
    run_client(&["--tls", authority, &port, host], calls);
}

#[track_caller]
fn run_client(where_to: &[&str], calls: &[&str]) -> Vec<String> {
    let output = python("client.py")
        .args(where_to)
        .args(calls)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{calls:?}: {printed}{told}");
    printed.lines().map(str::to_owned).collect()
}

#[test]
fn all_kinds_of_calls_pass() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let server = Server::start(&[]);
    redis.route("a.test", &[&server.url("h2c")]);
    let mut hipache = scene(&redis, &collector, &json!({}));
    call(
        &hipache,
        "a.test",
        &["unary", "down", "up", "both", "fail", "many"],
    );
    let line = hipache.log().next();
    assert_eq!(
        (line.request.as_str(), line.status),
        ("POST /test.Test/Unary HTTP/2.0", 200)
    );
    let spans = collector.trace_of("/test.Test/Both");
    let attempt = &spans[spans.len() - 1];
    assert_eq!(
        attribute(attempt, "network.protocol.version").as_deref(),
        Some("2")
    );
    assert_eq!(attribute(&spans[0], "error.type"), None);
}

#[test]
fn large_messages_pass() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let server = Server::start(&[]);
    redis.route("a.test", &[&server.url("h2c")]);
    let mut hipache = scene(&redis, &collector, &json!({}));
    call(&hipache, "a.test", &["large"]);
    let line = hipache.log().next();
    assert!(line.bytes > 40 << 20, "{line:?}");
}

#[test]
fn calls_pass_over_tls_to_the_backend() {
    let directory = Directory::fresh();
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let chain = directory.write("a.crt", identity.certificate());
    let key = directory.write("a.key", identity.key());
    let server = Server::start(&[Path::new("--tls"), &chain, &key]);
    let (redis, collector) = (Redis::start(), Collector::start());
    redis.route("a.test", &[&server.url("h2")]);
    let ca = directory.write("ca.pem", authority.pem());
    let hipache = scene(
        &redis,
        &collector,
        &json!({ "server": { "backendCa": ca } }),
    );
    call(&hipache, "a.test", &["unary", "both", "fail"]);
}

#[test]
fn every_call_passes_over_tls_to_backends_with_tls_and_without() {
    let tls = Tls::new();
    let identity = tls.authority.issue(&["127.0.0.1"]);
    let files = Directory::fresh();
    let chain = files.write("a.crt", identity.certificate());
    let key = files.write("a.key", identity.key());
    let authority = files.write("ca.pem", tls.authority.pem());
    let plain = Server::start(&[]);
    let secured = Server::start(&[Path::new("--tls"), &chain, &key]);
    for (server, scheme) in [(&plain, "h2c"), (&secured, "h2")] {
        let (redis, collector) = (Redis::start(), Collector::start());
        let keys = json!({ "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 } });
        let mut hipache = tls.start(&redis, &server.url(scheme), &keys);
        let kinds = ["unary", "down", "up", "both", "fail", "many", "large"];
        call_securely(&hipache, &authority, "a.test", &kinds);
        let line = hipache.log().next();
        assert_eq!(line.request, "POST /test.Test/Unary HTTP/2.0", "{scheme}");
        for kind in ["deadline", "cancel"] {
            call_securely(&hipache, &authority, "a.test", &[kind]);
            while server.next() != "wait over" {}
        }
        let end = |span: &Span| attribute(span, "hipache.end");
        let roots = eventually("the spans of both", SOON, || {
            let is_root = |span: &Span| end(span).is_some();
            let path = |span: &Span| attribute(span, "url.path");
            let mut roots = collector.spans();
            roots.retain(|span| is_root(span) && path(span).as_deref() == Some("/test.Test/Wait"));
            (roots.len() == 2).then_some(roots)
        });
        for root in &roots {
            let told = ["tls.protocol.version", "tls.client.server_name"];
            let told = told.map(|key| attribute(root, key).unwrap_or_default());
            assert_eq!(told, ["1.3", "a.test"], "{scheme}");
        }
        // The server was told the same deadline (`grpc-timeout`), and may be the first to end the call.
        let mut ends: Vec<_> = roots.iter().map(end).collect();
        ends.sort();
        assert_eq!(ends[0].as_deref(), Some("client_gone"), "{scheme}");
        assert!(
            matches!(ends[1].as_deref(), Some("client_gone" | "ok")),
            "{scheme}"
        );
    }
}

#[test]
fn deadlines_and_cancellations_reach_the_server_at_once() {
    for name in ["deadline", "cancel"] {
        let (redis, collector) = (Redis::start(), Collector::start());
        let server = Server::start(&[]);
        redis.route("a.test", &[&server.url("h2c")]);
        let mut hipache = scene(&redis, &collector, &json!({}));
        call(&hipache, "a.test", &[name]);
        assert_eq!(server.next(), "wait over", "{name}");
        assert_eq!(hipache.log().next().target(), "/test.Test/Wait", "{name}");
    }
}

#[test]
fn a_silent_stream_lives_as_long_as_the_limit_of_bodies_says() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let server = Server::start(&[]);
    redis.route("a.test", &[&server.url("h2c")]);
    let others = json!({ "server": { "tcpTimeout": 1, "idleBodyTimeout": 0 } });
    let patient = scene(&redis, &collector, &others);
    call(&patient, "a.test", &["pause"]);
    let mut strict = scene(
        &redis,
        &collector,
        &json!({ "server": { "idleBodyTimeout": 1 } }),
    );
    let printed = call(&strict, "a.test", &["silent"]);
    assert_eq!(printed[0], "INTERNAL");
    assert!((1.0..10.0).contains(&strict.log().next().total));
}

#[test]
fn what_the_proxy_refuses_it_says_in_terms_of_grpc() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let refused = Refused::new();
    redis.route("a.test", &[&refused.url().replace("http:", "h2c:")]);
    let mut hipache = scene(
        &redis,
        &collector,
        &json!({ "server": { "retryOnError": 0 } }),
    );
    let cases = [
        ("a.test", "UNAVAILABLE", "connection_refused"),
        ("nobody.test", "UNIMPLEMENTED", "no_such_host"),
    ];
    for (host, code, end) in cases {
        let printed = call(&hipache, host, &["refused"]);
        assert!(printed[0].starts_with(code), "{host}: {printed:?}");
        let line = hipache.log().next();
        assert_eq!(line.status, 200, "{line:?}");
        let spans = collector.spans();
        let ends = |spans: &[_]| {
            spans
                .iter()
                .filter_map(|span| attribute(span, "error.type"))
                .collect::<Vec<_>>()
        };
        let found = crate::harness::eventually("its span", SOON, || {
            let ends = ends(&collector.spans());
            ends.contains(&end.to_owned()).then_some(ends)
        });
        assert!(!found.is_empty(), "{spans:?}");
    }
}
