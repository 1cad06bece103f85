//! The files of an HTTPS listener: readable, PEM, and made for each other.

use std::path::Path;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::HttpsBind;
use super::check::Named;
use super::findings::Findings;

/// Adds an error for every file of this listener that could not be used.
pub(super) fn check_listener(bind: &HttpsBind, findings: &mut Findings) {
    let chain = check_certificates(&bind.cert, findings);
    for ca in &bind.ca {
        check_certificates(ca, findings);
    }
    let key = read_key(bind, findings);
    let (Some(chain), Some(key)) = (chain, key) else {
        return;
    };
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => {}
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let text = format_args!("not the key of the certificate {}", bind.cert.display());
            findings.error("https.key", Named(&bind.key, text));
        }
        Err(error) => findings.error("https.key", Named(&bind.key, error)),
    }
}

/// The certificates in the file, at least one, each of them sound.
fn check_certificates(
    path: &Path,
    findings: &mut Findings,
) -> Option<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let chain = match read() {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => {
            findings.error("https.cert", Named(path, "no PEM certificate inside"));
            return None;
        }
        Err(error) => {
            findings.error("https.cert", Named(path, told(error)));
            return None;
        }
    };
    for certificate in &chain {
        if let Err(error) = ParsedCertificate::try_from(certificate) {
            findings.error("https.cert", Named(path, error));
            return None;
        }
    }
    Some(chain)
}

/// The private key; `None` also when it is encrypted, which cannot be checked further.
fn read_key(bind: &HttpsBind, findings: &mut Findings) -> Option<PrivateKeyDer<'static>> {
    let text = match std::fs::read(&bind.key) {
        Ok(text) => text,
        Err(error) => {
            findings.error("https.key", Named(&bind.key, error));
            return None;
        }
    };
    if is_encrypted(&text) {
        if bind.passphrase.is_none() {
            findings.error(
                "https.passphrase",
                Named(&bind.key, "encrypted, a passphrase is needed"),
            );
        }
        return None;
    }
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| match error {
            PemError::NoItemsFound => {
                findings.error("https.key", Named(&bind.key, "no PEM private key inside"))
            }
            error => findings.error("https.key", Named(&bind.key, told(error))),
        })
        .ok()
}

/// What is wrong with a PEM file; the library's own text for two of them quotes the file's bytes.
fn told(error: PemError) -> String {
    match error {
        PemError::Io(error) => error.to_string(),
        PemError::MissingSectionEnd { .. } => "PEM without its END line".to_owned(),
        PemError::IllegalSectionStart { .. } => "PEM with a malformed BEGIN line".to_owned(),
        other => other.to_string(),
    }
}

/// The two PEM forms of encrypted keys: PKCS #8 (RFC 7468 §11), and the older of RFC 1421 §4.6.
fn is_encrypted(pem: &[u8]) -> bool {
    [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        "Proc-Type: 4,ENCRYPTED",
    ]
    .iter()
    .any(|mark| {
        pem.windows(mark.len())
            .any(|window| window == mark.as_bytes())
    })
}
