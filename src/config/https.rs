//! The HTTPS listeners, as they are in force: what each shows, to whom, and on which terms.
//!
//! Each takes from its section what it does not say itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Secret;
use super::findings::Findings;
use super::forms::{Bind, OneOrMany};
use super::https_file::{Certificate, Https, HttpsListener};
use super::listeners::{address, with_paths};
use super::tls_terms::{Said, TlsTerms};
use super::values::{Hidden, PathText, Port};
use super::written::Written;

/// One HTTPS listener with its certificate files.
#[derive(Clone, Debug)]
pub struct HttpsBind {
    /// Address to listen on.
    pub address: SocketAddr,
    /// What it shows, the preferred one first; at least one.
    pub pairs: Vec<Pair>,
    /// Further CA certificates to send, and those that clients' certificates must come from.
    pub ca: Vec<PathBuf>,
    /// Ask clients for a certificate. Default false.
    pub request_cert: bool,
    /// Refuse names without a certificate of their own. Default false.
    pub strict_sni: bool,
    /// Connections begin with a PROXY header. Default false.
    pub proxy_protocol: bool,
    /// Versions, cipher suites, tickets.
    pub terms: TlsTerms,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM file of the certificate chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
    /// Passphrase of the key file.
    pub passphrase: Option<Secret>,
}

/// Listeners for HTTPS: none without addresses.
pub(super) fn resolve(written: Https, findings: &mut Findings) -> Vec<HttpsBind> {
    let port = written.port.right().map_or(443, |port| port.0);
    let Some(binds) = written.bind.right() else {
        if !written.certificate.cert.is_absent() {
            findings.warning("https.bind", "not given, so nothing listens for HTTPS");
        }
        return Vec::new();
    };
    let shared = (
        Shown::of(written.certificate),
        Said::of(written.terms, "https"),
    );
    let mut listeners = Vec::new();
    for (path, bind) in with_paths("https.bind", binds) {
        let listener = match bind {
            Bind::Address(address) => HttpsListener {
                address: Written::Right(address),
                ..HttpsListener::default()
            },
            Bind::Listener(listener) => *listener,
        };
        let port = listener.port.right().map_or(port, |port| port.0);
        let address = address(&listener.address, &path, findings);
        let shown = Shown::of(listener.certificate).or(&shared.0);
        let terms = Said::of(listener.terms, &path).or(&shared.1);
        let terms = terms.resolve(&path, findings);
        let pairs = shown.pairs(&path, findings);
        if shown.request_cert == Some(true) && shown.ca.as_ref().is_none_or(Vec::is_empty) {
            let text = "`requestCert` needs a `ca` that vouches for the certificates of clients";
            findings.error(&path, text);
        }
        let (Some(address), Some(pairs)) = (address, pairs) else {
            continue;
        };
        listeners.push(HttpsBind {
            address: SocketAddr::new(address, port),
            pairs,
            ca: shown.ca.unwrap_or_default(),
            request_cert: shown.request_cert.unwrap_or_default(),
            strict_sni: shown.strict_sni.unwrap_or_default(),
            proxy_protocol: shown.proxy_protocol.unwrap_or_default(),
            terms,
        });
    }
    listeners
}

/// The port that clients know, where it is given.
pub(super) fn public_port(written: Written<Port>, findings: &mut Findings) -> Option<u16> {
    let port = written.right()?.0;
    if port == 0 {
        findings.error("https.publicPort", "port 0 is not in 1–65535");
    }
    Some(port).filter(|port| *port != 0)
}

/// What an HTTPS listener shows, as far as it is given.
#[derive(Clone)]
struct Shown {
    keys: Option<Vec<PathBuf>>,
    passphrases: Option<Passphrases>,
    certs: Option<Vec<PathBuf>>,
    ca: Option<Vec<PathBuf>>,
    request_cert: Option<bool>,
    strict_sni: Option<bool>,
    proxy_protocol: Option<bool>,
}

/// Passphrases of keys.
#[derive(Clone)]
enum Passphrases {
    OfAll(Secret),
    OfEach(Vec<Option<Secret>>),
}

impl Shown {
    fn of(written: Certificate) -> Self {
        let paths = |many: Written<OneOrMany<PathText>>| {
            let many = many.right()?.right().into_iter();
            Some(many.map(|path| path.0).collect())
        };
        Self {
            keys: paths(written.key),
            passphrases: written.passphrase.right().map(Passphrases::of),
            certs: paths(written.cert),
            ca: paths(written.ca),
            request_cert: written.request_cert.right(),
            strict_sni: written.strict_sni.right(),
            proxy_protocol: written.proxy_protocol.right(),
        }
    }

    /// What is not given is inherited; the passphrase only together with its key.
    fn or(self, shared: &Self) -> Self {
        let keys = self.keys.or_else(|| shared.keys.clone());
        let inherited = shared.passphrases.clone().filter(|_| keys == shared.keys);
        Self {
            passphrases: self.passphrases.or(inherited),
            certs: self.certs.or_else(|| shared.certs.clone()),
            ca: self.ca.or_else(|| shared.ca.clone()),
            request_cert: self.request_cert.or(shared.request_cert),
            strict_sni: self.strict_sni.or(shared.strict_sni),
            proxy_protocol: self.proxy_protocol.or(shared.proxy_protocol),
            keys,
        }
    }

    /// Each certificate with its key; `None`, and told, where one of them lacks the other.
    fn pairs(&self, path: &str, findings: &mut Findings) -> Option<Vec<Pair>> {
        let (keys, certs) = match (&self.keys, &self.certs) {
            (Some(keys), Some(certs)) if !keys.is_empty() && !certs.is_empty() => (keys, certs),
            _ => {
                let text = "HTTPS needs both a `key` and a `cert`, here or in `https`";
                findings.error(path, text);
                return None;
            }
        };
        let mut is_even = |key: &str, count: usize| {
            if count != certs.len() {
                let text = format_args!(
                    "`{key}` has {count}, and `cert` {}: expected as many of both",
                    certs.len()
                );
                findings.error(path, text);
            }
            count == certs.len()
        };
        let passphrases = match &self.passphrases {
            None => vec![None; keys.len()],
            Some(Passphrases::OfAll(one)) => vec![Some(one.clone()); keys.len()],
            Some(Passphrases::OfEach(each)) => each.clone(),
        };
        if !is_even("key", keys.len()) || !is_even("passphrase", passphrases.len()) {
            return None;
        }
        let pairs = certs.iter().zip(keys).zip(passphrases);
        let pair = |((cert, key), passphrase): ((&PathBuf, &PathBuf), _)| Pair {
            cert: cert.clone(),
            key: key.clone(),
            passphrase,
        };
        Some(pairs.map(pair).collect())
    }
}

impl Passphrases {
    fn of(written: OneOrMany<Hidden>) -> Self {
        match written {
            OneOrMany::One(one) => Self::OfAll(one.0),
            OneOrMany::Many(many) => {
                let each = many.into_iter();
                Self::OfEach(each.map(|one| one.right().map(|one| one.0)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests;
