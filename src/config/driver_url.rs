//! The URLs of `driver`: where routes are read and dead marks written.
//!
//! Every part is optional, as in the original (`lib/drivers/redis.js`): `redis:` is a valid URL,
//! which generic parsers refuse. No message repeats more of a URL than its scheme, because the rest
//! may hold a password.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

use super::written::{Read, Wrong};
use super::{RedisAddress, RedisServer, Secret};

/// What a driver URL says.
#[derive(Clone, Debug)]
pub(super) enum DriverUrl {
    /// A Redis, and what stands before its keys.
    Redis(RedisServer, String),
    /// A file of routes.
    File(PathBuf),
}

const KNOWN: &str = "expected redis:, rediss:, redis+unix:, unix: or file:";
const REDIS_PORT: u16 = 6379;

impl JsonSchema for DriverUrl {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DriverUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Read for DriverUrl {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let url = json.as_str().ok_or_else(|| Wrong::no(json, "driver URL"))?;
        Self::parse(url.trim()).map_err(Wrong)
    }
}

impl DriverUrl {
    /// Parses the URL of a driver.
    ///
    /// # Errors
    ///
    /// When the scheme is none of ours or a part is wrong, in words that hide the password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(format!("this has no scheme, {KNOWN}"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "redis" => redis(rest, false),
            "rediss" => redis(rest, true),
            "redis+unix" | "unix" => unix(rest),
            "file" => file(rest),
            old @ ("memcached" | "etcd" | "zookeeper") => Err(format!(
                "the driver {old}: of the original is not supported, {KNOWN}"
            )),
            // Of a scheme that long, part may be a password.
            other if other.len() <= 16 => Err(format!("the driver {other}: is unknown, {KNOWN}")),
            _ => Err(format!("this driver is unknown, {KNOWN}")),
        }
    }
}

/// `//user:password@host:port/database#prefix`
fn redis(rest: &str, tls: bool) -> Result<DriverUrl, String> {
    let parts = Parts::split(rest)?;
    if !parts.query.is_empty() {
        return Err("a redis URL has no query; a `?` in a password is written as %3F".to_owned());
    }
    let (host, port) = host_and_port(parts.host)?;
    let server = RedisServer {
        address: RedisAddress::Tcp { host, port, tls },
        username: parts.username,
        password: parts.password,
        database: database(parts.path.trim_start_matches('/'))?,
    };
    Ok(DriverUrl::Redis(server, parts.fragment.to_owned()))
}

/// `//user:password@/path?db=1#prefix`
fn unix(rest: &str) -> Result<DriverUrl, String> {
    let parts = Parts::split(rest)?;
    if !parts.host.is_empty() || parts.path.len() < 2 {
        return Err(
            "a UNIX socket needs an absolute path, such as unix:/run/redis.sock".to_owned(),
        );
    }
    let mut server = RedisServer {
        address: RedisAddress::Unix(decode(parts.path)?.into()),
        username: parts.username,
        password: parts.password,
        database: 0,
    };
    for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", number)) => server.database = database(number)?,
            Some(("user", name)) => server.username = Some(decode(name)?),
            Some(("pass", password)) => server.password = Some(Secret(decode(password)?)),
            _ => return Err("the query may only hold db=, user= and pass=".to_owned()),
        }
    }
    Ok(DriverUrl::Redis(server, parts.fragment.to_owned()))
}

/// `/path`, `///path` or `relative/path`
fn file(rest: &str) -> Result<DriverUrl, String> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => {
            return Err("a file is on this host: expected file:/path or file:path".to_owned());
        }
        None => rest,
    };
    if path.is_empty() {
        return Err("the path of the file is missing, such as file:routes.json".to_owned());
    }
    Ok(DriverUrl::File(path.into()))
}

/// The parts of a URL behind its scheme.
struct Parts<'a> {
    username: Option<String>,
    password: Option<Secret>,
    host: &'a str,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn split(rest: &'a str) -> Result<Self, String> {
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        if !path.is_empty() && !path.starts_with('/') {
            return Err("two slashes are missing before the host".to_owned());
        }
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (username, password) = login.split_once(':').unwrap_or((login, ""));
        let given = |text: &str| (!text.is_empty()).then(|| decode(text)).transpose();
        Ok(Self {
            username: given(username)?,
            password: given(password)?.map(Secret),
            host,
            path,
            query,
            fragment,
        })
    }
}

/// `host:port`, `[::1]:port`, each part optional.
fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest
            .split_once(']')
            .ok_or("the bracket before the host is not closed")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("the host in brackets is no IPv6 address".to_owned());
        }
        (host, port)
    } else {
        text.split_at(text.find(':').unwrap_or(text.len()))
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => REDIS_PORT,
        Some("") => REDIS_PORT,
        Some(digits) => parse_port(digits)?,
        None => return Err("between host and port a colon is expected".to_owned()),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok((host.to_owned(), port))
}

fn parse_port(digits: &str) -> Result<u16, String> {
    match digits.parse() {
        Ok(port @ 1..) => Ok(port),
        _ if digits.contains(':') => Err("an IPv6 host stands in brackets, as [::1]".to_owned()),
        _ => Err("the port of the Redis is not in 1–65535".to_owned()),
    }
}

fn database(number: &str) -> Result<i64, String> {
    if number.is_empty() {
        return Ok(0);
    }
    // Redis counts its databases in an int.
    let parsed = number.parse::<i32>().ok().filter(|database| *database >= 0);
    parsed
        .map(i64::from)
        .ok_or_else(|| format!("the database is not in 0–{}", i32::MAX))
}

/// Replaces `%41` by `A` (RFC 3986 §2.1).
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend(pieces.next().unwrap_or_default().bytes());
    for piece in pieces {
        let digits = piece
            .get(..2)
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a % is not followed by two hexadecimal digits; itself it is %25")?);
        bytes.extend(piece.bytes().skip(2));
    }
    String::from_utf8(bytes).map_err(|_| "percent-encoded bytes are not UTF-8".to_owned())
}

#[cfg(test)]
mod tests;
