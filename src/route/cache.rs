//! Lookups kept in the worker (`server.lruCache`).
//!
//! Invariants: an entry is never served beyond its age, however often it is used (the original
//! renewed it with every hit, so under traffic a change was never seen); hosts without a route are
//! kept as well, because random hosts are the cheapest attack on a store; never more than `size`
//! hosts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Route, RouteError, Source};
use crate::vhost::Host;

/// A bounded table of answers; what was not used lately goes first (second chance).
#[derive(Debug)]
pub(super) struct Cache {
    places: HashMap<Host, usize>,
    entries: Vec<Entry>,
    /// Where the search for a victim goes on.
    hand: usize,
    size: usize,
    ttl: Duration,
    /// When the latest route came in.
    latest: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    host: Host,
    /// `None`: no such host.
    route: Option<Route>,
    read_at: Instant,
    is_used: bool,
}

impl Cache {
    /// A cache for this many hosts, each kept for `ttl`.
    pub(super) fn new(size: usize, ttl: Duration) -> Self {
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
            hand: 0,
            size,
            ttl,
            latest: None,
        }
    }

    /// The answer kept for a host, unless it is too old.
    pub(super) fn find(&mut self, host: &Host, now: Instant) -> Option<Result<Route, RouteError>> {
        let place = *self.places.get(host)?;
        let entry = self.entries.get_mut(place)?;
        let age = now.saturating_duration_since(entry.read_at);
        if age >= self.ttl {
            return None;
        }
        entry.is_used = true;
        let answer = match &entry.route {
            Some(route) => Ok(Route {
                source: Source::Cache,
                age,
                ..route.clone()
            }),
            None => Err(RouteError::NotFound),
        };
        Some(answer)
    }

    /// Keeps the answer of a store: a route, or that there is none.
    pub(super) fn insert(&mut self, host: &Host, route: Option<&Route>, now: Instant) {
        if self.size == 0 {
            return;
        }
        if route.is_some() {
            self.latest = Some(now);
        }
        let entry = Entry {
            host: host.clone(),
            route: route.cloned(),
            read_at: now,
            is_used: false,
        };
        if let Some(place) = self.places.get(host) {
            self.entries[*place] = entry;
            return;
        }
        let place = self.free_place(now);
        self.places.insert(host.clone(), place);
        if place == self.entries.len() {
            self.entries.push(entry);
        } else {
            self.places.remove(&self.entries[place].host);
            self.entries[place] = entry;
        }
    }

    /// Whether some host can be served from here.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        let is_fresh = |at| now.saturating_duration_since(at) < self.ttl;
        self.latest.is_some_and(is_fresh)
    }

    /// Forgets a host.
    pub(super) fn remove(&mut self, host: &Host) {
        let Some(place) = self.places.remove(host) else {
            return;
        };
        self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.host.clone(), place);
        }
    }

    /// A place to write to: a new one while there is room, or that of the first entry from the hand
    /// on that is too old or was not used since the hand last passed. Ends within two rounds.
    fn free_place(&mut self, now: Instant) -> usize {
        if self.entries.len() < self.size {
            return self.entries.len();
        }
        loop {
            let place = self.hand % self.entries.len();
            self.hand = place + 1;
            let entry = &mut self.entries[place];
            let is_old = now.saturating_duration_since(entry.read_at) >= self.ttl;
            if is_old || !entry.is_used {
                return place;
            }
            entry.is_used = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::balance::BackendSet;
    use crate::vhost::Frontend;

    const TTL: Duration = Duration::from_secs(2);

    fn host(name: &str) -> Host {
        Host::parse(name.as_bytes()).unwrap()
    }

    fn route(vhost: &str) -> Route {
        Route {
            frontend: Rc::new(Frontend::from_list("key", [vhost]).unwrap()),
            dead: BackendSet::default(),
            source: Source::Redis,
            age: Duration::ZERO,
            read: Duration::from_millis(3),
        }
    }

    /// The identifier found, `-` for a kept miss, nothing where the store must be asked.
    fn found(cache: &mut Cache, name: &str, now: Instant) -> Option<String> {
        let answer = cache.find(&host(name), now)?;
        Some(answer.map_or("-".to_owned(), |route| route.frontend.vhost.to_string()))
    }

    #[test]
    fn hits_do_not_renew_an_entry() {
        let (mut cache, start) = (Cache::new(10, TTL), Instant::now());
        cache.insert(&host("a"), Some(&route("id")), start);
        for tenth in 0..20 {
            let now = start + Duration::from_millis(100) * tenth;
            let hit = cache.find(&host("a"), now).unwrap().unwrap();
            assert_eq!(hit.age, now - start);
            assert_eq!(hit.read, Duration::from_millis(3));
            assert_eq!(hit.source, Source::Cache);
            assert!(cache.is_usable(now));
        }
        assert!(!cache.is_usable(start + TTL));
        assert_eq!(found(&mut cache, "a", start + TTL), None);
    }

    #[test]
    fn misses_are_kept_and_marks_drop_the_entry() {
        let (mut cache, now) = (Cache::new(10, TTL), Instant::now());
        cache.insert(&host("none"), None, now);
        assert!(!cache.is_usable(now), "a kept miss serves nobody");
        for name in ["a", "b", "c"] {
            cache.insert(&host(name), Some(&route(name)), now);
        }
        assert_eq!(found(&mut cache, "none", now).as_deref(), Some("-"));
        cache.remove(&host("a"));
        cache.remove(&host("a"));
        assert_eq!(found(&mut cache, "a", now), None);
        for name in ["b", "c"] {
            assert_eq!(found(&mut cache, name, now).as_deref(), Some(name));
        }
        cache.insert(&host("none"), Some(&route("new")), now);
        assert_eq!(found(&mut cache, "none", now).as_deref(), Some("new"));
    }

    #[test]
    fn it_is_bounded_and_what_is_used_stays() {
        let (mut cache, now) = (Cache::new(8, TTL), Instant::now());
        cache.insert(&host("hot"), Some(&route("hot")), now);
        for n in 0..1000 {
            let name = format!("h{n}");
            cache.insert(&host(&name), None, now);
            assert_eq!(found(&mut cache, "hot", now).as_deref(), Some("hot"), "{n}");
            assert!(cache.entries.len() <= 8);
            assert_eq!(cache.places.len(), cache.entries.len());
        }
        assert_eq!(found(&mut cache, "h0", now), None);
        assert_eq!(found(&mut cache, "h999", now).as_deref(), Some("-"));
    }

    #[test]
    fn what_is_too_old_has_no_second_chance() {
        let (mut cache, start) = (Cache::new(2, TTL), Instant::now());
        cache.insert(&host("old"), Some(&route("old")), start);
        cache.find(&host("old"), start);
        let now = start + TTL;
        cache.insert(&host("new"), Some(&route("new")), now);
        cache.insert(&host("newer"), Some(&route("newer")), now);
        assert_eq!(found(&mut cache, "new", now).as_deref(), Some("new"));
        assert_eq!(found(&mut cache, "newer", now).as_deref(), Some("newer"));
        assert!(!cache.places.contains_key(&host("old")));
    }

    #[test]
    fn a_cache_of_size_zero_keeps_nothing() {
        let (mut cache, now) = (Cache::new(0, TTL), Instant::now());
        cache.insert(&host("a"), None, now);
        assert_eq!(found(&mut cache, "a", now), None);
    }
}
