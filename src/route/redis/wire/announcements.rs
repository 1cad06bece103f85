//! What is said on the channel about a dead backend. Pure.

use super::parse_index;
use crate::vhost::{Backend, BackendId, Host};

/// The text of an announcement: `HOST;URL;NUMBER;LENGTH`.
pub(in super::super) fn announcement(
    host: &Host,
    backend: &Backend,
    id: BackendId,
    length: usize,
) -> String {
    format!("{host};{};{id};{length}", backend.url)
}

/// Who an announcement is about; `None` when it is no announcement or about no host of ours.
pub(in super::super) fn parse_announcement(text: &[u8]) -> Option<(Host, Backend, BackendId)> {
    let text = std::str::from_utf8(text).ok()?;
    // From the right: a URL may contain anything, a host no semicolon.
    let mut fields = text.rsplitn(3, ';');
    let (_length, id, rest) = (fields.next()?, fields.next()?, fields.next()?);
    let (name, url) = rest.split_once(';')?;
    let host = Host::parse(name.as_bytes()).ok()?;
    if host.as_str() != name {
        return None;
    }
    Some((host, Backend::parse(url).ok()?, parse_index(id.as_bytes())?))
}
