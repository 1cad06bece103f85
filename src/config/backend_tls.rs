//! Whom to trust among backends that speak TLS.

use std::path::PathBuf;

use super::findings::Findings;
use super::forms::OneOrMany;
use super::values::PathText;
use super::written::Written;

/// Whom to trust among backends that speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// PEM files of authorities, beside the system's.
    pub ca: Vec<PathBuf>,
    /// Whether certificates are verified at all. Default true.
    pub is_verified: bool,
}

impl Default for BackendTls {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            is_verified: true,
        }
    }
}

/// What is in force.
pub(super) fn resolve(
    ca: Written<OneOrMany<PathText>>,
    verify: &Written<bool>,
    findings: &mut Findings,
) -> BackendTls {
    let ca = ca.right().map(OneOrMany::right).unwrap_or_default();
    let tls = BackendTls {
        ca: ca.into_iter().map(|path| path.0).collect(),
        is_verified: verify.as_ref().copied().unwrap_or(true),
    };
    if !tls.is_verified {
        findings.warning(
            "server.backendVerify",
            "certificates of backends are NOT verified: whoever is on the way to them may read and \
             change all that is sent",
        );
        if !tls.ca.is_empty() {
            findings.warning(
                "server.backendCa",
                "without effect where nothing is verified",
            );
        }
    }
    tls
}
