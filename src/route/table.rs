//! Routes in memory: the table behind `--route` and behind the `file:` driver.
//!
//! Same keys and same order as in Redis. A lookup allocates nothing and never waits; marks live in
//! the worker alone.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::HashMap;

use super::lookup::{Key, SUFFIX_LABELS, keys};
use super::marks::Marks;
use super::{Asked, DeadReport, Lookup, Marked, Route, RouteError, RouteStore, Source, Suspect};
use crate::balance::BackendSet;
use crate::telemetry::{self, Event};
use crate::vhost::{Frontend, Host};

/// Frontends by their keys.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: HashMap<Box<str>, Rc<Frontend>>,
    /// By suffix, so that a lookup needs no `*.` in front of one.
    wildcards: HashMap<Box<str>, Rc<Frontend>>,
    any: Option<Rc<Frontend>>,
}

/// Why a frontend cannot stand in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyError {
    /// Neither a host nor a wildcard.
    Invalid,
    /// A wildcard that no lookup asks for.
    TooDeep,
    /// There is one with this key already.
    Twice,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid => f.write_str("not a host: expected a name, *.name or *"),
            Self::TooDeep => write!(f, "expected at most {SUFFIX_LABELS} labels after *."),
            Self::Twice => f.write_str("given twice"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Table {
    /// Adds the list of a frontend, the identifier first. An empty list is as good as none.
    pub(super) fn add<'a>(
        &mut self,
        key: &str,
        list: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), KeyError> {
        let key = key.trim();
        let place = parse_key(key)?;
        let Some(frontend) = Frontend::from_list(key, list) else {
            return Ok(());
        };
        let frontend = Rc::new(frontend);
        let (map, name) = match &place {
            Place::Exact(host) => (&mut self.exact, host),
            Place::Wildcard(host) => (&mut self.wildcards, host),
            Place::Any if self.any.is_some() => return Err(KeyError::Twice),
            Place::Any => {
                self.any = Some(frontend);
                return Ok(());
            }
        };
        match map.entry(name.as_str().into()) {
            Entry::Occupied(_) => return Err(KeyError::Twice),
            Entry::Vacant(free) => free.insert(frontend),
        };
        Ok(())
    }

    /// The frontend that serves a host.
    pub(super) fn find(&self, host: &Host) -> Option<&Rc<Frontend>> {
        keys(host).find_map(|key| match key {
            Key::Exact(name) => self.exact.get(name),
            Key::Wildcard(suffix) => self.wildcards.get(suffix),
            Key::Any => self.any.as_ref(),
        })
    }

    /// Frontends in it.
    pub(super) fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len() + usize::from(self.any.is_some())
    }
}

/// Where a key belongs.
enum Place {
    Exact(Host),
    Wildcard(Host),
    Any,
}

fn parse_key(key: &str) -> Result<Place, KeyError> {
    if key == "*" {
        return Ok(Place::Any);
    }
    let (is_wildcard, name) = match key.strip_prefix("*.") {
        Some(suffix) => (true, suffix),
        None => (false, key),
    };
    let host = Host::parse(name.as_bytes()).map_err(|_| KeyError::Invalid)?;
    if host.as_str().is_empty() || (is_wildcard && host.as_str().starts_with('[')) {
        return Err(KeyError::Invalid);
    }
    if !is_wildcard {
        return Ok(Place::Exact(host));
    }
    if host.as_str().split('.').count() > SUFFIX_LABELS {
        return Err(KeyError::TooDeep);
    }
    Ok(Place::Wildcard(host))
}

/// The dead marks of a store that has no other place for them.
#[derive(Debug)]
pub(super) struct LocalMarks(RefCell<Marks>);

impl LocalMarks {
    /// No marks; each lasts for `ttl`.
    pub(super) fn new(ttl: Duration) -> Self {
        Self(RefCell::new(Marks::new(ttl)))
    }

    /// Marks a backend dead.
    pub(super) fn mark(&self, host: &Host, suspect: &Suspect<'_>) -> Marked {
        let (mut marks, now) = (self.0.borrow_mut(), Instant::now());
        if let Some(ticket) = marks.mark(host, suspect.id, suspect.backend, now) {
            marks.written(host, ticket, false, now);
        }
        Marked::Dead
    }

    /// Backends that are dead, so many at most.
    pub(super) fn dead(&self, limit: usize) -> Vec<DeadReport> {
        self.0.borrow().report(limit, Instant::now())
    }

    /// The answer for a host, given its frontend.
    pub(super) fn answer(
        &self,
        host: &Host,
        frontend: Option<&Rc<Frontend>>,
        source: Source,
    ) -> Result<Route, RouteError> {
        let frontend = frontend.ok_or(RouteError::NotFound)?;
        let mut marks = self.0.borrow_mut();
        let dead = match marks.is_empty() {
            true => BackendSet::default(),
            false => marks.dead(host, frontend, None, Instant::now()),
        };
        Ok(Route {
            frontend: Rc::clone(frontend),
            dead,
            options: None,
            source,
            age: Duration::ZERO,
            read: Duration::ZERO,
        })
    }
}

/// The table of `--route`.
#[derive(Debug)]
pub(super) struct TableStore {
    table: Table,
    marks: LocalMarks,
}

