//! TLS towards a collector: its authorities, and our own certificate if it wants one.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::config::Exporter;

/// The client side of TLS for this exporter. Reads files: not for a thread that serves.
///
/// # Errors
///
/// When a file cannot be read or does not hold what it should.
pub(super) fn connector(exporter: &Exporter) -> io::Result<TlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(exporter.certificate.as_deref())?);
    let mut config = match &exporter.client {
        None => builder.with_no_client_auth(),
        Some((key, certificate)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| of_file(key, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| of_file(certificate, &error))?
        }
    };
    let protocol: &[u8] = if exporter.is_grpc { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config).into())
}

fn roots(file: Option<&Path>) -> io::Result<RootCertStore> {
    let found = match file {
        Some(file) => certificates(file)?,
        // Some of the system's may be broken; the others count.
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found);
    if usable == 0 {
        return Err(io::Error::other("no certificate authority to trust"));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| of_file(file, &error))
}

fn of_file(file: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", file.display()))
}
