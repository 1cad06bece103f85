//! What one HTTPS listener shows to its clients, and on which terms.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::TicketKeys;
use super::chosen::Chosen;
use crate::config::{Config, HttpsBind};
use crate::credentials::{Credentials, certificates};

/// The protocols offered (RFC 7301), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The HTTPS listeners, by the address that each was asked for. Clones share all.
#[derive(Clone, Default)]
pub(crate) struct Terminations(Rc<[(SocketAddr, Termination)]>);

impl Terminations {
    /// Reads the files of all listeners, as the user who may.
    pub(crate) fn load(config: &Config, tickets: TicketKeys) -> Result<Self, TerminationError> {
        let limit = config.server.timeouts.request_head;
        let load = |bind: &HttpsBind| Ok((bind.address, Termination::load(bind, limit, tickets)?));
        config
            .https
            .iter()
            .map(load)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What the listener at this address shows; `None`: it speaks plain HTTP.
    pub(crate) fn of(&self, asked: SocketAddr) -> Option<&Termination> {
        let mut all = self.0.iter();
        all.find(|(address, _)| *address == asked)
            .map(|(_, one)| one)
    }
}

/// Never shows a key.
impl fmt::Debug for Terminations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.iter().map(|(address, _)| address))
            .finish()
    }
}

/// One listener's side of the handshakes.
pub(crate) struct Termination {
    /// For names without a certificate of their own.
    pub(super) default: Arc<ServerConfig>,
    /// The whole handshake is over by then.
    pub(super) limit: Option<Duration>,
    /// Names without a certificate of their own are refused.
    pub(super) is_strict: bool,
}

/// Why a listener cannot speak TLS.
#[derive(Debug)]
pub(crate) struct TerminationError(String);

impl Termination {
    /// Reads the files of a listener, as the user who may.
    fn load(
        bind: &HttpsBind,
        limit: Option<Duration>,
        tickets: TicketKeys,
    ) -> Result<Self, TerminationError> {
        let passphrase = bind.passphrase.as_ref().map(|secret| secret.0.as_str());
        let mut chain = read_certificates(&bind.cert)?;
        let authorities = bind.ca.iter().map(|ca| read_certificates(ca));
        let authorities = authorities.collect::<Result<Vec<_>, _>>()?.concat();
        chain.extend(authorities.iter().cloned());
        let key = read(&bind.key)?;
        let credentials = Credentials::assemble(chain, &key, passphrase)
            .map_err(|error| TerminationError::about(&bind.key, &error))?;
        let mut config = terms(bind, authorities)?;
        config.cert_resolver = Chosen::new([&credentials]);
        config.ticketer = Arc::new(tickets);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            default: Arc::new(config),
            limit,
            is_strict: bind.strict_sni,
        })
    }
}

/// Versions, cipher suites and what is asked of clients.
fn terms(
    bind: &HttpsBind,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, TerminationError> {
    let failed = |error: &dyn fmt::Display| TerminationError::about(&bind.cert, error);
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = if bind.request_cert {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| failed(&error))?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    Ok(builder.with_cert_resolver(Chosen::new([])))
}

fn read(path: &Path) -> Result<Vec<u8>, TerminationError> {
    fs::read(path).map_err(|error: io::Error| TerminationError::about(path, &error))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TerminationError> {
    certificates(&read(path)?).map_err(|error| TerminationError::about(path, &error))
}

impl TerminationError {
    fn about(path: &Path, error: &dyn fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for TerminationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TerminationError {}