impl TableStore {
    /// A store of these hosts and backends; the identifier of each is the host itself.
    pub(super) fn new(routes: &[(String, Vec<String>)], ttl: Duration) -> Self {
        let mut table = Table::default();
        for (host, backends) in routes {
            let backends = backends.iter().map(String::as_str);
            if let Err(error) = table.add(host, std::iter::once(host.as_str()).chain(backends)) {
                telemetry::emit(&Event::Problem {
                    doing: "reading --route",
                    error: &format_args!("{host:?}: {error}"),
                });
            }
        }
        Self {
            table,
            marks: LocalMarks::new(ttl),
        }
    }
}

impl RouteStore for TableStore {
    fn lookup<'a>(&'a self, host: &'a Host, _: &'a Cell<Option<Asked>>) -> Lookup<'a> {
        let frontend = self.table.find(host);
        Lookup::Ready(self.marks.answer(host, frontend, Source::Table))
    }

    fn mark_dead(&self, host: &Host, suspect: &Suspect<'_>) -> Marked {
        self.marks.mark(host, suspect)
    }

    fn is_checked(&self) -> bool {
        false
    }

    fn readiness(&self) -> Result<(), Rc<str>> {
        Ok(())
    }

    fn dead(&self, limit: usize) -> Vec<DeadReport> {
        self.marks.dead(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(keys: &[&str]) -> Table {
        let mut table = Table::default();
        for key in keys {
            table.add(key, [*key, "http://b"]).unwrap();
        }
        table
    }

    #[test]
    fn the_first_list_that_is_not_empty_wins() {
        let all = table(&["a.test", "*.test", "*", "*.b.test", "[::1]"]);
        let bare = table(&["a.test", "*.b.test"]);
        let cases = [
            ("a.test", Some("a.test"), Some("a.test")),
            ("b.test", Some("*.test"), None),
            ("x.b.test", Some("*.b.test"), Some("*.b.test")),
            ("y.x.b.test", Some("*.b.test"), Some("*.b.test")),
            ("x.a.test", Some("*.test"), None),
            ("test", Some("*"), None),
            ("", Some("*"), None),
            ("[::1]", Some("[::1]"), None),
            ("[::2]", Some("*"), None),
            ("1.2.3.4.5.b.test", Some("*.b.test"), Some("*.b.test")),
            (
                "1.2.3.4.5.6.7.8.9.b.test",
                Some("*.b.test"),
                Some("*.b.test"),
            ),
        ];
        for (name, with_any, without) in cases {
            let host = Host::parse(name.as_bytes()).unwrap();
            assert_eq!(
                all.find(&host).map(|found| &*found.key),
                with_any,
                "{name:?}"
            );
            assert_eq!(
                bare.find(&host).map(|found| &*found.key),
                without,
                "{name:?}"
            );
        }
    }

    #[test]
    fn an_identifier_alone_hides_wildcards_and_an_empty_list_does_not() {
        let mut table = table(&["*.test"]);
        table.add("alone.test", ["id"]).unwrap();
        table.add("empty.test", []).unwrap();
        let find = |name: &str| table.find(&Host::parse(name.as_bytes()).unwrap());
        assert_eq!(&*find("alone.test").unwrap().vhost, "id");
        assert_eq!(&*find("empty.test").unwrap().key, "*.test");
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn keys_are_checked() {
        let mut table = table(&["a.test", "*.a.test", "*"]);
        let cases = [
            ("A.Test.", Err(KeyError::Twice)),
            ("*.A.test", Err(KeyError::Twice)),
            ("*", Err(KeyError::Twice)),
            ("", Err(KeyError::Invalid)),
            ("*.", Err(KeyError::Invalid)),
            ("*a.test", Err(KeyError::Invalid)),
            ("a.*.test", Err(KeyError::Invalid)),
            ("*.*.test", Err(KeyError::Invalid)),
            ("*.[::1]", Err(KeyError::Invalid)),
            ("a b", Err(KeyError::Invalid)),
            ("*.1.2.3.4.5.6", Err(KeyError::TooDeep)),
            ("*.1.2.3.4.5", Ok(())),
            ("1.2.3.4.5.6.7.8", Ok(())),
        ];
        for (key, expected) in cases {
            assert_eq!(table.add(key, ["id", "http://b"]), expected, "{key:?}");
        }
    }

    #[test]
    fn a_mark_lasts_for_its_time_and_for_its_host() {
        let backends = vec!["http://a".to_owned(), "http://b".to_owned()];
        let store = TableStore::new(&[("*".to_owned(), backends)], Duration::from_millis(40));
        let dead = |name: &str| {
            let host = Host::parse(name.as_bytes()).unwrap();
            let Lookup::Ready(Ok(route)) = store.lookup(&host, &Cell::default()) else {
                panic!("no route for {name}");
            };
            (0..2).map(|id| route.dead.contains(id)).collect::<Vec<_>>()
        };
        let host = Host::parse(b"x.test").unwrap();
        let Lookup::Ready(Ok(route)) = store.lookup(&host, &Cell::default()) else {
            panic!("no route");
        };
        let suspect = Suspect {
            id: 1,
            backend: route.frontend.backend(1).unwrap(),
            length: 2,
        };
        assert_eq!(store.mark_dead(&host, &suspect), Marked::Dead);
        assert_eq!(dead("x.test"), [false, true]);
        assert_eq!(dead("y.test"), [false, false]);
        let start = Instant::now();
        while dead("x.test")[1] {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        assert!(start.elapsed() > Duration::from_millis(20));
    }
}
