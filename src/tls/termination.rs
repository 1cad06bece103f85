//! What one HTTPS listener shows to its clients, and on which terms.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WantsServerCert, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig};

use super::chosen::Chosen;
use super::tickets::TicketKeys;
use crate::config::{Config, HttpsBind, Pair, Suite, TlsTerms};
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
        let authorities = bind.ca.iter().map(|ca| read_certificates(ca));
        let authorities = authorities.collect::<Result<Vec<_>, _>>()?.concat();
        let pairs = bind.pairs.iter();
        let pairs = pairs.map(|pair| read_pair(pair, &authorities));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        let provider = Arc::new(provider(&bind.terms));
        let builder = builder(bind, authorities, Arc::clone(&provider))
            .map_err(|error| TerminationError(format!("{}: {error}", bind.address)))?;
        let mut config = builder.with_cert_resolver(Chosen::new(&pairs).within(&provider));
        config.ignore_client_order = bind.terms.server_order;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        if bind.terms.tickets {
            config.ticketer = Arc::new(tickets);
        } else {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(Self {
            default: Arc::new(config),
            limit,
            is_strict: bind.strict_sni,
        })
    }
}

/// The suites of these terms, in their order.
fn provider(terms: &TlsTerms) -> CryptoProvider {
    let mut provider = default_provider();
    let known = std::mem::take(&mut provider.cipher_suites);
    let find = |suite: &Suite| {
        let mut known = known.iter();
        known.find(|known| u16::from(known.suite()) == suite.code)
    };
    provider.cipher_suites = terms.suites.iter().filter_map(find).copied().collect();
    provider
}

/// Versions, and what is asked of clients.
fn builder(
    bind: &HttpsBind,
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, Box<dyn std::error::Error>> {
    let versions = [
        (bind.terms.versions.has_13(), &TLS13),
        (bind.terms.versions.has_12(), &TLS12),
    ];
    let versions = versions.into_iter().filter(|(is_spoken, _)| *is_spoken);
    let versions: Vec<_> = versions.map(|(_, version)| version).collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&versions)?;
    if !bind.request_cert {
        return Ok(builder.with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()?;
    Ok(builder.with_client_cert_verifier(verifier))
}

/// A certificate, with these behind it, and its key.
fn read_pair(
    pair: &Pair,
    authorities: &[CertificateDer<'static>],
) -> Result<Credentials, TerminationError> {
    let mut chain = read_certificates(&pair.cert)?;
    chain.extend_from_slice(authorities);
    let passphrase = pair.passphrase.as_ref().map(|secret| secret.0.as_str());
    Credentials::assemble(chain, &read(&pair.key)?, passphrase)
        .map_err(|error| TerminationError::about(&pair.key, &error))
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
