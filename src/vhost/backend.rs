//! A backend's URL, as far as it counts: scheme, host and port.
//!
//! Invariant: two backends are equal when scheme, host and port are, however their URLs were
//! written, so a mark, a connection pool and a list agree on who is who.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of a name, at most: as long as a host may be, and a dot at its end.
const NAME_LIMIT_BYTES: usize = 254;

/// A backend: where it listens and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Backend {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Where it is.
    pub host: BackendHost,
    /// Its port; 80 or 443 where the URL names none or 0.
    pub port: u16,
    /// The parsed form of the original, with a slash at the end: `http://10.0.0.7:8080/`. Shows a
    /// port only where the URL had one; never the path, the query or credentials.
    pub url: Box<str>,
}

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP/1.
    Http,
    /// HTTP/1 over TLS.
    Https,
    /// Plain HTTP/2, begun without asking (RFC 9113 §3.3).
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendHost {
    /// An address.
    Ip(IpAddr),
    /// A name for the system's resolver.
    Name(Box<str>),
}

/// Why a text is no backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendError {
    /// What is wrong and what was expected.
    pub message: &'static str,
}

impl Backend {
    /// Parses the URL of a backend: scheme, host and port count, path and credentials do not.
    ///
    /// # Errors
    ///
    /// When it is no `http`, `https`, `h2c` or `h2` URL with a host.
    pub fn parse(url: &str) -> Result<Self, BackendError> {
        let (scheme, rest) = url
            .trim()
            .split_once("://")
            .ok_or_else(|| error("not a URL: expected http://host:port"))?;
        let scheme = Scheme::parse(scheme)?;
        // A browser reads a backslash as a slash, and so did the original's parser.
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        let authority = match authority.rsplit_once('@') {
            Some((_, authority)) => authority,
            None => authority,
        };
        let (host, written_port) = split_port(authority)?;
        let port = match parse_port(written_port)? {
            0 => scheme.default_port(),
            port => port,
        };
        let host = BackendHost::parse(host)?;
        let url = write_url(scheme, &host, written_port);
        Ok(Self {
            scheme,
            host,
            port,
            url,
        })
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.port == other.port && self.scheme == other.scheme && self.host == other.host
    }
}

impl Eq for Backend {}

impl Hash for Backend {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scheme.hash(state);
        self.host.hash(state);
        self.port.hash(state);
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Scheme {
    /// The word before `://`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::H2 => "h2",
        }
    }

    /// The port where a URL names none.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https | Self::H2 => 443,
        }
    }

    /// Whether its connections carry many exchanges at once.
    #[must_use]
    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }

    /// Whether it is spoken over TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }

    fn parse(text: &str) -> Result<Self, BackendError> {
        let known = [Self::Http, Self::Https, Self::H2c, Self::H2];
        known
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
            .ok_or_else(|| error("unknown scheme: expected http, https, h2c or h2"))
    }
}

impl BackendHost {
    fn parse(text: &str) -> Result<Self, BackendError> {
        if let Some(address) = parse_plain_ipv4(text) {
            return Ok(Self::Ip(IpAddr::V4(address)));
        }
        if is_plain_name(text) {
            return Self::name(text);
        }
        // The rest is rare: upper case, IPv6, names outside ASCII, addresses written oddly.
        match url::Host::parse(text) {
            Ok(url::Host::Ipv4(address)) => Ok(Self::Ip(IpAddr::V4(address))),
            Ok(url::Host::Ipv6(address)) => Ok(Self::Ip(IpAddr::V6(address))),
            Ok(url::Host::Domain(name)) => Self::name(&name),
            Err(_) => Err(error("not a host: expected a name or an address")),
        }
    }

    /// A name must be one that a resolver takes; a dot at its end is kept, it makes it absolute.
    fn name(text: &str) -> Result<Self, BackendError> {
        let labels = text.strip_suffix('.').unwrap_or(text);
        let is_valid = text.len() <= NAME_LIMIT_BYTES
            && labels.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            });
        if is_valid {
            Ok(Self::Name(text.into()))
        } else {
            Err(error("not a host: expected a name or an address"))
        }
    }
}

impl fmt::Display for BackendHost {
    /// As it stands in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for BackendError {}

fn error(message: &'static str) -> BackendError {
    BackendError { message }
}

/// Host and port of an authority; the colons of an IPv6 address are not the port's.
fn split_port(authority: &str) -> Result<(&str, &str), BackendError> {
    if authority.starts_with('[') {
        let end = authority
            .find(']')
            .ok_or_else(|| error("not an address: expected a closing bracket"))?
            + 1;
        return match &authority[end..] {
            "" => Ok((authority, "")),
            rest => match rest.strip_prefix(':') {
                Some(port) => Ok((&authority[..end], port)),
                None => Err(error("not a port: expected a colon after the bracket")),
            },
        };
    }
    Ok(authority.split_once(':').unwrap_or((authority, "")))
}

/// The port as written; none is 0, which stands for the default as in the original.
fn parse_port(written: &str) -> Result<u16, BackendError> {
    if written.is_empty() {
        return Ok(0);
    }
    if !written.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(error("not a port: expected a number"));
    }
    written
        .parse()
        .map_err(|_| error("port out of range: expected 0-65535"))
}

/// Four decimal numbers; anything fancier is left to the general parser.
fn parse_plain_ipv4(text: &str) -> Option<Ipv4Addr> {
    let starts_with_digit = text.as_bytes().first()?.is_ascii_digit();
    starts_with_digit.then(|| text.parse().ok())?
}

/// Whether this is a name beyond doubt: lower case, ASCII, its last byte a letter (so that it
/// cannot be a number), and no Punycode that would have to be checked.
fn is_plain_name(text: &str) -> bool {
    let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    text.bytes().all(is_plain)
        && text
            .bytes()
            .next_back()
            .is_some_and(|b| b.is_ascii_lowercase())
        && !text.contains("xn--")
        && !text.contains("0x")
}

fn write_url(scheme: Scheme, host: &BackendHost, written_port: &str) -> Box<str> {
    let colon = if written_port.is_empty() { "" } else { ":" };
    format!("{}://{host}{colon}{written_port}/", scheme.as_str()).into()
}

#[cfg(test)]
mod tests;
