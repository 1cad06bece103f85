//! What a log does not show: secrets in targets, `Referer`, cookies and headers, by name.
//!
//! Everything that a peer wrote passes through a [`Veil`] on its way into a line. It only leaves
//! bytes out or puts `REDACTED` in their place; where nothing is secret, every byte stays.

use http::HeaderName;
use http::header::COOKIE;

use super::login;
use super::text::append_escaped;
use crate::config::{Escape, Masks};

/// Stands for what is masked, as in OpenTelemetry's conventions.
const REDACTED: &[u8] = b"REDACTED";

/// Masks and escapes what it writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Veil<'a> {
    pub(super) masks: &'a Masks,
    pub(super) escape: Escape,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    Show,
    Mask,
    Drop,
}

impl Veil<'_> {
    /// What nobody calls secret.
    pub(super) fn plain(self, out: &mut Vec<u8>, bytes: &[u8]) {
        append_escaped(out, bytes, self.escape);
    }

    /// A request target or URL.
    pub(super) fn url(self, out: &mut Vec<u8>, url: &[u8]) {
        let (before, query) = split_query(url);
        self.place(out, before);
        if let Some(query) = query {
            self.query(out, b"?", query);
        }
    }

    /// The parameters of a query, what leads them in, if any is left, and the fragment of a URL.
    pub(super) fn query(self, out: &mut Vec<u8>, mut lead: &[u8], query: &[u8]) {
        let end = query.iter().position(|&byte| byte == b'#');
        let (query, fragment) = query.split_at(end.unwrap_or(query.len()));
        for part in query.split(|&byte| byte == b'&') {
            let (name, value) = split_at_equals(part);
            let treatment = self.parameter(name);
            if treatment == Treatment::Drop {
                continue;
            }
            out.extend_from_slice(lead);
            lead = b"&";
            match value {
                Some(_) if treatment == Treatment::Mask => {
                    self.plain(out, name);
                    out.push(b'=');
                    out.extend_from_slice(REDACTED);
                }
                _ => self.plain(out, part),
            }
        }
        self.plain(out, fragment);
    }

    /// The value of a query parameter, whether there is one. As in nginx, case does not matter.
    pub(super) fn argument(self, out: &mut Vec<u8>, target: &[u8], wanted: &str) -> bool {
        let (_, query) = split_query(target);
        let parts = query.unwrap_or_default().split(|&byte| byte == b'&');
        let mut found = parts.map(split_at_equals);
        match found.find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())) {
            Some((name, Some(value))) => self.treated(out, value, self.parameter(name)),
            _ => false,
        }
    }

    /// A header; whether it is there.
    pub(super) fn header(self, out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) -> bool {
        match self.of_header(name) {
            Treatment::Show if *name == COOKIE => self.cookies(out, value),
            treatment => self.treated(out, value, treatment),
        }
    }

    /// `Referer`, which is a URL.
    pub(super) fn referer(self, out: &mut Vec<u8>, value: &[u8]) -> bool {
        match self.of_header(&http::header::REFERER) {
            Treatment::Show => self.url(out, value),
            Treatment::Mask => out.extend_from_slice(REDACTED),
            Treatment::Drop => return false,
        }
        true
    }

    /// One cookie of a `Cookie` header (RFC 6265 §4.2); whether it is there.
    pub(super) fn cookie(self, out: &mut Vec<u8>, header: &[u8], wanted: &str) -> bool {
        let mut found = cookies(header).map(split_at_equals);
        match found.find(|(name, _)| *name == wanted.as_bytes()) {
            Some((name, Some(value))) => {
                let of_all = self.of_header(&COOKIE);
                let treatment = if of_all == Treatment::Show {
                    self.of_cookie(name)
                } else {
                    of_all
                };
                self.treated(out, value, treatment)
            }
            _ => false,
        }
    }

    /// The user of a `Basic` login (RFC 7617 §2); whether there is one. Never the password.
    pub(super) fn user(self, out: &mut Vec<u8>, authorization: &[u8]) -> bool {
        if self.of_header(&http::header::AUTHORIZATION) == Treatment::Drop {
            return false;
        }
        let Some((scheme, login)) = authorization.split_at_checked(6) else {
            return false;
        };
        let start = out.len();
        if scheme.eq_ignore_ascii_case(b"basic ")
            && login::append_user(out, login.trim_ascii(), self)
        {
            return true;
        }
        out.truncate(start);
        false
    }

    /// What stands before the query, without a login.
    fn place(self, out: &mut Vec<u8>, place: &[u8]) {
        if place.starts_with(b"/") || !self.masks.credentials {
            return self.plain(out, place);
        }
        let scheme = place.windows(3).position(|window| window == b"://");
        let (scheme, rest) = place.split_at(scheme.map_or(0, |at| at + 3));
        let end = rest.iter().position(|&byte| byte == b'/');
        let (authority, _) = rest.split_at(end.unwrap_or(rest.len()));
        let Some(at) = authority.iter().rposition(|&byte| byte == b'@') else {
            return self.plain(out, place);
        };
        // Without a scheme it is a login only in the form of an authority, `user:password@host:port`
        // (RFC 9112 §3.2.3): a `Referer` may be any text.
        if scheme.is_empty() && !(authority[..at].contains(&b':') && ends_in_port(&rest[at..])) {
            return self.plain(out, place);
        }
        self.plain(out, scheme);
        out.extend_from_slice(REDACTED);
        if authority[..at].contains(&b':') {
            out.push(b':');
            out.extend_from_slice(REDACTED);
        }
        self.plain(out, &rest[at..]);
    }

    fn cookies(self, out: &mut Vec<u8>, header: &[u8]) -> bool {
        let mut lead: &[u8] = b"";
        for cookie in cookies(header) {
            let (name, value) = split_at_equals(cookie);
            let treatment = self.of_cookie(name);
            if treatment == Treatment::Drop {
                continue;
            }
            out.extend_from_slice(lead);
            lead = b"; ";
            match value {
                Some(_) if treatment == Treatment::Mask => {
                    self.plain(out, name);
                    out.push(b'=');
                    out.extend_from_slice(REDACTED);
                }
                _ => self.plain(out, cookie),
            }
        }
        true
    }

    fn treated(self, out: &mut Vec<u8>, value: &[u8], treatment: Treatment) -> bool {
        match treatment {
            Treatment::Show => self.plain(out, value),
            Treatment::Mask => out.extend_from_slice(REDACTED),
            Treatment::Drop => return false,
        }
        true
    }

    fn parameter(self, name: &[u8]) -> Treatment {
        let is_it = |known: &String| is_encoded(name, known.as_bytes());
        let Masks { mask, drop, .. } = self.masks;
        treatment(drop.query.any(is_it), || mask.query.any(is_it))
    }

    fn of_cookie(self, name: &[u8]) -> Treatment {
        let is_it = |known: &String| known.as_bytes() == name;
        let Masks { mask, drop, .. } = self.masks;
        treatment(drop.cookies.any(is_it), || mask.cookies.any(is_it))
    }

    fn of_header(self, name: &HeaderName) -> Treatment {
        let is_it = |known: &HeaderName| known == name;
        let Masks { mask, drop, .. } = self.masks;
        treatment(drop.headers.any(is_it), || mask.headers.any(is_it))
    }

    /// `User-Agent`; whether it is there.
    pub(super) fn agent(self, out: &mut Vec<u8>, value: &[u8]) -> bool {
        self.treated(out, value, self.of_header(&http::header::USER_AGENT))
    }
}

