//! Which keys a host is looked up by, in order. Pure.
//!
//! Order of the original (`lib/cache.js`): the exact name, wildcards from long to short, then `*`.
//! The first list that is not empty wins, so one with an identifier alone hides those after it.

use std::fmt;

use crate::vhost::Host;

/// Labels of a wildcard's suffix, at most. The original cuts a name to its last six labels before
/// it makes wildcards of it.
pub(super) const SUFFIX_LABELS: usize = 5;

/// One key that a host is looked up by, without `frontend:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// The host itself.
    Exact(&'a str),
    /// `*.` and this suffix.
    Wildcard(&'a str),
    /// `*`.
    Any,
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => {
                f.write_str("*.")?;
                f.write_str(suffix)
            }
            Self::Any => f.write_str("*"),
        }
    }
}

/// The keys of a host, in the order in which the first list that is not empty wins: at most
/// seven. The empty host asks for `*` alone, an address in brackets for itself and `*`.
pub(super) fn keys(host: &Host) -> impl Iterator<Item = Key<'_>> {
    let name = host.as_str();
    let exact = (!name.is_empty()).then_some(Key::Exact(name));
    let dotted = if name.starts_with('[') { "" } else { name };
    exact
        .into_iter()
        .chain(suffixes(dotted).map(Key::Wildcard))
        .chain(std::iter::once(Key::Any))
}

/// The proper suffixes of a name that start at a label, from long to short.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let dots = name.bytes().filter(|byte| *byte == b'.').count();
    name.match_indices('.')
        .skip(dots.saturating_sub(SUFFIX_LABELS))
        .map(|(dot, _)| &name[dot + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_looked_up_by_these_keys() {
        let cases: [(&str, &[&str]); 9] = [
            ("", &["*"]),
            ("localhost", &["localhost", "*"]),
            ("a.test", &["a.test", "*.test", "*"]),
            ("foo.bar", &["foo.bar", "*.bar", "*"]),
            ("[::ffff:1.2.3.4]", &["[::ffff:1.2.3.4]", "*"]),
            ("127.0.0.1", &["127.0.0.1", "*.0.0.1", "*.0.1", "*.1", "*"]),
            // Six labels: five wildcards.
            (
                "a.b.c.d.e.f",
                &[
                    "a.b.c.d.e.f",
                    "*.b.c.d.e.f",
                    "*.c.d.e.f",
                    "*.d.e.f",
                    "*.e.f",
                    "*.f",
                    "*",
                ],
            ),
            // Seven: the suffix of six is not asked for.
            (
                "a.b.c.d.e.f.g",
                &[
                    "a.b.c.d.e.f.g",
                    "*.c.d.e.f.g",
                    "*.d.e.f.g",
                    "*.e.f.g",
                    "*.f.g",
                    "*.g",
                    "*",
                ],
            ),
            (
                "a.b.c.d.e.f.g.h.example.com",
                &[
                    "a.b.c.d.e.f.g.h.example.com",
                    "*.f.g.h.example.com",
                    "*.g.h.example.com",
                    "*.h.example.com",
                    "*.example.com",
                    "*.com",
                    "*",
                ],
            ),
        ];
        for (name, expected) in cases {
            let host = Host::parse(name.as_bytes()).unwrap();
            let found: Vec<String> = keys(&host).map(|key| key.to_string()).collect();
            assert_eq!(found, expected, "{name:?}");
        }
    }
}
