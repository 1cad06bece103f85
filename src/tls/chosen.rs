//! The certificates of one name: of those at hand, the one that the client can verify.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SupportedCipherSuite};

use crate::credentials::Credentials;

/// One name's certificates, such as one with an ECDSA key and one with an RSA key.
#[derive(Debug)]
pub(super) struct Chosen {
    keys: Vec<Arc<CertifiedKey>>,
}

impl Chosen {
    /// Shows the first of these that the client can verify.
    pub(super) fn new<'a>(credentials: impl IntoIterator<Item = &'a Credentials>) -> Arc<Self> {
        let keys = credentials.into_iter().map(|one| Arc::clone(&one.key));
        Arc::new(Self {
            keys: keys.collect(),
        })
    }

    /// The same where only these suites are spoken.
    pub(super) fn within(self: Arc<Self>, provider: &Arc<CryptoProvider>) -> Arc<Within> {
        Arc::new(Within {
            chosen: self,
            provider: Arc::clone(provider),
        })
    }
}

/// Certificates, and the suites that they are to be used with.
#[derive(Debug)]
pub(super) struct Within {
    chosen: Arc<Chosen>,
    provider: Arc<CryptoProvider>,
}

impl Within {
    /// Whether a suite that both sides speak goes with this key: those of TLS 1.2 name its kind.
    fn has_suite_for(&self, key: &CertifiedKey, offered: &[CipherSuite]) -> bool {
        let mut suites = self.provider.cipher_suites.iter();
        suites.any(|suite| {
            offered.contains(&suite.suite())
                && match suite {
                    SupportedCipherSuite::Tls12(suite) => {
                        key.key.choose_scheme(suite.sign).is_some()
                    }
                    SupportedCipherSuite::Tls13(_) => true,
                }
        })
    }
}

impl ResolvesServerCert for Within {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_usable = |key: &&Arc<CertifiedKey>| {
            let scheme = key.key.choose_scheme(hello.signature_schemes());
            scheme.is_some() && self.has_suite_for(key, hello.cipher_suites())
        };
        let keys = &self.chosen.keys;
        keys.iter().find(is_usable).or(keys.first()).cloned()
    }
}