fn treatment(is_dropped: bool, is_masked: impl FnOnce() -> bool) -> Treatment {
    if is_dropped {
        Treatment::Drop
    } else if is_masked() {
        Treatment::Mask
    } else {
        Treatment::Show
    }
}

fn ends_in_port(place: &[u8]) -> bool {
    let mut parts = place.rsplit(|&byte| byte == b':');
    let port = parts.next().unwrap_or_default();
    !port.is_empty() && port.iter().all(u8::is_ascii_digit) && parts.next().is_some()
}

/// What stands before the first question mark, and after it.
pub(super) fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|&byte| byte == b'?') {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

fn split_at_equals(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    match part.iter().position(|&byte| byte == b'=') {
        Some(at) => (&part[..at], Some(&part[at + 1..])),
        None => (part, None),
    }
}

fn cookies(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    header.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

/// Whether these bytes are this name, perhaps percent-encoded: a server decodes it, and a secret
/// must not be shown for how it is spelt (RFC 3986 §6.2.2.2).
fn is_encoded(mut bytes: &[u8], name: &[u8]) -> bool {
    for &expected in name {
        let (found, rest) = match *bytes {
            [b'%', high, low, ref rest @ ..] => match hex(high).zip(hex(low)) {
                Some((high, low)) => (high << 4 | low, rest),
                None => (b'%', &bytes[1..]),
            },
            [byte, ref rest @ ..] => (byte, rest),
            [] => return false,
        };
        if found != expected {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| value.try_into().ok())
}

#[cfg(test)]
mod tests;
