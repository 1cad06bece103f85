//! Certificates of single vhosts: from a directory, from Redis.
//!
//! Asked with every handshake, so a changed certificate is shown in the very next one; what was
//! parsed once is kept as long as its bytes stay the same. Names without a certificate are kept for
//! a moment, because random names are the cheapest attack on whoever looks them up. Never more than
//! a fixed number of names; what cannot be used is told, and hurts nobody but its own name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::chosen::Chosen;
use super::directory::{CertificateDirectory, Fetched, MAX_BYTES, Stamp, too_large};
use super::loans::Loans;
use crate::credentials::{Credentials, CredentialsError};
use crate::route::{Fields, Hash, Router};
use crate::scoreboard::{Counter, Gauge, Seat};
use crate::telemetry::{Event, emit};

/// The hash of a host's certificate, as planb keeps it; the second pair for another kind of key.
const HASH: Hash = Hash {
    prefix: "tls:",
    fields: &["certificate", "key", "certificate2", "key2"],
};
/// Names kept, at most.
const NAMES: usize = 20_000;
/// How long a name without a certificate is not asked for again.
const MISS: Duration = Duration::from_secs(1);
/// A certificate that cannot be used is told once in this time, for each name.
const RETELL: Duration = Duration::from_secs(60);

/// Where certificates of vhosts come from, and what is known of them.
pub(crate) struct Vhosts {
    directory: Option<CertificateDirectory>,
    router: Option<Rc<Router>>,
    known: RefCell<HashMap<Box<str>, Known>>,
    seat: Seat,
}

/// What is known of a name.
#[derive(Clone)]
struct Known {
    source: Origin,
    /// `None`: there is nothing that could be shown.
    chosen: Option<Arc<Chosen>>,
    at: Instant,
    told: Option<Instant>,
}

/// What it was made from, to see whether that changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Nowhere,
    Files(Stamp),
    Store(u64),
}

impl Known {
    /// The version of the files that it was made from.
    fn stamp(&self) -> Option<Stamp> {
        match self.source {
            Origin::Files(stamp) => Some(stamp),
            Origin::Nowhere | Origin::Store(_) => None,
        }
    }
}

impl Vhosts {
    /// Asks this directory first, through the master where need be, then the store of routes.
    pub(crate) fn new(
        (directory, loans): (Option<PathBuf>, Option<Rc<Loans>>),
        router: Option<Rc<Router>>,
        seat: Seat,
    ) -> Self {
        Self {
            directory: directory.map(|path| CertificateDirectory::new(path, loans)),
            router,
            known: RefCell::default(),
            seat,
        }
    }

    /// The certificates to show to a client that asks for this name; `None`: the default ones.
    pub(super) async fn find(&self, name: &str) -> Option<Arc<Chosen>> {
        if self.directory.is_none() && self.router.is_none() {
            return None;
        }
        let known = self.known.borrow().get(name).cloned();
        if let Some(directory) = &self.directory {
            let stamp = known.as_ref().and_then(Known::stamp);
            match directory.fetch(name, stamp).await {
                Fetched::Nothing => {}
                Fetched::Same => return known?.chosen,
                Fetched::New(stamp, found) => {
                    let found = found.map(|one| vec![one]);
                    return self.learn(name, Origin::Files(stamp), found, known);
                }
                Fetched::Unknown if stamp.is_some() => return known?.chosen,
                Fetched::Unknown => {}
            }
        }
        if let Some(known) = &known
            && known.source == Origin::Nowhere
            && known.at.elapsed() < MISS
        {
            return None;
        }
        self.ask_store(name, known).await
    }

    /// While Redis does not answer, what was known last is shown.
    async fn ask_store(&self, name: &str, known: Option<Known>) -> Option<Arc<Chosen>> {
        let fields = match self.router.as_ref()?.hash(HASH, name).await {
            Ok(fields) => fields,
            Err(cause) => {
                tracing::debug!(name, %cause, "no answer for a certificate");
                return known?.chosen;
            }
        };
        let Some(fields) = fields else {
            return self.learn(name, Origin::Nowhere, Ok(Vec::new()), None);
        };
        // Others who asked at the same time may have learned it by now.
        let known = self.known.borrow().get(name).cloned().or(known);
        let source = Origin::Store(fingerprint(&fields));
        if let Some(known) = known.as_ref().filter(|known| known.source == source) {
            return known.chosen.clone();
        }
        self.learn(name, source, parse(&fields), known)
    }

