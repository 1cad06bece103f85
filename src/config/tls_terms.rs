//! The terms of TLS with clients: versions, cipher suites, whose order counts, tickets. Pure.
//!
//! They are written in the words of OpenSSL, as Node took them, and mean what can be spoken here;
//! what cannot be honoured is told by its name, with what happens instead.

mod cipher_list;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

pub use cipher_list::Suite;
use cipher_list::{CipherList, SUITES};

use super::findings::Findings;
use super::https_file::WrittenTerms;
use super::values::schema;
use super::written::{Read, Written, Wrong, join};

/// On which terms a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTerms {
    /// The versions spoken. Default: both.
    pub versions: Versions,
    /// The suites offered, the preferred one first; at least one for each version.
    pub suites: Vec<Suite>,
    /// Our order of suites counts, not the client's. Default false: the strong ones are equally
    /// good, and a client knows which of them it is fast at.
    pub server_order: bool,
    /// Sessions resume. Default true.
    pub tickets: bool,
}

/// Which versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 alone.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
    /// TLS 1.2 and 1.3.
    Both,
}

/// What one section says of the terms, each with its path, as far as it says anything.
#[derive(Clone, Default)]
pub(super) struct Said {
    preset: Option<(String, Preset)>,
    ciphers: Option<(String, String)>,
    order: Option<bool>,
    protocol: Option<(String, String)>,
    options: Option<(String, u32)>,
}

/// Mozilla's names for sets of terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    /// TLS 1.3 alone.
    Modern,
    /// TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only.
    Intermediate,
}

schema!(Preset, "Preset", { "enum": ["modern", "intermediate"] });

impl Read for Preset {
    fn read(json: &Json) -> Result<Self, Wrong> {
        match json.as_str() {
            Some("modern") => Ok(Self::Modern),
            Some("intermediate") => Ok(Self::Intermediate),
            _ => Err(Wrong::no(json, "preset, expected modern or intermediate")),
        }
    }
}

/// Bits of `secureOptions`, by OpenSSL's names.
mod bits {
    pub(super) const NO_TICKET: u32 = 0x0000_4000;
    pub(super) const CIPHER_SERVER_PREFERENCE: u32 = 0x0040_0000;
    pub(super) const NO_TLSV1_2: u32 = 0x0800_0000;
    pub(super) const NO_TLSV1_3: u32 = 0x2000_0000;
    /// Turns off what is never on here (old versions, compression, renegotiation, reuse of key
    /// exchanges), or works around faults of what is not spoken here.
    pub(super) const ALWAYS: u32 = 0xD71B_0BFF;
    /// What nobody here does, with what it would be.
    pub(super) const REFUSED: [(u32, &str); 3] = [
        (0x0004_0000, "SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION"),
        (0x0020_0000, "SSL_OP_PRIORITIZE_CHACHA"),
        (0x0080_0000, "SSL_OP_TLS_ROLLBACK_BUG"),
    ];
}

impl Versions {
    /// Whether TLS 1.2 is spoken.
    pub fn has_12(self) -> bool {
        self != Self::Tls13
    }

    /// Whether TLS 1.3 is spoken.
    pub fn has_13(self) -> bool {
        self != Self::Tls12
    }

    fn of(has_12: bool, has_13: bool) -> Option<Self> {
        match (has_12, has_13) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Tls12),
            (false, true) => Some(Self::Tls13),
            (false, false) => None,
        }
    }

    fn has(self, suite: &Suite) -> bool {
        match suite.is_13() {
            true => self.has_13(),
            false => self.has_12(),
        }
    }
}

impl Default for TlsTerms {
    fn default() -> Self {
        Self {
            versions: Versions::Both,
            suites: SUITES.to_vec(),
            server_order: false,
            tickets: true,
        }
    }
}

impl TlsTerms {
    /// What of it only `secureOptions` can say.
    pub(super) fn secure_options(&self) -> u32 {
        match self.tickets {
            true => 0,
            false => bits::NO_TICKET,
        }
    }
}

impl Said {
    /// What stands in the section at this path.
    pub(super) fn of(written: WrittenTerms, section: &str) -> Self {
        fn placed<T>(written: Written<T>, section: &str, key: &str) -> Option<(String, T)> {
            written.right().map(|value| (join(section, key), value))
        }
        let options = placed(written.secure_options, section, "secureOptions");
        Self {
            preset: placed(written.tls_preset, section, "tlsPreset"),
            ciphers: placed(written.ciphers, section, "ciphers"),
            order: written.honor_cipher_order.right(),
            protocol: placed(written.secure_protocol, section, "secureProtocol"),
            options: options.map(|(path, options)| (path, options.0)),
        }
    }

    /// What is not said here is inherited.
    pub(super) fn or(self, shared: &Self) -> Self {
        Self {
            preset: self.preset.or_else(|| shared.preset.clone()),
            ciphers: self.ciphers.or_else(|| shared.ciphers.clone()),
            order: self.order.or(shared.order),
            protocol: self.protocol.or_else(|| shared.protocol.clone()),
            options: self.options.or_else(|| shared.options.clone()),
        }
    }

