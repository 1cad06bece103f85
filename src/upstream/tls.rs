//! TLS to backends: the authorities that are trusted, one client configuration per worker and
//! protocol.

mod unverified;

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::unverified::Unverified;
use super::error::ConnectError;
use crate::config::BackendTls;
use crate::transport::Tcp;
use crate::vhost::{Backend, BackendHost};

/// HTTP/2, in the words of ALPN (RFC 9113 §3.3).
const H2: &[u8] = b"h2";

/// The client side of TLS, set up when the first backend asks for it.
#[derive(Default)]
pub(super) struct Tls {
    settings: BackendTls,
    connectors: OnceCell<Result<Connectors, Rc<str>>>,
}

/// One for each protocol that a backend's URL may ask for.
struct Connectors {
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Tls {
    /// Trusts whom the configuration names.
    pub(super) fn new(settings: BackendTls) -> Self {
        Self {
            settings,
            connectors: OnceCell::new(),
        }
    }

    /// Trusts these authorities in place of the system's.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self {
            settings: BackendTls::default(),
            connectors: OnceCell::new_with(Some(connectors(Some(roots)))),
        }
    }

    /// Shakes hands, and checks that the certificate is for the host of the backend's URL, and the
    /// protocol that of its scheme.
    pub(super) async fn shake_hands(
        &self,
        tcp: TcpStream,
        backend: &Backend,
    ) -> Result<TlsStream<Tcp>, ConnectError> {
        let name = match &backend.host {
            BackendHost::Ip(ip) => ServerName::IpAddress((*ip).into()),
            BackendHost::Name(name) => ServerName::try_from(name.to_string())
                .map_err(|error| ConnectError::Tls(io::Error::other(error)))?,
        };
        let loaded = self.connectors.get_or_init(|| load(&self.settings)).await;
        let connectors = match loaded {
            Ok(connectors) => connectors,
            Err(why) => return Err(ConnectError::TlsUnavailable(Rc::clone(why))),
        };
        if !backend.scheme.is_http2() {
            let hands = connectors.http1.connect(name, tcp.into()).await;
            return hands.map_err(ConnectError::Tls);
        }
        let hands = connectors.http2.connect(name, tcp.into()).await;
        let stream = hands.map_err(ConnectError::Tls)?;
        match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Ok(stream),
            _ => Err(ConnectError::NotHttp2(None)),
        }
    }
}

/// Reads the authorities on another thread: those of the system (or of `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`) are a hundred files or more.
async fn load(settings: &BackendTls) -> Result<Connectors, Rc<str>> {
    if !settings.is_verified {
        return connectors(None);
    }
    let ca = settings.ca.clone();
    let read = tokio::task::spawn_blocking(move || read_roots(&ca));
    let roots = read.await.map_err(|error| Rc::from(error.to_string()))?;
    connectors(Some(roots?))
}

/// The authorities of the system, and those of these files.
fn read_roots(ca: &[PathBuf]) -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some stores hold certificates that are broken or too old; the others count.
    let (mut usable, _) = roots.add_parsable_certificates(found.certs);
    for path in ca {
        usable += add_file(&mut roots, path).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    if usable > 0 {
        return Ok(roots);
    }
    Err(match found.errors.first() {
        Some(error) => error.to_string(),
        None => "the system has no certificate authorities, expected at least one".to_owned(),
    })
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<usize, String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let text = std::fs::read(path).map_err(|error| told(&error))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| told(&error))?;
        roots.add(certificate).map_err(|error| told(&error))?;
        count += 1;
    }
    Ok(count)
}

/// Both, with these authorities; without any, no certificate is verified.
fn connectors(roots: Option<RootCertStore>) -> Result<Connectors, Rc<str>> {
    // The process may have no default provider, or that of another library.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Rc::from(error.to_string()))?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified::new(&provider))),
    };
    let mut http1 = builder.with_no_client_auth();
    let mut http2 = http1.clone();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    http2.alpn_protocols = vec![H2.to_vec()];
    Ok(Connectors {
        http1: Arc::new(http1).into(),
        http2: Arc::new(http2).into(),
    })
}
