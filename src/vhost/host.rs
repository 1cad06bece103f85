//! The name that a client asked for, in the one form that stores and marks are keyed by.
//!
//! Invariant: a [`Host`] is empty, a valid lower-case name, or an IPv6 address in brackets in the
//! form of RFC 5952; never a port, never a trailing dot, never a wildcard.

use std::fmt;
use std::net::Ipv6Addr;
use std::rc::Rc;

/// Bytes of a name, at most (RFC 1035 §2.3.4, without the length octets).
const NAME_LIMIT_BYTES: usize = 253;
/// Bytes of a label, at most (RFC 1035 §2.3.4).
const LABEL_LIMIT_BYTES: usize = 63;

/// A host that a client asked for: lower case, no port, no trailing dot; IPv6 in brackets.
/// The empty host is valid and routes to `*` alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Rc<str>);

/// Why a host cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostError;

impl Host {
    /// Parses a `Host` value or the authority of a target (RFC 9110 §7.2).
    ///
    /// # Errors
    ///
    /// When it cannot be a name: it is then a 400 and never reaches a store.
    pub fn parse(raw: &[u8]) -> Result<Self, HostError> {
        if raw.first() == Some(&b'[') {
            return parse_ipv6(raw);
        }
        let name = match raw.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                check_port(&raw[colon + 1..])?;
                &raw[..colon]
            }
            None => raw,
        };
        match name {
            b"." => Err(HostError),
            [name @ .., b'.'] => parse_name(name),
            name => parse_name(name),
        }
    }

    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a host name: expected labels of a-z, 0-9, - and _, or an IPv6 address in brackets",
        )
    }
}

impl std::error::Error for HostError {}

/// A port is digits or nothing (RFC 3986 §3.2.3), and no larger than ports are.
fn check_port(port: &[u8]) -> Result<(), HostError> {
    let number = port.iter().try_fold(0_u16, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    });
    number.map(|_| ()).ok_or(HostError)
}

fn parse_name(name: &[u8]) -> Result<Host, HostError> {
    let mut buffer = [0; NAME_LIMIT_BYTES];
    let name = if check_name(name)? {
        let lower = buffer.get_mut(..name.len()).ok_or(HostError)?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        lower
    } else {
        name
    };
    let text = std::str::from_utf8(name).map_err(|_| HostError)?;
    Ok(Host(text.into()))
}

/// Checks every label and says whether a letter is in upper case. The empty name passes.
fn check_name(name: &[u8]) -> Result<bool, HostError> {
    if name.is_empty() {
        return Ok(false);
    }
    if name.len() > NAME_LIMIT_BYTES {
        return Err(HostError);
    }
    let mut label_bytes = 0;
    let mut has_upper = false;
    for byte in name {
        match byte {
            b'.' if label_bytes > 0 => {
                label_bytes = 0;
                continue;
            }
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => has_upper = true,
            _ => return Err(HostError),
        }
        label_bytes += 1;
        if label_bytes > LABEL_LIMIT_BYTES {
            return Err(HostError);
        }
    }
    if label_bytes == 0 {
        return Err(HostError);
    }
    Ok(has_upper)
}

/// `[v6]` or `[v6]:port`; the address is written as RFC 5952 §4 says.
fn parse_ipv6(raw: &[u8]) -> Result<Host, HostError> {
    let close = raw.iter().position(|byte| *byte == b']').ok_or(HostError)?;
    match &raw[close + 1..] {
        [] => {}
        [b':', port @ ..] => check_port(port)?,
        _ => return Err(HostError),
    }
    let text = std::str::from_utf8(&raw[1..close]).map_err(|_| HostError)?;
    let address: Ipv6Addr = text.parse().map_err(|_| HostError)?;
    Ok(Host(format!("[{address}]").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_normalised_once() {
        let cases = [
            ("a.test", "a.test"),
            ("A.Test:80", "a.test"),
            ("A.TEST", "a.test"),
            ("a.test:", "a.test"),
            ("a.test.", "a.test"),
            ("a.test.:8080", "a.test"),
            ("localhost", "localhost"),
            ("_dmarc.a-b.test", "_dmarc.a-b.test"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("__ping__:80", "__ping__"),
            ("", ""),
            (":80", ""),
            (":", ""),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("[::1]:", "[::1]"),
            ("[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]"),
            ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
        ];
        for (raw, expected) in cases {
            let host = Host::parse(raw.as_bytes());
            assert_eq!(host.as_ref().map(Host::as_str), Ok(expected), "{raw:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = format!("{}.{}", "a.".repeat(126), "ab");
        let cases = [
            "*",
            "*.test",
            "a b",
            " a.test",
            "a.test ",
            "a\0b",
            "a\r\nb",
            "a/b",
            "a@b",
            "a..b",
            ".a",
            ".",
            "..",
            "a.test..",
            "[",
            "[]",
            "[::1",
            "[::1]80",
            "[::1]:x",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "a.b:80:90",
            "a:http",
            "a:-1",
            "a: 80",
            "ü.test",
            "a%41",
            "a]",
            "::1",
            &long_label,
            &long_name,
        ];
        for raw in cases {
            assert_eq!(Host::parse(raw.as_bytes()), Err(HostError), "{raw:?}");
        }
        assert_eq!(Host::parse(b"a\xff.test"), Err(HostError));
    }

    #[test]
    fn the_longest_names_are_accepted() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), 253);
        for raw in [
            longest.clone(),
            longest.to_uppercase(),
            format!("{longest}.:80"),
        ] {
            assert_eq!(Host::parse(raw.as_bytes()).unwrap().as_str(), longest);
        }
    }
}
