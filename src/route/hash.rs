//! Hashes that a store keeps beside the routes of a host: its certificate, its options.
//!
//! Looked up by the host itself and then by the wildcard one label up, as clients understand
//! wildcards (RFC 6125 §6.4.3).

use std::pin::Pin;
use std::rc::Rc;

/// Fields of a hash that were asked for, in that order; `None` for one that it has not.
pub(crate) type Fields = Vec<Option<Vec<u8>>>;

/// The wait for the hashes of a host. Dropping it loses the answer and nothing else.
pub(super) type Pending<'a> = Pin<Box<dyn Future<Output = Result<Option<Fields>, Rc<str>>> + 'a>>;

/// What is asked of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash {
    /// What stands before the host in the key, with its colon.
    pub(crate) prefix: &'static str,
    /// The fields wanted.
    pub(crate) fields: &'static [&'static str],
}

/// The names that a host's hash may stand under, the first that is there wins: at most two.
pub(super) fn names(host: &str) -> impl Iterator<Item = String> {
    let exact = (!host.is_empty()).then(|| host.to_owned());
    // An address in brackets may have dots, and no parent.
    let parent = host.split_once('.').map(|(_, parent)| parent);
    let wildcard = parent.filter(|parent| !parent.is_empty() && !host.starts_with('['));
    exact
        .into_iter()
        .chain(wildcard.map(|parent| format!("*.{parent}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_looked_up_by_itself_and_by_its_wildcard() {
        let cases: [(&str, &[&str]); 5] = [
            ("a.b.test", &["a.b.test", "*.b.test"]),
            ("b.test", &["b.test", "*.test"]),
            ("localhost", &["localhost"]),
            ("[::ffff:1.2.3.4]", &["[::ffff:1.2.3.4]"]),
            ("", &[]),
        ];
        for (host, expected) in cases {
            let found: Vec<String> = names(host).collect();
            assert_eq!(found, expected, "{host}");
        }
    }
}
