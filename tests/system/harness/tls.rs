//! A certificate authority of the test's own, and backends that speak TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::wire::Stream;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate and key.
pub(crate) struct Identity {
    config: Arc<rustls::ServerConfig>,
    certificate: String,
    key: String,
}

impl Authority {
    /// Makes one. Its name is its own: who looks for an issuer looks by its name, and OpenSSL takes
    /// a certificate whose issuer has its own name for one that signed itself.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let name = format!("authority {number} of a test");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Its certificate, for those who are to trust it.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.sign(names, &KeyPair::generate().unwrap(), |_| {})
    }

    /// The same with an RSA key; slow.
    pub(crate) fn issue_rsa(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        self.sign(names, &key, |_| {})
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Identity {
        self.sign(names, &KeyPair::generate().unwrap(), |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    fn sign(
        &self,
        names: &[&str],
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], der.into())
            .unwrap();
        Identity {
            config: Arc::new(config),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// The server's side of the handshake; `None` when it failed.
    pub(crate) fn accept(&self, tcp: TcpStream) -> Option<Box<dyn Stream>> {
        Some(Box::new(Secured(self.shake_hands(tcp)?)))
    }

    /// The same for who ends the session himself.
    pub(crate) fn shake_hands(&self, mut tcp: TcpStream) -> Option<Session> {
        let mut session = rustls::ServerConnection::new(Arc::clone(&self.config)).ok()?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp).ok()?;
        }
        Some(rustls::StreamOwned::new(session, tcp))
    }

    /// The same for servers that agree on this protocol.
    pub(crate) fn with_alpn(&self, protocol: &[u8]) -> Arc<rustls::ServerConfig> {
        let mut config = rustls::ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    }

    /// The certificate.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

/// A server's end of TLS over TCP.
pub(crate) type Session = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

struct Secured(Session);

impl Read for Secured {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A client that trusts the authority is served, and the handshake fails for one that does not.
#[test]
fn tls_of_the_harness_is_spoken_and_checked() {
    let authority = Authority::new();
    let backend = super::Backend::tls(authority.issue(&["localhost"]), |_| super::ok("secret"));
    let ask = |trusted: &Authority| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(("127.0.0.1", backend.port())).unwrap();
        let mut stream = rustls::StreamOwned::new(session, tcp);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut scratch = [0; 512];
        let count = stream.read(&mut scratch)?;
        std::io::Result::Ok(super::text(&scratch[..count]))
    };
    assert!(ask(&authority).unwrap().ends_with("secret"));
    assert!(ask(&Authority::new()).is_err());
}
