//! The header rules of an intermediary (RFC 9110 §7.6, RFC 9112). Pure.
//!
//! What comes in is cleaned before it goes out: fields that are meant for one connection stay on
//! it, and the forwarded fields say what we know, or what a trusted proxy before us said. A client
//! can neither make us drop a field that others rely on nor pass off an address as its own.

mod forwarding;
mod framing;
mod present;
mod target;

use std::net::IpAddr;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, DATE, EXPECT, FORWARDED, HOST, LOCATION, MAX_FORWARDS,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, VARY, VIA, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::fields::members;
use forwarding::{FIELDS, X_REAL_IP};
pub(crate) use forwarding::{Forwarding, is_told_https};
pub(crate) use framing::{is_only_chunked, settle_length};
pub(crate) use present::{Field, Present};
pub(crate) use target::{RepeatedHost, host_of, origin_form, written_target};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Fields for one connection only, and those of a request for the next proxy that asks for them
/// (RFC 9110 §11.7.2). We never ask, and backends are no proxies. The last goes with `Upgrade: h2c`
/// (RFC 9113 §3.1), which is obsolete.
static DROPPED_FROM_REQUESTS: [(Field, HeaderName); 7] = [
    (Field::Connection, CONNECTION),
    (Field::KeepAlive, KEEP_ALIVE),
    (Field::ProxyConnection, PROXY_CONNECTION),
    (Field::Te, TE),
    (Field::Upgrade, UPGRADE),
    (Field::ProxyAuthorization, PROXY_AUTHORIZATION),
    (Field::Http2Settings, HTTP2_SETTINGS),
];

/// The same of a response. RFC 9110 §11.7.1 and §11.7.3: the last two apply to the next client on
/// the way only, and towards the backend that is us. Passed on, a client would send us credentials
/// that go nowhere.
static DROPPED_FROM_RESPONSES: [(Field, HeaderName); 7] = [
    (Field::Connection, CONNECTION),
    (Field::KeepAlive, KEEP_ALIVE),
    (Field::ProxyConnection, PROXY_CONNECTION),
    (Field::Te, TE),
    (Field::Upgrade, UPGRADE),
    (Field::ProxyAuthenticate, PROXY_AUTHENTICATE),
    (Field::ProxyAuthenticationInfo, PROXY_AUTHENTICATION_INFO),
];

/// Fields meant for every recipient, which `Connection` must not name (RFC 9110 §7.6.1) and cannot
/// take away here: a client behind a trusted proxy would choose what its backend gets to know.
/// The forwarded fields belong to them.
static END_TO_END: [HeaderName; 21] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPECT,
    FORWARDED,
    HOST,
    LOCATION,
    MAX_FORWARDS,
    RANGE,
    SET_COOKIE,
    TRAILER,
    TRANSFER_ENCODING,
    VARY,
    VIA,
    WWW_AUTHENTICATE,
    HeaderName::from_static("x-debug"),
];

/// Makes the headers of a request fit for the backend; whether all forwarded fields are to be sent
/// beside them. `upgrade`: it asks for a protocol that is passed on, see [`upgrade_of`].
pub(crate) fn prepare_request(
    headers: &mut HeaderMap,
    present: Present,
    forwarding: &Forwarding,
    upgrade: bool,
) -> bool {
    let takes_trailers = !upgrade && present.has(Field::Te) && takes_trailers(headers);
    remove_hop_by_hop(headers, present, &DROPPED_FROM_REQUESTS, upgrade);
    if takes_trailers {
        // RFC 9110 §10.1.4: trailers are forwarded here, so the wish for them is, too; a sender of
        // TE must name it in Connection.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if present.has(Field::Cookie) {
        join_cookies(headers);
    }
    forwarding.settle(headers)
}

/// Makes the headers of a response fit for the client. `upgrade`: its `Upgrade` field counts, as in
/// a 101 to a passed-on upgrade, or a 426, which must have one (RFC 9110 §15.5.22).
pub(crate) fn prepare_response(headers: &mut HeaderMap, upgrade: bool) {
    remove_hop_by_hop(
        headers,
        Present::of(headers),
        &DROPPED_FROM_RESPONSES,
        upgrade,
    );
}

/// The protocols that a request asks for, where they can be passed on.
///
/// RFC 9110 §7.8 wants `Connection: upgrade`, the original only `Upgrade: websocket`: either will
/// do. Requests that ask for nothing but `h2c` ask for nothing (RFC 9113 §3.1). The caller sees to
/// it that an HTTP/1.0 request is not asked (RFC 9110 §7.8).
pub(crate) fn upgrade_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let is_named = || lists(headers, &CONNECTION, b"upgrade");
    let is_websocket = |token: &[u8]| token.eq_ignore_ascii_case(b"websocket");
    headers
        .get_all(UPGRADE)
        .iter()
        .find(|value| members(value).any(is_passed_on))
        .filter(|value| members(value).any(is_websocket) || is_named())
}

