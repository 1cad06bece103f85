//! The files of an HTTPS listener: readable, PEM, made for each other, and valid today.

use std::path::Path;
use std::time::SystemTime;

use super::check::Named;
use super::findings::Findings;
use super::{HttpsBind, Pair};
use crate::credentials::{Credentials, CredentialsError, certificates};

/// Adds an error for every file of this listener that could not be used.
pub(super) fn check_listener(bind: &HttpsBind, findings: &mut Findings) {
    for ca in &bind.ca {
        check_authorities("https.ca", ca, findings);
    }
    for pair in &bind.pairs {
        check_pair(pair, findings);
    }
}

fn check_pair(pair: &Pair, findings: &mut Findings) {
    let chain = read("https.cert", &pair.cert, findings).and_then(|text| {
        certificates(&text)
            .map_err(|error| findings.error("https.cert", Named(&pair.cert, error)))
            .ok()
    });
    let key = read("https.key", &pair.key, findings);
    let (Some(chain), Some(key)) = (chain, key) else {
        return;
    };
    let passphrase = pair.passphrase.as_ref().map(|secret| secret.0.as_str());
    match Credentials::assemble(chain, &key, passphrase) {
        Ok(credentials) => {
            if let Some(untimely) = credentials.untimely(SystemTime::now()) {
                findings.untimely("https.cert", Named(&pair.cert, untimely));
            }
        }
        Err(error) => tell_of_key(&error, pair, findings),
    }
}

/// Adds an error unless the file holds certificates.
pub(super) fn check_authorities(place: &str, ca: &Path, findings: &mut Findings) {
    let read = read(place, ca, findings);
    if let Some(Err(error)) = read.map(|text| certificates(&text)) {
        findings.error(place, Named(ca, error));
    }
}

fn read(place: &str, path: &Path, findings: &mut Findings) -> Option<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| findings.error(place, Named(path, error)))
        .ok()
}

fn tell_of_key(error: &CredentialsError, pair: &Pair, findings: &mut Findings) {
    match error {
        CredentialsError::Mismatch => {
            let text = format_args!("not the key of the certificate {}", pair.cert.display());
            findings.error("https.key", Named(&pair.key, text));
        }
        CredentialsError::NoPassphrase | CredentialsError::WrongPassphrase => {
            findings.error("https.passphrase", Named(&pair.key, error));
        }
        _ => findings.error("https.key", Named(&pair.key, error)),
    }
}
