//! A certificate chain and its private key, read from PEM and known to belong together.
//!
//! One reader for all sources: files of the configuration, a directory, Redis. What is wrong is
//! told in one sentence that never quotes the material itself.

mod legacy;
mod pem;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

pub(crate) use pem::certificates;

/// A chain and its key, ready to sign a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    /// What the handshake needs.
    pub(crate) key: Arc<CertifiedKey>,
    /// The end of the validity of the first certificate.
    pub(crate) expires: SystemTime,
    /// When the validity of the first certificate begins.
    begins: SystemTime,
    names: Vec<String>,
}

/// Why credentials cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CredentialsError {
    /// No certificate in the PEM text.
    NoCertificate,
    /// No private key in the PEM text.
    NoKey,
    /// Not PEM, or broken; what is wrong with it.
    BadPem(String),
    /// A certificate that is none; what the parser says.
    BadCertificate(String),
    /// The key is encrypted, and there is no passphrase.
    NoPassphrase,
    /// The passphrase does not open the key.
    WrongPassphrase,
    /// Encrypted in a way that is not supported.
    Cipher(String),
    /// A key that cannot be used; what the library says.
    BadKey(String),
    /// The key is that of another certificate.
    Mismatch,
}

impl Credentials {
    /// Reads a chain, the certificate of the key first, and its key.
    pub(crate) fn parse(
        chain: &[u8],
        key: &[u8],
        passphrase: Option<&str>,
    ) -> Result<Self, CredentialsError> {
        Self::assemble(certificates(chain)?, key, passphrase)
    }

    /// The same with the chain at hand.
    pub(crate) fn assemble(
        chain: Vec<CertificateDer<'static>>,
        key: &[u8],
        passphrase: Option<&str>,
    ) -> Result<Self, CredentialsError> {
        let first = chain.first().ok_or(CredentialsError::NoCertificate)?;
        let parsed = Certificate::from_der(first)
            .map_err(|error| CredentialsError::BadCertificate(error.to_string()))?;
        let key = pem::private_key(key, passphrase)?;
        let key =
            CertifiedKey::from_der(chain, key, &default_provider()).map_err(
                |error| match error {
                    Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                        CredentialsError::Mismatch
                    }
                    error => CredentialsError::BadKey(error.to_string()),
                },
            )?;
        let validity = parsed.tbs_certificate().validity();
        Ok(Self {
            key: Arc::new(key),
            expires: validity.not_after.to_system_time(),
            begins: validity.not_before.to_system_time(),
            names: names_of(&parsed),
        })
    }

    /// What is wrong with its time: not valid yet, or not any more.
    pub(crate) fn untimely(&self, now: SystemTime) -> Option<Untimely> {
        if let Ok(over) = now.duration_since(self.expires) {
            return Some(Untimely::Expired(over));
        }
        let until = self.begins.duration_since(now).ok()?;
        (!until.is_zero()).then_some(Untimely::Early(until))
    }

    /// Whether a client that asks for this name accepts the certificate (RFC 6125 §6.4: a wildcard
    /// stands for one label, the first).
    pub(crate) fn covers(&self, name: &str) -> bool {
        let rest = name.split_once('.').map(|(_, rest)| rest);
        self.names
            .iter()
            .any(|known| match known.strip_prefix("*.") {
                Some(suffix) => rest.is_some_and(|rest| rest.eq_ignore_ascii_case(suffix)),
                None => known.eq_ignore_ascii_case(name),
            })
    }
}

/// The names of a certificate's subject: addresses, too, as text.
fn names_of(certificate: &Certificate) -> Vec<String> {
    let extension = certificate
        .tbs_certificate()
        .get_extension::<SubjectAltName>();
    let Ok(Some((_, names))) = extension else {
        return Vec::new();
    };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()),
        _ => None,
    };
    names.0.iter().filter_map(text).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}

/// What is wrong with the time of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untimely {
    /// Its validity ended so long ago.
    Expired(Duration),
    /// Its validity begins after this time.
    Early(Duration),
}

impl fmt::Display for Untimely {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, time, relation) = match self {
            Self::Expired(over) => ("expired", over, "ago"),
            Self::Early(until) => ("is not valid before", until, "from now"),
        };
        let hours = time.as_secs() / 3600;
        let (count, unit) = match hours {
            0..48 => (hours, "hours"),
            _ => (hours / 24, "days"),
        };
        write!(f, "the certificate {text} {count} {unit} {relation}")
    }
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("no PEM certificate inside"),
            Self::NoKey => f.write_str("no PEM private key inside"),
            Self::BadPem(what) => f.write_str(what),
            Self::BadCertificate(what) => write!(f, "a broken certificate: {what}"),
            Self::NoPassphrase => f.write_str("encrypted, a passphrase is needed"),
            Self::WrongPassphrase => f.write_str("encrypted, and the passphrase does not open it"),
            Self::Cipher(name) => write!(f, "encrypted with {name}, which is not supported"),
            Self::BadKey(what) => write!(f, "a private key that cannot be used: {what}"),
            Self::Mismatch => f.write_str("the private key is not that of the certificate"),
        }
    }
}

impl std::error::Error for CredentialsError {}

#[cfg(test)]
mod tests;
