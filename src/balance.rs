//! Choosing one live, untried backend. No I/O, no clock.

use std::rc::Rc;

use crate::vhost::{Backend, BackendId, Entry, Frontend};

/// Ids held without an allocation.
const INLINE: usize = u64::BITS as usize;

/// A set of backends by id: the dead ones, or those already tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendSet {
    /// Ids below [`INLINE`]: nearly every frontend has no others.
    first: u64,
    /// The others, [`INLINE`] to a word; its last word is never 0, so that equal sets are equal.
    more: Vec<u64>,
}

impl BackendSet {
    /// Adds a backend.
    pub fn insert(&mut self, id: BackendId) {
        match id.checked_sub(INLINE) {
            None => self.first |= 1 << id,
            Some(rest) => {
                let word = rest / INLINE;
                if self.more.len() <= word {
                    self.more.resize(word + 1, 0);
                }
                self.more[word] |= 1 << (rest % INLINE);
            }
        }
    }

    /// Whether the backend is in it.
    #[must_use]
    pub fn contains(&self, id: BackendId) -> bool {
        match id.checked_sub(INLINE) {
            None => self.first & (1 << id) != 0,
            Some(rest) => self
                .more
                .get(rest / INLINE)
                .is_some_and(|word| word & (1 << (rest % INLINE)) != 0),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first == 0 && self.more.is_empty()
    }
}

/// What a pick found.
#[derive(Clone, Debug)]
pub enum Pick {
    /// This one.
    Backend(BackendId, Rc<Backend>),
    /// The frontend has no backend, or all are dead or tried.
    NoneLeft,
    /// What is left are entries that are no URL.
    Invalid,
}

/// Picks one of those that are neither dead nor tried, each with the same chance.
/// `draw(n)` gives a number below `n`.
pub fn pick(
    frontend: &Frontend,
    dead: &BackendSet,
    tried: &BackendSet,
    draw: impl FnOnce(usize) -> usize,
) -> Pick {
    let left = || {
        let all = frontend.backends.iter().enumerate();
        all.filter(|(id, _)| !dead.contains(*id) && !tried.contains(*id))
    };
    // Two walks over the list in place of collecting it: the common list is short.
    let mut valid = left().filter_map(|(id, entry)| match entry {
        Entry::Backend(backend) => Some((id, backend)),
        Entry::Invalid(_) => None,
    });
    let chosen = match valid.clone().count() {
        0 => None,
        1 => valid.next(),
        count => valid.nth(draw(count)),
    };
    match chosen {
        Some((id, backend)) => Pick::Backend(id, Rc::clone(backend)),
        None if left().next().is_some() => Pick::Invalid,
        None => Pick::NoneLeft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontend(backends: &[&str]) -> Frontend {
        let list = std::iter::once("id").chain(backends.iter().copied());
        Frontend::from_list("a.test", list).unwrap()
    }

    fn set(ids: &[BackendId]) -> BackendSet {
        let mut set = BackendSet::default();
        for id in ids {
            set.insert(*id);
        }
        set
    }

    #[test]
    fn a_set_holds_what_was_inserted() {
        for id in [0, 1, 63, 64, 65, 127, 128, 4000] {
            let set = set(&[id]);
            assert!(!set.is_empty(), "{id}");
            for other in [0, 1, 62, 63, 64, 65, 127, 128, 129, 3999, 4000, 4001] {
                assert_eq!(set.contains(other), other == id, "{other} in {{{id}}}");
            }
        }
        assert!(set(&[]).is_empty());
        assert_eq!(set(&[70, 3]), set(&[3, 70, 70]));
        assert!(!set(&[]).contains(usize::MAX));
    }

    #[test]
    fn picks_among_what_is_left() {
        // List, dead, tried: what is picked.
        let cases = [
            ("", "", "", "none"),
            ("http://a", "", "", "0"),
            ("http://a http://b", "0", "", "1"),
            ("http://a http://b", "", "0", "1"),
            ("http://a http://b", "0 1", "", "none"),
            ("http://a http://b", "0", "1", "none"),
            ("nonsense http://b", "", "", "1"),
            ("nonsense http://b", "1", "", "invalid"),
            ("nonsense http://b", "1", "0", "none"),
            ("http://a", "7 99", "", "0"),
        ];
        let ids = |text: &str| {
            let ids = text.split_whitespace().map(|id| id.parse().unwrap());
            set(&ids.collect::<Vec<_>>())
        };
        for (list, dead, tried, expected) in cases {
            let backends: Vec<&str> = list.split_whitespace().collect();
            let found = pick(&frontend(&backends), &ids(dead), &ids(tried), |n| n - 1);
            let found = match found {
                Pick::Backend(id, _) => id.to_string(),
                Pick::NoneLeft => "none".to_owned(),
                Pick::Invalid => "invalid".to_owned(),
            };
            assert_eq!(found, expected, "{list:?}, dead {dead:?}, tried {tried:?}");
        }
    }

    #[test]
    fn every_live_backend_has_the_same_chance() {
        let urls: Vec<String> = (0..80).map(|n| format!("http://10.0.0.{n}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let (dead, tried) = (set(&[3, 64]), set(&[5]));
        let (list, mut seen) = (frontend(&urls), [0_u32; 80]);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..77_000 {
            match pick(&list, &dead, &tried, |n| random.usize(..n)) {
                Pick::Backend(id, _) => seen[id] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((seen[3], seen[64], seen[5]), (0, 0, 0));
        let live = seen.iter().filter(|count| **count > 0);
        let squares: f64 = live
            .map(|n| (f64::from(*n) - 1000.0).powi(2) / 1000.0)
            .sum();
        // 76 degrees of freedom: above 120 happens once in a thousand seeds, and the seed is fixed.
        assert!(squares < 120.0, "chi-square {squares}");
    }
}
