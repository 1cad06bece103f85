//! A cipher list in OpenSSL's words (ciphers(1)), read for the suites that can be spoken here. Pure.

/// A cipher suite that can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its number (IANA).
    pub code: u16,
    /// OpenSSL's name for it.
    pub name: &'static str,
    /// The name in IANA's registry.
    pub iana: &'static str,
    /// Words that stand for it and for others of its kind; none for those of TLS 1.3, which a list
    /// of OpenSSL cannot choose but by name.
    kinds: &'static [&'static str],
    /// Strength of its key, in bits.
    bits: u16,
}

/// All of them, in OpenSSL's order.
pub(super) const SUITES: [Suite; 9] = [
    suite_13(0x1302, "TLS_AES_256_GCM_SHA384"),
    suite_13(0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    suite_13(0x1301, "TLS_AES_128_GCM_SHA256"),
    Suite {
        code: 0xC02C,
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        kinds: &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "FIPS"],
        bits: 256,
    },
    Suite {
        code: 0xC030,
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        kinds: &["aRSA", "AES", "AES256", "AESGCM", "FIPS"],
        bits: 256,
    },
    Suite {
        code: 0xCCA9,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        kinds: &["aECDSA", "ECDSA", "CHACHA20"],
        bits: 256,
    },
    Suite {
        code: 0xCCA8,
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        kinds: &["aRSA", "CHACHA20"],
        bits: 256,
    },
    Suite {
        code: 0xC02B,
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        kinds: &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "FIPS"],
        bits: 128,
    },
    Suite {
        code: 0xC02F,
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        kinds: &["aRSA", "AES", "AES128", "AESGCM", "FIPS"],
        bits: 128,
    },
];

/// What every suite of TLS 1.2 here is: strong, and with a key exchange of elliptic curves that
/// nobody can open later.
const ALL_12: &[&str] = &[
    "ALL", "DEFAULT", "HIGH", "TLSv1.2", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH",
];

/// A suite of TLS 1.3 has one name.
const fn suite_13(code: u16, name: &'static str) -> Suite {
    Suite {
        code,
        name,
        iana: name,
        kinds: &[],
        bits: 0,
    }
}

impl Suite {
    /// The one of this number.
    pub fn of(code: u16) -> Option<Self> {
        SUITES.into_iter().find(|suite| suite.code == code)
    }

    /// Whether it belongs to TLS 1.3, and not to 1.2.
    pub fn is_13(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Whether it is one of TLS 1.2 of this kind, such as `aRSA`.
    pub(super) fn is_for(&self, kind: &str) -> bool {
        self.kinds.contains(&kind)
    }

    fn is_meant_by(&self, word: &str) -> bool {
        let is_kind = || self.kinds.contains(&word) || ALL_12.contains(&word);
        word == self.name || word == self.iana || (!self.is_13() && is_kind())
    }
}

/// The suites that a list chooses, and what in it could not be honoured.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CipherList {
    /// In the order of the list.
    pub(super) suites: Vec<Suite>,
    /// Words that choose nothing here.
    pub(super) left_out: Vec<String>,
    banned: Vec<Suite>,
}

impl CipherList {
    /// Reads a list. A word that excludes what is not there anyway is no loss.
    pub(super) fn read(text: &str) -> Self {
        let mut list = Self::default();
        let words = text.split([':', ',', ' ']).filter(|word| !word.is_empty());
        for word in words {
            list.take(word);
        }
        // As in OpenSSL, a list that does not speak of TLS 1.3 leaves its suites as they are.
        if !list.suites.iter().any(Suite::is_13) {
            let rest = SUITES.into_iter().filter(Suite::is_13);
            let rest: Vec<_> = rest.filter(|suite| !list.banned.contains(suite)).collect();
            list.suites.splice(0..0, rest);
        }
        list
    }

    fn take(&mut self, word: &str) {
        let (operator, kinds) = match word.split_at_checked(1) {
            Some((operator @ ("!" | "-" | "+" | "@"), kinds)) => (operator, kinds),
            _ => ("", word),
        };
        if operator == "@" {
            return self.command(word);
        }
        let is_meant = |suite: &Suite| kinds.split('+').all(|kind| suite.is_meant_by(kind));
        let meant: Vec<_> = SUITES.into_iter().filter(is_meant).collect();
        let is_wanted = matches!(operator, "" | "+");
        if meant.is_empty() && is_wanted && !chooses_nothing(kinds) {
            self.left_out.push(word.to_owned());
        }
        match operator {
            "" => {
                let is_new =
                    |suite: &Suite| !self.suites.contains(suite) && !self.banned.contains(suite);
                let new: Vec<_> = meant.into_iter().filter(is_new).collect();
                self.suites.extend(new);
            }
            // To the end, in the order that they have.
            "+" => self.suites.sort_by_key(|suite| meant.contains(suite)),
            _ => {
                self.suites.retain(|suite| !meant.contains(suite));
                if operator == "!" {
                    self.banned.extend(meant);
                }
            }
        }
    }

