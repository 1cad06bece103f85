//! HTTPS: certificates by name from files, a directory and Redis, changed between two handshakes;
//! HTTP/2 by ALPN; told in line, span and to the backend.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{
    Authority, Backend, Collector, Directory, Hipache, Identity, Redis, attribute, block_on,
};

/// A client that trusts this authority, with a memory for sessions.
pub(crate) fn client(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(der).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// One request on a connection of its own: the response's text, and how the handshake went.
pub(crate) fn get(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
    target: &str,
) -> Result<(String, HandshakeKind), String> {
    let told = |error: std::io::Error| error.to_string();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::clone(config), server).unwrap();
    let tcp = TcpStream::connect(address).map_err(told)?;
    tcp.set_read_timeout(Some(crate::harness::SOON)).unwrap();
    let mut stream = StreamOwned::new(session, tcp);
    let request = format!("GET {target} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut response = String::new();
    stream.read_to_string(&mut response).map_err(told)?;
    let kind = stream.conn.handshake_kind().unwrap();
    Ok((response, kind))
}

pub(crate) fn keep(redis: &Redis, host: &str, identity: &Identity) {
    let key = format!("tls:{host}");
    let fields = ["certificate", identity.certificate(), "key", identity.key()];
    redis.run(&[&["HSET", &key][..], &fields].concat());
}

/// The keys for a listener with this certificate; its plain one stands at another address.
pub(crate) fn listener(files: &Directory, identity: &Identity, more: &Value) -> Value {
    files.write("default.crt", identity.certificate());
    files.write("default.key", identity.key());
    let mut https = json!({
        "bind": "[::1]", "port": 0,
        "cert": files.join("default.crt"), "key": files.join("default.key"),
    });
    for (key, value) in more.as_object().unwrap() {
        https[key] = value.clone();
    }
    json!({ "https": https })
}

/// The address of the HTTPS listener.
pub(crate) fn secure(hipache: &Hipache) -> SocketAddr {
    let mut addresses = hipache.addresses().iter();
    *addresses.find(|address| address.is_ipv6()).unwrap()
}

const TELLING: &str =
    "$scheme $ssl_protocol $ssl_server_name $ssl_session_reused $uri $hipache_end";

#[test]
fn each_name_is_shown_its_own_certificate_and_a_changed_one_at_the_next_handshake() {
    let (redis, backend, collector) = (Redis::start(), Backend::saying("here"), Collector::start());
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    keep(&redis, "a.test", &authority.issue(&["a.test"]));
    keep(&redis, "*.wild.test", &authority.issue(&["*.wild.test"]));
    let shown = authority.issue(&["dir.test"]);
    files.write("dir.test.crt", shown.certificate());
    files.write("dir.test.key", shown.key());
    let keys = listener(
        &files,
        &authority.issue(&["default.test"]),
        &json!({ "certificates": files.path() }),
    );
    let starter = Hipache::builder().redis(&redis).set(&keys);
    let log = starter.directory().join("told.log");
    let more = json!({
        "server": { "accessLog": { "target": &log, "format": TELLING } },
        "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 },
    });
    let mut hipache = starter.set(&more).start();
    let address = secure(&hipache);
    let both = [&rustls::version::TLS12, &rustls::version::TLS13];
    for (version, told) in both.into_iter().zip(["TLSv1.2", "TLSv1.3"]) {
        let config = client(&authority, &[version]);
        for name in ["a.test", "x.wild.test", "dir.test", "default.test"] {
            let (response, _) = get(address, &config, name, &format!("/{told}")).expect(name);
            assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
            assert_eq!(backend.last().field("x-forwarded-proto"), Some("https"));
        }
        // The default certificate is not for this name.
        let refused = get(address, &config, "other.test", "/").unwrap_err();
        assert!(refused.contains("not valid for name"), "{refused}");
    }
    let root = collector.trace_of("/TLSv1.3").remove(0);
    let wanted = [
        ("url.scheme", "https"),
        ("tls.protocol.version", "1.3"),
        ("tls.resumed", "false"),
    ];
    for (key, value) in wanted {
        assert_eq!(attribute(&root, key).as_deref(), Some(value), "{key}");
    }
    // Other authorities, from now on.
    let next = Authority::new();
    keep(&redis, "a.test", &next.issue(&["a.test"]));
    let shown = next.issue(&["dir.test"]);
    files.write("dir.test.crt", shown.certificate());
    files.write("dir.test.key", shown.key());
    let config = client(&next, &[&rustls::version::TLS13]);
    for name in ["a.test", "dir.test"] {
        get(address, &config, name, "/changed").expect(name);
    }
    hipache.stop();
    let lines = std::fs::read_to_string(&log).unwrap();
    for line in [
        "https TLSv1.2 a.test . /TLSv1.2 ok",
        "https TLSv1.3 x.wild.test . /TLSv1.3 ok",
        "https TLSv1.3 dir.test . /changed ok",
    ] {
        assert!(lines.lines().any(|one| one == line), "{line}:\n{lines}");
    }
}

#[test]
fn a_bad_certificate_hurts_its_own_name_alone_and_is_told_once() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    keep(&redis, "good.test", &authority.issue(&["good.test"]));
    let mine = authority.issue(&["bad.test"]);
    let other = authority.issue(&["bad.test"]);
    redis.run(&[
        "HSET",
        "tls:bad.test",
        "certificate",
        mine.certificate(),
        "key",
        other.key(),
    ]);
    let keys = listener(
        &files,
        &authority.issue(&["default.test"]),
        &json!({ "strictSni": true }),
    );
    let hipache = Hipache::with(&redis, &keys);
    let address = secure(&hipache);
    let config = client(&authority, &[&rustls::version::TLS13]);
    for _ in 0..3 {
        get(address, &config, "good.test", "/").unwrap();
        get(address, &config, "bad.test", "/").unwrap_err();
        get(address, &config, "none.test", "/").unwrap_err();
    }
    hipache.wait_for_stderr("using the certificate of bad.test", 1);
    assert_eq!(
        hipache.count_stderr("the private key is not that of the certificate"),
        1
    );
    assert_eq!(hipache.count_stderr("PRIVATE KEY"), 0);
}

#[test]
fn http2_is_agreed_on_by_alpn() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("a.test", &[&backend.url()]);
    let keys = listener(&files, &authority.issue(&["a.test"]), &json!({}));
    let mut hipache = Hipache::with(&redis, &keys);
    let mut config = ClientConfig::clone(&client(&authority, &[&rustls::version::TLS13]));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = secure(&hipache);
    block_on(async {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("a.test").unwrap();
        let tls = connector.connect(name, tcp).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut requests, connection) = h2::client::handshake(tls).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("https://a.test/h2").body(()).unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 200);
    });
    let line = hipache.log().next();
    assert_eq!(line.request, "GET /h2 HTTP/2.0");
    assert_eq!(backend.last().field("x-forwarded-proto"), Some("https"));
}
