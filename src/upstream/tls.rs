//! TLS to backends: the system's authorities, one client configuration per worker.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::ConnectError;
use crate::vhost::BackendHost;

/// The client side of TLS, set up when the first backend asks for it.
#[derive(Default)]
pub(super) struct Tls {
    connector: OnceCell<Result<TlsConnector, Rc<str>>>,
}

impl Tls {
    /// Trusts these authorities in place of the system's.
    #[cfg(test)]
    pub(super) fn trusting(roots: RootCertStore) -> Self {
        Self {
            connector: OnceCell::new_with(Some(connector(roots))),
        }
    }

    /// Shakes hands, and checks that the certificate is for the host of the backend's URL.
    pub(super) async fn shake_hands(
        &self,
        tcp: TcpStream,
        host: &BackendHost,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let name = match host {
            BackendHost::Ip(ip) => ServerName::IpAddress((*ip).into()),
            BackendHost::Name(name) => ServerName::try_from(name.to_string())
                .map_err(|error| ConnectError::Tls(io::Error::other(error)))?,
        };
        match self.connector.get_or_init(load).await {
            Ok(connector) => connector
                .connect(name, tcp)
                .await
                .map_err(ConnectError::Tls),
            Err(why) => Err(ConnectError::TlsUnavailable(Rc::clone(why))),
        }
    }
}

/// Reads the system's authorities (or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`), a hundred files
/// or more, on another thread.
async fn load() -> Result<TlsConnector, Rc<str>> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|error| Rc::from(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    // Some stores hold certificates that are broken or too old; the others count.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "the system has no certificate authorities, expected at least one".to_owned(),
        };
        return Err(why.into());
    }
    connector(roots)
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, Rc<str>> {
    // The process may have no default provider, or that of another library.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Rc::from(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}
