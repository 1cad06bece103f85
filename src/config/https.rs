//! One HTTPS listener, as it is in force.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Secret;

/// One HTTPS listener with its certificate files.
#[derive(Clone, Debug)]
pub struct HttpsBind {
    /// Address to listen on.
    pub address: SocketAddr,
    /// PEM file of the private key.
    pub key: PathBuf,
    /// Passphrase of the key file.
    pub passphrase: Option<Secret>,
    /// PEM file of the certificate chain.
    pub cert: PathBuf,
    /// Further CA certificates to send, and those that clients' certificates must come from.
    pub ca: Vec<PathBuf>,
    /// Ask clients for a certificate. Default false.
    pub request_cert: bool,
    /// Refuse names without a certificate of their own. Default false.
    pub strict_sni: bool,
    /// Connections begin with a PROXY header. Default false.
    pub proxy_protocol: bool,
}
