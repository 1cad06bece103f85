//! Clients that do TLS oddly, or not at all where it is expected: each meets a clear end that is counted,
//! and nobody else notices.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use http::Request;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{
    Authority, Backend, Client, Directory, Ended, Hipache, Redis, SOON, block_on, connect,
    eventually,
};
use crate::https::{client, get, keep, listener, secure};

/// A proxy whose own certificate is of one authority, and that of `a.test` of another.
struct Scene {
    _redis: Redis,
    _backend: Backend,
    files: Directory,
    default: Authority,
    own: Authority,
    hipache: Hipache,
}

impl Scene {
    fn start(https: &Value, keys: &Value) -> Self {
        let (redis, backend) = (Redis::start(), Backend::saying("here"));
        let (files, default, own) = (Directory::fresh(), Authority::new(), Authority::new());
        redis.route("*", &[&backend.url()]);
        keep(&redis, "a.test", &own.issue(&["a.test", "b.test"]));
        keep(&redis, "b.test", &own.issue(&["a.test", "b.test"]));
        files.write("default.pem", default.pem());
        files.write("own.pem", own.pem());
        let shown = default.issue(&["default.test"]);
        let hipache = Hipache::builder()
            .redis(&redis)
            .set(&listener(&files, &shown, https))
            .set(&json!({ "admin": { "bind": "127.0.0.1", "port": 0 } }))
            .set(keys)
            .start();
        Self {
            _redis: redis,
            _backend: backend,
            files,
            default,
            own,
            hipache,
        }
    }

    fn address(&self) -> SocketAddr {
        secure(&self.hipache)
    }

    /// Waits until so many handshakes have failed for this reason, and no other has failed.
    #[track_caller]
    fn expect_failures(&self, reason: &str, count: f64) {
        const FAILED: &str = "hipache_tls_handshakes_failed_total";
        eventually(&format!("{count} failures by {reason}"), SOON, || {
            let scrape = self.hipache.scrape();
            let found = scrape.sum(FAILED, &[("error_type", reason)]);
            (found == count).then(|| assert_eq!(scrape.sum(FAILED, &[]), count, "{reason}"))
        });
    }

    /// Others are served as ever.
    #[track_caller]
    fn expect_service(&self) {
        let config = client(&self.own, rustls::ALL_VERSIONS);
        let (response, _) = get(self.address(), &config, "a.test", "/served").unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }

    /// What `openssl s_client` says that trusts one authority, and is told to send this.
    fn s_client(&self, trusted: &str, arguments: &[&str], input: &str) -> String {
        let address = self.address().to_string();
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address]);
        let store: &Path = &self.files.join(trusted);
        command.arg("-CAfile").arg(store).args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is there: scripts/setup brings it");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

#[test]
fn http_on_the_port_of_https_is_told_so() {
    let mut scene = Scene::start(&json!({}), &json!({ "http": { "h2c": true } }));
    let mut client = Client::connect(scene.address());
    client.get("a.test", "/plain");
    let answer = client.response();
    assert_eq!(answer.status, 400);
    assert_ne!(client.end(SOON), Ended::Silent);
    scene.hipache.line_of("GET /plain HTTP/1.1", &answer);
    scene.expect_failures("not_tls", 1.0);
    let status = block_on(async {
        let mut requests = crate::harness::speak(scene.address()).await;
        let request = Request::get("http://a.test/plain2").body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        response.await.unwrap().status()
    });
    assert_eq!(status, 400);
    scene.expect_failures("not_tls", 2.0);
    // What is neither is not answered in HTTP.
    let mut tcp = connect(scene.address());
    tcp.write_all(b"\0\0\0\x0bneither of them").unwrap();
    let mut got = Vec::new();
    let _ = tcp.read_to_end(&mut got);
    assert!(!got.starts_with(b"HTTP"), "{got:?}");
    scene.expect_failures("not_tls", 3.0);
    scene.expect_service();
}

#[test]
fn tls_on_the_port_of_http_is_a_bad_request() {
    let mut scene = Scene::start(&json!({}), &json!({}));
    let config = client(&scene.own, rustls::ALL_VERSIONS);
    let address = scene.hipache.address();
    get(address, &config, "a.test", "/").unwrap_err();
    let line = scene.hipache.log().next();
    assert_eq!((line.request.as_str(), line.status), ("-", 400));
    scene.expect_failures("not_tls", 0.0);
}

#[test]
fn a_handshake_that_stalls_is_over_in_time() {
    let scene = Scene::start(
        &json!({}),
        &json!({ "server": { "requestHeadTimeout": 0.5 } }),
    );
    // The beginning of a ClientHello, and nothing at all.
    for (count, bytes) in [(1.0, &b"\x16\x03\x01\x02\x00\x01"[..]), (2.0, b"")] {
        let mut tcp = connect(scene.address());
        tcp.write_all(bytes).unwrap();
        let mut got = Vec::new();
        let _ = tcp.read_to_end(&mut got);
        scene.expect_failures("timeout", count);
    }
    // One that leaves in between is not slow.
    let tcp = connect(scene.address());
    (&tcp).write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    tcp.shutdown(Shutdown::Both).unwrap();
    eventually("the one that left", SOON, || {
        let labels = [("error_type", "client_gone")];
        let scrape = scene.hipache.scrape();
        let count = scrape.sum("hipache_tls_handshakes_failed_total", &labels);
        (count == 1.0).then_some(())
    });
    scene.expect_service();
}