    /// Keeps what was found for a name; a bad certificate is told, and what was shown before stays.
    fn learn(
        &self,
        name: &str,
        source: Origin,
        found: Result<Vec<Credentials>, String>,
        before: Option<Known>,
    ) -> Option<Arc<Chosen>> {
        let now = Instant::now();
        let told = before.as_ref().and_then(|known| known.told);
        let must_tell = told.is_none_or(|told| now.duration_since(told) >= RETELL);
        let complaint = match &found {
            Err(error) => Some(error.clone()),
            Ok(list) => list.iter().find_map(|one| complaint(one, name)),
        };
        let chosen = match found {
            Ok(list) => (!list.is_empty()).then(|| Chosen::new(&list)),
            Err(_) => before.and_then(|known| known.chosen),
        };
        let told = match complaint {
            Some(error) if must_tell => {
                emit(&Event::Problem {
                    doing: &format!("using the certificate of {name}"),
                    error: &error,
                });
                Some(now)
            }
            _ => told,
        };
        let mut known = self.known.borrow_mut();
        if known.len() >= NAMES && !known.contains_key(name) {
            let evicted = make_room(&mut known, now);
            self.seat.add(Counter::CertificatesEvicted, evicted as u64);
        }
        let fresh = Known {
            source,
            chosen: chosen.clone(),
            at: now,
            told,
        };
        known.insert(name.into(), fresh);
        self.seat.put(Gauge::Certificates, known.len() as u64);
        chosen
    }
}

/// What clients will not like about a certificate that can be shown all the same.
fn complaint(credentials: &Credentials, name: &str) -> Option<String> {
    if let Some(untimely) = credentials.untimely(SystemTime::now()) {
        return Some(untimely.to_string());
    }
    (!credentials.covers(name)).then(|| "the certificate is not for this name".to_owned())
}

/// Lets names go that are asked for again anyway, and the older half of all others where that is not
/// enough; how many of these. Rare, and cheaper than an order kept for every handshake.
fn make_room(known: &mut HashMap<Box<str>, Known>, now: Instant) -> usize {
    let before = known.len();
    let is_over = |known: &Known| now.duration_since(known.at) >= MISS;
    known.retain(|_, known| known.source != Origin::Nowhere || !is_over(known));
    let kept = known.len();
    if kept <= before / 8 * 7 {
        return 0;
    }
    let mut ages: Vec<Instant> = known.values().map(|known| known.at).collect();
    let middle = ages.len() / 2;
    let (_, median, _) = ages.select_nth_unstable(middle);
    let median = *median;
    known.retain(|_, known| known.at > median);
    kept - known.len()
}

fn parse(fields: &Fields) -> Result<Vec<Credentials>, String> {
    let mut values = fields.iter().flatten();
    if values.any(|value| value.len() as u64 > MAX_BYTES) {
        return Err(too_large());
    }
    let field = |at: usize| fields.get(at).and_then(Option::as_deref);
    let pairs = [(field(0), field(1)), (field(2), field(3))];
    let given = pairs
        .into_iter()
        .filter(|(chain, key)| chain.is_some() || key.is_some());
    let parse = |(chain, key): (Option<&[u8]>, Option<&[u8]>)| {
        Credentials::parse(chain.unwrap_or_default(), key.unwrap_or_default(), None)
    };
    let parsed: Result<_, _> = given.map(parse).collect();
    parsed.map_err(|error: CredentialsError| error.to_string())
}

/// Tells one hash from its next version.
fn fingerprint(fields: &Fields) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many names, each learned a second after the one before.
    fn names(count: u32, source: impl Fn(u32) -> Origin) -> (HashMap<Box<str>, Known>, Instant) {
        let start = Instant::now();
        let known = |number| Known {
            source: source(number),
            chosen: None,
            at: start + Duration::from_secs(number.into()),
            told: None,
        };
        let all = (0..count).map(|number| (format!("{number}").into(), known(number)));
        (all.collect(), start + Duration::from_secs(count.into()))
    }

    #[test]
    fn room_is_made_by_misses_first_and_then_by_the_older_half() {
        let (mut known, now) = names(16, |_| Origin::Store(1));
        assert_eq!(make_room(&mut known, now), 9);
        assert!(known.contains_key("15") && !known.contains_key("8"));
        // Every second one a miss: enough.
        let (mut known, now) = names(16, |number| match number % 2 {
            0 => Origin::Nowhere,
            _ => Origin::Store(1),
        });
        assert_eq!(make_room(&mut known, now), 0);
        assert!(known.len() == 8 && known.contains_key("1"));
        // Misses that still count go with all others.
        let (mut known, now) = names(16, |_| Origin::Nowhere);
        let now = now - Duration::from_secs(16);
        assert_eq!(make_room(&mut known, now), 9);
    }
}