    fn command(&mut self, word: &str) {
        match word.split_once('=') {
            None if word == "@STRENGTH" => {
                self.suites
                    .sort_by_key(|suite| std::cmp::Reverse(suite.bits));
            }
            // Levels up to 2 ask for 112 bits, which all that is here has.
            Some(("@SECLEVEL", "0" | "1" | "2")) => {}
            _ => self.left_out.push(word.to_owned()),
        }
    }
}

/// Words that choose nothing in OpenSSL either, unless one asks for what is unsafe.
fn chooses_nothing(word: &str) -> bool {
    matches!(word, "COMPLEMENTOFDEFAULT" | "COMPLEMENTOFALL")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short names, for tables.
    fn short(suite: &Suite) -> &'static str {
        match suite.code {
            0x1302 => "t256",
            0x1303 => "tcha",
            0x1301 => "t128",
            0xC02C => "e256",
            0xC030 => "r256",
            0xCCA9 => "echa",
            0xCCA8 => "rcha",
            0xC02B => "e128",
            _ => "r128",
        }
    }

    #[test]
    fn a_list_means_what_it_means_to_openssl() {
        let table = [
            // What `openssl ciphers` 3.0 says, less what is not spoken here.
            ("HIGH", "e256 r256 echa rcha e128 r128", ""),
            ("DEFAULT:!aECDSA", "r256 rcha r128", ""),
            (
                "ECDHE+AESGCM:ECDHE+CHACHA20",
                "e256 r256 e128 r128 echa rcha",
                "",
            ),
            ("EECDH+aRSA+AES128", "r128", ""),
            ("AES128:HIGH", "e128 r128 e256 r256 echa rcha", ""),
            ("AES128:HIGH:@STRENGTH", "e256 r256 echa rcha e128 r128", ""),
            ("HIGH:+AES256", "echa rcha e128 r128 e256 r256", ""),
            (
                "ALL:-ECDSA:ECDHE-ECDSA-AES128-GCM-SHA256",
                "r256 rcha r128 e128",
                "",
            ),
            (
                "ALL:!ECDSA:ECDHE-ECDSA-AES128-GCM-SHA256",
                "r256 rcha r128",
                "",
            ),
            ("!AES:ALL", "echa rcha", ""),
            // Separators, and the names of the registry.
            (
                "ECDHE-RSA-AES128-GCM-SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "r128 r256",
                "",
            ),
            // What can only be left out; what is excluded is gone already.
            (
                "AES128-GCM-SHA256:RC4:HIGH:!MD5:!aNULL:!EDH",
                "e256 r256 echa rcha e128 r128",
                "AES128-GCM-SHA256 RC4",
            ),
            ("kRSA+AES:SHA384:high", "", "kRSA+AES SHA384 high"),
            (
                "ALL:@SECLEVEL=2:COMPLEMENTOFDEFAULT",
                "e256 r256 echa rcha e128 r128",
                "",
            ),
            (
                "CHACHA20:@SECLEVEL=3:@HOME",
                "echa rcha",
                "@SECLEVEL=3 @HOME",
            ),
            ("", "", ""),
        ];
        for (text, expected, left_out) in table {
            let list = CipherList::read(text);
            let found: Vec<_> = list.suites.iter().map(short).collect();
            // TLS 1.3 is no matter of the list.
            let expected = format!("t256 tcha t128 {expected}");
            assert_eq!(found.join(" "), expected.trim_end(), "{text}");
            assert_eq!(list.left_out.join(" "), left_out, "{text}");
        }
    }

    #[test]
    fn suites_of_tls_13_are_chosen_by_name() {
        let table = [
            ("TLS_AES_128_GCM_SHA256", "t128"),
            (
                "TLS_CHACHA20_POLY1305_SHA256:AES256:TLS_AES_128_GCM_SHA256",
                "tcha e256 r256 t128",
            ),
            ("!TLS_AES_128_GCM_SHA256:AES256+aRSA", "t256 tcha r256"),
        ];
        for (text, expected) in table {
            let list = CipherList::read(text);
            let found: Vec<_> = list.suites.iter().map(short).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }
}