    /// The terms of the listener at this path.
    pub(super) fn resolve(self, listener: &str, findings: &mut Findings) -> TlsTerms {
        let options = self.options.as_ref().map_or(0, |(_, options)| *options);
        if let Some((path, options)) = &self.options {
            tell_of_options(path, *options, findings);
        }
        let is_modern = matches!(self.preset, Some((_, Preset::Modern)));
        let (asked_12, asked_13) = protocol(self.protocol.as_ref(), findings);
        let versions = Versions::of(
            asked_12 && !is_modern && options & bits::NO_TLSV1_2 == 0,
            asked_13 && options & bits::NO_TLSV1_3 == 0,
        );
        let versions = versions.unwrap_or_else(|| {
            let text = "`tlsPreset`, `secureProtocol` and `secureOptions` together leave no version of TLS";
            findings.error(listener, text);
            Versions::Both
        });
        let (versions, suites) = match &self.ciphers {
            None => (versions, suites_of(versions, &SUITES)),
            Some((path, ciphers)) => chosen(path, ciphers, versions, findings),
        };
        let asked_order = options & bits::CIPHER_SERVER_PREFERENCE != 0;
        TlsTerms {
            versions,
            suites,
            server_order: self.order.unwrap_or_default() || asked_order,
            tickets: options & bits::NO_TICKET == 0,
        }
    }
}

/// Whether TLS 1.2 and whether TLS 1.3 is meant, by a method of OpenSSL.
fn protocol(said: Option<&(String, String)>, findings: &mut Findings) -> (bool, bool) {
    let Some((path, method)) = said else {
        return (true, true);
    };
    let name = method.strip_suffix("_method").unwrap_or_default();
    match name.strip_suffix("_server").unwrap_or(name) {
        "SSLv23" | "TLS" => return (true, true),
        "TLSv1_2" => return (true, false),
        "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1_1" => {
            let text = format_args!(
                "{method} asks for a version that is unsafe and not spoken, {EXPECTED}"
            );
            findings.error(path, text);
        }
        _ => findings.error(
            path,
            format_args!("\"{method}\" is no method of TLS, {EXPECTED}"),
        ),
    }
    (true, true)
}

/// The methods that can be honoured.
const EXPECTED: &str = "expected SSLv23_method (TLS 1.2 and 1.3) or TLSv1_2_method";

fn tell_of_options(path: &str, options: u32, findings: &mut Findings) {
    let honoured =
        bits::NO_TICKET | bits::CIPHER_SERVER_PREFERENCE | bits::NO_TLSV1_2 | bits::NO_TLSV1_3;
    let mut rest = options & !honoured & !bits::ALWAYS;
    let mut refused = Vec::new();
    for (bit, name) in bits::REFUSED {
        if rest & bit != 0 {
            refused.push(name.to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 {
        refused.push(format!("bits {rest:#x}"));
    }
    if !refused.is_empty() {
        let refused = refused.join(", ");
        findings.warning(path, format_args!("{refused}: not supported, left out"));
    }
}

fn suites_of(versions: Versions, suites: &[Suite]) -> Vec<Suite> {
    let spoken = suites.iter().filter(|suite| versions.has(suite));
    spoken.copied().collect()
}

/// The suites of a list that belong to these versions, and the versions that have one.
fn chosen(
    path: &str,
    ciphers: &str,
    versions: Versions,
    findings: &mut Findings,
) -> (Versions, Vec<Suite>) {
    let list = CipherList::read(ciphers);
    if !list.left_out.is_empty() {
        let words = list.left_out.join(", ");
        let text = format_args!("{words}: no suite that is spoken here, left out");
        findings.warning(path, text);
    }
    if !versions.has_12() && list.suites.iter().any(|suite| !suite.is_13()) {
        findings.warning(path, "TLS 1.2 is not spoken, so its suites are left out");
    }
    let suites = suites_of(versions, &list.suites);
    let has = |is_13| suites.iter().any(|suite| suite.is_13() == is_13);
    let Some(usable) = Versions::of(has(false), has(true)) else {
        let text = "no suite is left for the versions of TLS that are spoken";
        findings.error(path, text);
        return (versions, suites_of(versions, &SUITES));
    };
    if usable != versions {
        let (lost, rest) = match usable {
            Versions::Tls12 => ("1.3", "1.2"),
            _ => ("1.2", "1.3"),
        };
        let text = format_args!("no suite of TLS {lost} is left, so TLS {rest} alone is spoken");
        findings.warning(path, text);
    }
    for (kind, name) in [("aRSA", "RSA"), ("aECDSA", "ECDSA")] {
        if usable.has_12() && !suites.iter().any(|suite| suite.is_for(kind)) {
            let text = format_args!(
                "no suite of TLS 1.2 is left for certificates with {name} keys: they are shown by TLS 1.3 alone"
            );
            findings.warning(path, text);
        }
    }
    (usable, suites)
}

#[cfg(test)]
mod tests;