/// The address that a request is logged under: what `X-Real-IP` says, if a trusted proxy told it, or
/// the peer. IPv4 in its plain form.
pub(crate) fn effective_client(headers: &HeaderMap, peer: IpAddr, is_told: bool) -> IpAddr {
    if !is_told {
        return peer.to_canonical();
    }
    let told = headers.get(X_REAL_IP);
    told.and_then(|value| value.to_str().ok())
        .map(str::trim)
        .map(|text| {
            let inner = text
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'));
            inner.unwrap_or(text)
        })
        .and_then(|text| text.parse().ok())
        .unwrap_or(peer)
        .to_canonical()
}

/// Whether a method may be repeated without a further effect (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Whether the client waits for a `100 Continue` before it sends its body. RFC 9110 §10.1.1: the
/// value is case-insensitive, and in an HTTP/1.0 request it must be ignored.
pub(crate) fn expects_continue(headers: &HeaderMap, version: Version) -> bool {
    version >= Version::HTTP_11 && lists(headers, &EXPECT, b"100-continue")
}

/// Removes what is meant for one connection only (RFC 9110 §7.6.1).
fn remove_hop_by_hop(
    headers: &mut HeaderMap,
    present: Present,
    dropped: &[(Field, HeaderName)],
    upgrade: bool,
) {
    let protocols = if upgrade { passed_on(headers) } else { None };
    if present.has(Field::Connection) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    // RFC 9112 §6.3: Transfer-Encoding overrides Content-Length, which must not be forwarded then.
    // The body is framed anew: the coding itself ends here.
    if present.has(Field::TransferEncoding) {
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH);
    }
    for (_, name) in dropped.iter().filter(|(field, _)| present.has(*field)) {
        headers.remove(name);
    }
    if let Some(protocols) = protocols {
        // RFC 9110 §7.8: a sender of Upgrade must name it in Connection.
        headers.insert(UPGRADE, protocols);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// The fields named in any `Connection` line, as far as they may be taken away. Those that are
/// removed anyway are not listed, so that the common case allocates nothing.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let usual: [&[u8]; 4] = [b"keep-alive", b"close", b"upgrade", b"te"];
    let is_usual = |token: &[u8]| usual.iter().any(|usual| token.eq_ignore_ascii_case(usual));
    let mut names = Vec::new();
    for line in headers.get_all(CONNECTION) {
        // Most lines are one such word.
        if is_usual(line.as_bytes()) {
            continue;
        }
        let unusual = members(line).filter(|token| !is_usual(token));
        // What is no field name names no field.
        let named = unusual.filter_map(|token| HeaderName::from_bytes(token).ok());
        names.extend(named.filter(|name| !END_TO_END.contains(name) && !FIELDS.contains(name)));
    }
    names
}

/// Whether the client takes trailers: the member `trailers` of `TE` (RFC 9110 §10.1.4).
fn takes_trailers(headers: &HeaderMap) -> bool {
    lists(headers, &TE, b"trailers")
}

/// All protocols of all `Upgrade` lines but those that are not passed on, as one value.
fn passed_on(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(UPGRADE).iter();
    let first = lines.next()?;
    if lines.next().is_none() && members(first).all(is_passed_on) {
        return Some(first.clone()).filter(|value| !value.is_empty());
    }
    let all = headers.get_all(UPGRADE).iter().flat_map(members);
    let kept: Vec<&[u8]> = all.filter(|token| is_passed_on(token)).collect();
    let joined = HeaderValue::from_bytes(&kept.join(&b", "[..])).ok()?;
    Some(joined).filter(|value| !value.is_empty())
}

/// RFC 9113 §3.1: `h2c` in `Upgrade` is obsolete, and what a backend made of it would be HTTP/2 in
/// a tunnel that nobody looks into.
fn is_passed_on(token: &[u8]) -> bool {
    !token.eq_ignore_ascii_case(b"h2c")
}

/// One line for all cookies: HTTP/1.1 allows one only (RFC 6265 §5.4), and pairs are separated by
/// `; ` (RFC 9113 §8.2.3), not by the comma that other fields would be joined with.
fn join_cookies(headers: &mut HeaderMap) {
    let lines = headers.get_all(COOKIE);
    if lines.iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Whether a list field has this member, in any of its lines and in any case.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, member: &[u8]) -> bool {
    let mut members = headers.get_all(name).iter().flat_map(members);
    members.any(|token| token.eq_ignore_ascii_case(member))
}

#[cfg(test)]
mod tests;
