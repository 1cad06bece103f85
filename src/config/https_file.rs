//! The section `https` as an operator wrote it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::{Bind, OneOrMany};
use super::section::section;
use super::tls_terms::Preset;
use super::values::{Address, Hidden, PathText, Port, Whole};
use super::written::Written;

/// Listeners for HTTPS.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Https {
    /// Port of the addresses that name none. Default 443.
    pub(super) port: Written<Port>,
    /// Addresses to listen on: one, or an array of addresses and objects, which may override all
    /// of this section. Default: none.
    pub(super) bind: Written<OneOrMany<Bind<HttpsListener>>>,
    /// The port that clients know, where a mapping stands before the listeners: redirects lead
    /// there. Default: 443 if a listener has it, else that of the first.
    pub(super) public_port: Written<Port>,
    /// Directory with the certificates of single vhosts: `NAME.crt` and `NAME.key`, or `*.PARENT.crt`.
    /// Default: none; those in Redis are found in any case.
    pub(super) certificates: Written<PathText>,
    /// What the listener shows.
    #[serde(flatten)]
    pub(super) certificate: Certificate,
    /// On which terms it speaks TLS.
    #[serde(flatten)]
    pub(super) terms: WrittenTerms,
}

/// One address for HTTPS.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HttpsListener {
    /// Address to listen on.
    pub(super) address: Written<Address>,
    /// Port. Default `https.port`.
    pub(super) port: Written<Port>,
    /// What the listener shows.
    #[serde(flatten)]
    pub(super) certificate: Certificate,
    /// On which terms it speaks TLS.
    #[serde(flatten)]
    pub(super) terms: WrittenTerms,
}

/// Certificates and keys of an HTTPS listener, and whom it serves.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Certificate {
    /// PEM file of the private key, or an array of these: one for each `cert`.
    pub(super) key: Written<OneOrMany<PathText>>,
    /// Passphrase of the key files, or an array with one, or null, for each `key`.
    pub(super) passphrase: Written<OneOrMany<Hidden>>,
    /// PEM file of the certificate chain, or an array of these: a client is shown the first that it
    /// can verify, such as one with an ECDSA key before one with an RSA key.
    pub(super) cert: Written<OneOrMany<PathText>>,
    /// PEM file, or files, of further CA certificates to send, and of those that vouch for clients.
    pub(super) ca: Written<OneOrMany<PathText>>,
    /// Connections begin with a PROXY header, before TLS. Default false.
    pub(super) proxy_protocol: Written<bool>,
    /// Ask clients for a certificate, which must come from a `ca`. Default false.
    pub(super) request_cert: Written<bool>,
    /// Refuse clients that ask for a name without a certificate of its own, or for none. Default false.
    pub(super) strict_sni: Written<bool>,
}

/// On which terms an HTTPS listener speaks TLS.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenTerms {
    /// Mozilla's name for a set of terms: `modern` is TLS 1.3 alone, `intermediate` 1.2 and 1.3.
    /// Default `intermediate`.
    pub(super) tls_preset: Written<Preset>,
    /// Cipher suites as a list of OpenSSL. Default: all that are spoken, which are strong.
    pub(super) ciphers: Written<String>,
    /// The order of `ciphers` counts, not the client's. Default false.
    pub(super) honor_cipher_order: Written<bool>,
    /// A method of OpenSSL: `SSLv23_method` is TLS 1.2 and 1.3, `TLSv1_2_method` TLS 1.2 alone.
    /// Default `SSLv23_method`.
    pub(super) secure_protocol: Written<String>,
    /// The sum of options of OpenSSL. Default 0.
    pub(super) secure_options: Written<Whole>,
}

section!(Https, HttpsListener);
