//! The certificates of one name: of those at hand, the one that the client can verify.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

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
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.keys
            .iter()
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .or(self.keys.first())
            .cloned()
    }
}
