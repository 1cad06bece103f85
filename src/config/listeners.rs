//! The addresses to listen on, in all the forms in which they can be written.
//!
//! An entry of `bind` is an address, or an object that overrides what its section says for all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::file::{Admin as WrittenAdmin, AdminListener, Http as WrittenHttp, HttpListener};
use super::findings::Findings;
use super::forms::{Bind, OneOrMany};
use super::values::{Address, Range};
use super::written::Written;
use super::{Admin, Http};

/// Loopback, and the ranges of RFC 1918 and RFC 4193: there stands the outer proxy.
pub(super) fn default_trusted() -> Vec<IpNet> {
    [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    ]
    .iter()
    .filter_map(|range| range.parse().ok())
    .collect()
}

/// Listeners for plain HTTP.
pub(super) fn http(written: WrittenHttp, findings: &mut Findings) -> Http {
    let port = written.port.right().map_or(80, |port| port.0);
    let is_proxied = written.proxy_protocol.right().unwrap_or(false);
    let binds = match written.bind.right() {
        None => vec![(
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            is_proxied,
        )],
        Some(binds) => http_binds(binds, (port, is_proxied), findings),
    };
    let ranges = |written: Written<OneOrMany<Range>>| {
        let ranges = written.right()?.right().into_iter();
        Some(ranges.map(|range| range.0).collect())
    };
    let trusted_proxies = ranges(written.trusted_proxies).unwrap_or_else(default_trusted);
    let from = ranges(written.proxy_protocol_from);
    let proxied = binds.iter().filter(|(_, is_proxied)| *is_proxied);
    Http {
        proxy_protocol: proxied.map(|(address, _)| *address).collect(),
        proxy_protocol_from: from.unwrap_or_else(|| trusted_proxies.clone()),
        bind: binds.into_iter().map(|(address, _)| address).collect(),
        h2c: written.h2c.right().unwrap_or(false),
        trusted_proxies,
    }
}

/// Vhosts with metrics of their own.
const VHOSTS: usize = 100;
/// The same at most: the bound of what a scrape may grow to.
const MAX_VHOSTS: u32 = 1_000;

/// What a file without a word means for the admin listener: there is none.
pub(super) fn admin_default() -> Admin {
    Admin {
        bind: Vec::new(),
        vhosts: VHOSTS,
    }
}

/// The admin listener.
pub(super) fn admin(written: WrittenAdmin, findings: &mut Findings) -> Admin {
    let port = written.port.right().map_or(9180, |port| port.0);
    let binds = written.bind.right();
    let bind = binds.map_or_else(Vec::new, |binds| admin_binds(binds, port, findings));
    let vhosts = match written.vhosts.right().map(|vhosts| vhosts.0) {
        None => VHOSTS,
        Some(vhosts @ ..=MAX_VHOSTS) => vhosts as usize,
        Some(vhosts) => {
            let text = format_args!("{vhosts} is not in 0–{MAX_VHOSTS}");
            findings.error("admin.vhosts", text);
            VHOSTS
        }
    };
    Admin { bind, vhosts }
}

/// Each address, and whether its connections begin with a PROXY header.
fn http_binds(
    binds: OneOrMany<Bind<HttpListener>>,
    (port, is_proxied): (u16, bool),
    findings: &mut Findings,
) -> Vec<(SocketAddr, bool)> {
    let mut addresses = Vec::new();
    for (path, bind) in with_paths("http.bind", binds) {
        let listener = match bind {
            Bind::Address(address) => HttpListener {
                address: Written::Right(address),
                ..HttpListener::default()
            },
            Bind::Listener(listener) => *listener,
        };
        let port = listener.port.right().map_or(port, |port| port.0);
        let is_proxied = listener.proxy_protocol.right().unwrap_or(is_proxied);
        let address = address(&listener.address, &path, findings);
        addresses.extend(address.map(|address| (SocketAddr::new(address, port), is_proxied)));
    }
    addresses
}

fn admin_binds(
    binds: OneOrMany<Bind<AdminListener>>,
    port: u16,
    findings: &mut Findings,
) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for (path, bind) in with_paths("admin.bind", binds) {
        let (written, port) = match bind {
            Bind::Address(address) => (Written::Right(address), port),
            Bind::Listener(listener) => {
                let port = listener.port.right().map_or(port, |port| port.0);
                (listener.address, port)
            }
        };
        let address = address(&written, &path, findings);
        addresses.extend(address.map(|address| SocketAddr::new(address, port)));
    }
    addresses
}

/// Each entry with the path that names it.
pub(super) fn with_paths<T>(path: &str, entries: OneOrMany<T>) -> Vec<(String, T)> {
    match entries {
        OneOrMany::One(one) => vec![(path.to_owned(), one)],
        OneOrMany::Many(many) => many
            .into_iter()
            .enumerate()
            .filter_map(|(index, entry)| Some((format!("{path}[{index}]"), entry.right()?)))
            .collect(),
    }
}

/// The address of an entry, which must be there.
pub(super) fn address(
    written: &Written<Address>,
    path: &str,
    findings: &mut Findings,
) -> Option<IpAddr> {
    if written.is_absent() {
        findings.error(
            path,
            "the address is missing, expected {\"address\": IP, \"port\": PORT}",
        );
    }
    written.as_ref().map(|address| address.0)
}

#[cfg(test)]
mod tests;
