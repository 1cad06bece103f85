//! Certificates and private keys out of PEM text (RFC 7468), also encrypted ones.

use base64ct::{Base64, Encoding};
use pkcs8::der::Decode;
use pkcs8::{EncryptedPrivateKeyInfoRef, pkcs5};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;

use super::{CredentialsError, legacy};

/// PKCS #8, encrypted (RFC 7468 §11).
const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// The certificates of a PEM text, at least one, each of them sound.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let chain = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(told)?;
    if chain.is_empty() {
        return Err(CredentialsError::NoCertificate);
    }
    for certificate in &chain {
        ParsedCertificate::try_from(certificate)
            .map_err(|error| CredentialsError::BadCertificate(error.to_string()))?;
    }
    Ok(chain)
}

/// The first private key of a PEM text.
pub(super) fn private_key(
    text: &[u8],
    passphrase: Option<&str>,
) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let contains = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    if contains(legacy::MARK) {
        let passphrase = passphrase.ok_or(CredentialsError::NoPassphrase)?;
        return legacy::decrypt(text, passphrase);
    }
    if contains(ENCRYPTED) {
        let passphrase = passphrase.ok_or(CredentialsError::NoPassphrase)?;
        return decrypt(text, passphrase);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        PemError::NoItemsFound => CredentialsError::NoKey,
        error => told(error),
    })
}

/// PBES2 with scrypt or PBKDF2 (RFC 8018 §6.2).
fn decrypt(text: &[u8], passphrase: &str) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let section = Section::find(text, "ENCRYPTED PRIVATE KEY")?;
    let sealed = section.decode(section.body)?;
    let info = EncryptedPrivateKeyInfoRef::from_der(&sealed)
        .map_err(|_| CredentialsError::Cipher("a scheme other than PBES2".to_owned()))?;
    let opened = info.decrypt(passphrase).map_err(|error| match error {
        // A wrong key opens to bytes that are no key.
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
            CredentialsError::WrongPassphrase
        }
        pkcs8::Error::EncryptedPrivateKey(_) => {
            CredentialsError::Cipher(info.encryption_algorithm.oid().to_string())
        }
        error => CredentialsError::BadKey(error.to_string()),
    })?;
    Ok(PrivatePkcs8KeyDer::from(opened.as_bytes().to_vec()).into())
}

/// One section of a PEM text: what stands between its BEGIN and END lines.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) body: &'a str,
}

impl<'a> Section<'a> {
    /// The first section with this label.
    pub(super) fn find(text: &'a [u8], label: &str) -> Result<Self, CredentialsError> {
        let broken = |what: &str| CredentialsError::BadPem(what.to_owned());
        let text = std::str::from_utf8(text).map_err(|_| broken("no text, expected PEM"))?;
        let (_, rest) = text
            .split_once(&format!("-----BEGIN {label}-----"))
            .ok_or(CredentialsError::NoKey)?;
        let (body, _) = rest
            .split_once(&format!("-----END {label}-----"))
            .ok_or_else(|| broken("PEM without its END line"))?;
        Ok(Self { body })
    }

    /// The bytes of its base64 text.
    pub(super) fn decode(self, base64: &str) -> Result<Vec<u8>, CredentialsError> {
        let dense: String = base64.split_ascii_whitespace().collect();
        Base64::decode_vec(&dense)
            .map_err(|_| CredentialsError::BadPem("PEM with text that is no base64".to_owned()))
    }
}

/// What is wrong with a PEM text; the library's own words for two of them quote its bytes.
fn told(error: PemError) -> CredentialsError {
    CredentialsError::BadPem(match error {
        PemError::MissingSectionEnd { .. } => "PEM without its END line".to_owned(),
        PemError::IllegalSectionStart { .. } => "PEM with a malformed BEGIN line".to_owned(),
        other => other.to_string(),
    })
}
