//! Private keys in the encrypted PEM form of OpenSSL's traditional format (RFC 1421 §4.6).
//!
//! Weak by today's measure: the passphrase is stretched by one round of MD5. But the original's users
//! have such keys, and a file that only root may read does not depend on its passphrase.

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivateSec1KeyDer};

use super::CredentialsError;
use super::pem::Section;

/// What marks such a key.
pub(super) const MARK: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// Bytes of the salt: the first ones of the initialisation vector.
const SALT: usize = 8;

/// Opens the first such key of a PEM text.
pub(super) fn decrypt(
    text: &[u8],
    passphrase: &str,
) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let rsa = Section::find(text, "RSA PRIVATE KEY");
    let (section, is_rsa) = match rsa {
        Ok(section) if section.body.contains("DEK-Info") => (section, true),
        _ => (Section::find(text, "EC PRIVATE KEY")?, false),
    };
    let broken = || CredentialsError::BadPem("an encrypted key without its DEK-Info".to_owned());
    let (_, info) = section.body.split_once("DEK-Info:").ok_or_else(broken)?;
    let (info, base64) = info.split_once(['\n', '\r']).ok_or_else(broken)?;
    let (cipher, vector) = info.trim().split_once(',').ok_or_else(broken)?;
    let vector = from_hex(vector).ok_or_else(broken)?;
    let sealed = section.decode(base64)?;
    let open = match cipher {
        "AES-128-CBC" => open::<Aes128>,
        "AES-192-CBC" => open::<Aes192>,
        "AES-256-CBC" => open::<Aes256>,
        "DES-EDE3-CBC" => open::<TdesEde3>,
        other => return Err(CredentialsError::Cipher(other.to_owned())),
    };
    let opened = open(sealed, &vector, passphrase)
        // Both forms are an ASN.1 sequence; a wrong passphrase may leave a padding that looks right.
        .filter(|der| der.first() == Some(&0x30))
        .ok_or(CredentialsError::WrongPassphrase)?;
    Ok(match is_rsa {
        true => PrivatePkcs1KeyDer::from(opened).into(),
        false => PrivateSec1KeyDer::from(opened).into(),
    })
}

fn open<C: BlockCipherDecrypt + KeyInit>(
    mut sealed: Vec<u8>,
    vector: &[u8],
    passphrase: &str,
) -> Option<Vec<u8>> {
    let key = stretch(passphrase, vector.get(..SALT)?, C::key_size());
    let decryptor = Decryptor::<C>::new_from_slices(&key, vector).ok()?;
    let length = decryptor.decrypt_padded::<Pkcs7>(&mut sealed).ok()?.len();
    sealed.truncate(length);
    Some(sealed)
}

/// `EVP_BytesToKey` of OpenSSL with MD5 and one round.
fn stretch(passphrase: &str, salt: &[u8], length: usize) -> Vec<u8> {
    let mut key = Vec::new();
    let mut last = Vec::new();
    while key.len() < length {
        let mut digest = Md5::new();
        digest.update(&last);
        digest.update(passphrase.as_bytes());
        digest.update(salt);
        last = digest.finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect()
}