#[test]
fn nobody_renegotiates() {
    let scene = Scene::start(&json!({}), &json!({}));
    // `R` at the beginning of a line asks s_client to renegotiate.
    let arguments = ["-tls1_2", "-servername", "a.test"];
    let mut child_said = scene.s_client("own.pem", &arguments, "R\n");
    assert!(child_said.contains("RENEGOTIATING"), "{child_said}");
    child_said.make_ascii_lowercase();
    assert!(child_said.contains("no renegotiation"), "{child_said}");
    scene.expect_service();
}

#[test]
fn nobody_is_allowed_early_data() {
    let scene = Scene::start(&json!({}), &json!({}));
    let mut config = ClientConfig::clone(&client(&scene.own, &[&rustls::version::TLS13]));
    config.enable_early_data = true;
    let config = Arc::new(config);
    for is_resumed in [false, true] {
        let name = ServerName::try_from("a.test").unwrap();
        let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
        assert!(session.early_data().is_none(), "resumed: {is_resumed}");
        let mut stream = StreamOwned::new(session, connect(scene.address()));
        stream.write_all(REQUEST.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.ends_with("here"), "{response}");
        let kind = stream.conn.handshake_kind().unwrap();
        assert_eq!(kind == rustls::HandshakeKind::Resumed, is_resumed);
    }
}

#[test]
fn a_client_of_another_protocol_is_told_that_there_is_none() {
    let scene = Scene::start(&json!({}), &json!({}));
    let mut config = ClientConfig::clone(&client(&scene.own, rustls::ALL_VERSIONS));
    config.alpn_protocols = vec![b"imap".to_vec()];
    let refused = get(scene.address(), &Arc::new(config), "a.test", "/").unwrap_err();
    // RFC 7301 §3.2.
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    scene.expect_failures("protocol_error", 1.0);
    scene.expect_service();
}

#[test]
fn names_are_understood_however_they_are_written() {
    let mut scene = Scene::start(&json!({}), &json!({}));
    let cases: [(&[&str], &str); 6] = [
        (&["-servername", "a.test"], "own.pem"),
        (&["-servername", "A.TEST"], "own.pem"),
        (&["-servername", "a.test."], "own.pem"),
        (&["-servername", "other.test"], "default.pem"),
        (&["-noservername"], "default.pem"),
        // RFC 6066 §3: an address is no name.
        (&["-servername", "127.0.0.1"], "default.pem"),
    ];
    for (arguments, trusted) in cases {
        for version in ["-tls1_2", "-tls1_3"] {
            let arguments = [arguments, &[version, "-verify_return_error"]].concat();
            let said = scene.s_client(trusted, &arguments, REQUEST);
            assert!(said.contains("\r\n\r\nhere"), "{arguments:?}: {said}");
            assert_eq!(scene.hipache.log().next().status, 200);
        }
    }
    // Longer than a name of DNS may be: malformed, which is the client's mistake alone.
    let long = format!(
        "{}a.test",
        "x".repeat(63).repeat(4).replace("xxxxxxx", "xxxxxx.")
    );
    let arguments = ["-servername", &long[..255]];
    let said = scene.s_client("default.pem", &arguments, REQUEST);
    assert!(!said.contains("here"), "{said}");
    scene.expect_failures("protocol_error", 1.0);
    scene.expect_service();
}

/// One connection of HTTP/2 that was opened for `a.test`, and the statuses of requests for these hosts.
fn statuses(scene: &Scene, trusted: &Authority, hosts: &[&'static str]) -> Vec<u16> {
    let mut config = ClientConfig::clone(&client(trusted, rustls::ALL_VERSIONS));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = scene.address();
    block_on(async {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let tls = connector.connect(name, tcp).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        let mut statuses = Vec::new();
        for host in hosts {
            let request = Request::get(format!("https://{host}/")).body(()).unwrap();
            let (response, _) = requests.send_request(request, true).unwrap();
            statuses.push(response.await.unwrap().status().as_u16());
        }
        statuses
    })
}

#[test]
fn a_request_for_another_host_is_served_unless_names_are_strict() {
    let hosts = ["a.test", "b.test", "A.test:443", "other.test", "a.test"];
    let lenient = Scene::start(&json!({}), &json!({}));
    assert_eq!(statuses(&lenient, &lenient.own, &hosts), [200; 5]);
    let mut strict = Scene::start(&json!({ "strictSni": true }), &json!({}));
    // The connection goes on: those that it is for are served.
    let found = statuses(&strict, &strict.own, &hosts);
    assert_eq!(found, [200, 421, 200, 421, 200]);
    let lines = strict.hipache.log().take_lines(5);
    assert_eq!(lines[1].status, 421);
    // Over HTTP/1.1 as well.
    let name = ServerName::try_from("a.test").unwrap();
    let config = client(&strict.own, rustls::ALL_VERSIONS);
    let session = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(strict.address()).unwrap());
    stream
        .write_all(REQUEST.replace("a.test", "b.test").as_bytes())
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 421 "), "{response}");
    let refused = get(
        strict.address(),
        &client(&strict.default, rustls::ALL_VERSIONS),
        "x.test",
        "/",
    );
    refused.unwrap_err();
    strict.expect_failures("unknown_name", 1.0);
}
