//! TLS to backends, with an authority of the test's own. The backend runs in a thread.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn trusting(authority: &Authority) -> Setup {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    Setup {
        tls: Tls::trusting(roots),
        ..Setup::default()
    }
}

/// What a server saw of a connection: the name asked for and the protocol agreed on.
type Seen = (Option<String>, Option<Vec<u8>>);

/// Serves requests on one connection until it is closed; nothing if the handshake fails.
fn serve(listener: TcpListener, authority: &Authority, name: &str) -> JoinHandle<Option<Seen>> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(session, tcp);
        let mut head = Vec::new();
        let mut byte = [0];
        while let Ok(1) = stream.read(&mut byte) {
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                stream.write_all(OK).unwrap();
                head.clear();
            }
        }
        let name = stream.conn.server_name().map(str::to_owned);
        let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        (!stream.conn.is_handshaking()).then_some((name, protocol))
    })
}

fn https(name: &str, port: u16) -> Rc<Backend> {
    let host = match name.parse::<IpAddr>() {
        Ok(ip) => BackendHost::Ip(ip),
        Err(_) => BackendHost::Name(name.into()),
    };
    Rc::new(Backend {
        scheme: Scheme::Https,
        host,
        port,
        url: format!("https://{name}:{port}/").into(),
    })
}

async fn status(upstream: &mut Alone<TestBody>) -> StatusCode {
    let response = head(upstream, TestBody::Empty, || ()).await;
    body(upstream).await;
    response.status()
}

#[test]
fn tls_backends_are_verified_by_name_or_address_and_kept() {
    run(async {
        for name in ["localhost", "127.0.0.1"] {
            let authority = authority();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let backend = https(name, listener.local_addr().unwrap().port());
            let server = serve(listener, &authority, name);
            let upstreams = trusting(&authority).start();
            for (want, is_reused) in [(Want::Any, false), (Want::Alive, true), (Want::Any, true)] {
                let notes = ConnectNotes::default();
                let mut upstream = upstreams
                    .acquire_alone(&backend, want, &notes, Instant::now())
                    .await
                    .unwrap();
                assert_eq!(notes.is_reused.get(), is_reused, "{name} {want:?}");
                assert_eq!(notes.handshaken.get().is_some(), !is_reused);
                assert_eq!(status(&mut upstream).await, StatusCode::OK);
                upstream.release(Instant::now());
                turn().await;
            }
            drop(upstreams);
            let (asked, protocol) = server.join().unwrap().expect("the handshake was done");
            // RFC 6066 §3: an address is no server name.
            assert_eq!(asked.is_some(), name == "localhost");
            assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
        }
    });
}

#[test]
fn a_wrong_authority_or_a_wrong_name_is_a_tls_error() {
    run(async {
        let (ours, other) = (authority(), authority());
        for (case, signer, name) in [
            ("signed by a stranger", &other, "localhost"),
            ("for another name", &ours, "other.test"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let backend = https("localhost", listener.local_addr().unwrap().port());
            let server = serve(listener, signer, name);
            let (upstreams, notes) = (trusting(&ours).start(), ConnectNotes::default());
            let error = upstreams
                .acquire_alone(&backend, Want::Any, &notes, Instant::now())
                .await
                .unwrap_err();
            assert!(matches!(error, ConnectError::Tls(_)), "{case}: {error}");
            assert!(std::error::Error::source(&error).is_some());
            assert!(notes.connected.get().is_some() && notes.handshaken.get().is_some());
            assert!(server.join().unwrap().is_none());
        }
    });
}

#[test]
fn a_silent_handshake_ends_with_the_connect_limit() {
    run(async {
        let server = Server::bind();
        let upstreams = Setup {
            limit: Duration::from_millis(50),
            ..trusting(&authority())
        }
        .start();
        let notes = ConnectNotes::default();
        let error = upstreams
            .acquire_alone(
                &https("127.0.0.1", server.address().port()),
                Want::Any,
                &notes,
                Instant::now(),
            )
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut), "{error}");
    });
}
