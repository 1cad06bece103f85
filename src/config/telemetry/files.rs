//! The certificate files towards a collector: there, and what they should be.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::check::Named;
use super::super::findings::Findings;
use super::Exporter;

/// Adds an error for every file that could not be used.
pub(in super::super) fn check_files(exporter: &Exporter, findings: &mut Findings) {
    let key = |name| exporter.signal.key(name);
    if let Some(file) = &exporter.certificate {
        check_chain(&key("certificate"), file, findings);
    }
    if let Some((private, chain)) = &exporter.client {
        check_chain(&key("clientCertificate"), chain, findings);
        if PrivateKeyDer::from_pem_file(private).is_err() {
            findings.error(
                key("clientKey"),
                Named(private, "no PEM private key to read"),
            );
        }
    }
}

fn check_chain(at: &str, file: &Path, findings: &mut Findings) {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    if !read.is_ok_and(|chain| !chain.is_empty()) {
        findings.error(at, Named(file, "no PEM certificate to read"));
    }
}
