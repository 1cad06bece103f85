//! What is kept of hosts in the worker, so that a store need not be asked for every request.
//!
//! Invariants: what is found tells its age, which no use renews (the original renewed it with every
//! hit, so under traffic a change was never seen); never more than `size` hosts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::vhost::Host;

/// A bounded table of hosts; what was not used lately goes first (second chance).
#[derive(Debug)]
pub(super) struct Cache<V> {
    places: HashMap<Host, usize>,
    entries: Vec<Entry<V>>,
    /// Where the search for a victim goes on.
    hand: usize,
    size: usize,
    ttl: Duration,
}

#[derive(Debug)]
struct Entry<V> {
    host: Host,
    value: V,
    read_at: Instant,
    is_used: bool,
}

impl<V> Cache<V> {
    /// A cache for this many hosts, each fresh for `ttl`.
    pub(super) fn new(size: usize, ttl: Duration) -> Self {
        Self {
            places: HashMap::new(),
            entries: Vec::new(),
            hand: 0,
            size,
            ttl,
        }
    }

    /// What is kept of a host, with its age, unless it is too old.
    pub(super) fn find(&mut self, host: &Host, now: Instant) -> Option<(&V, Duration)> {
        let ttl = self.ttl;
        self.find_of_any_age(host, now)
            .filter(|(_, age)| *age < ttl)
    }

    /// What is kept of a host, with its age, which may be beyond the limit.
    pub(super) fn find_of_any_age(&mut self, host: &Host, now: Instant) -> Option<(&V, Duration)> {
        let place = *self.places.get(host)?;
        let entry = self.entries.get_mut(place)?;
        entry.is_used = true;
        Some((&entry.value, now.saturating_duration_since(entry.read_at)))
    }

    /// Keeps what was read now.
    pub(super) fn insert(&mut self, host: &Host, value: V, now: Instant) {
        if self.size == 0 {
            return;
        }
        let entry = Entry {
            host: host.clone(),
            value,
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

    /// Whether what is so old still counts.
    pub(super) fn is_fresh(&self, age: Duration) -> bool {
        age < self.ttl
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
    use super::*;

    const TTL: Duration = Duration::from_secs(2);

    fn host(name: &str) -> Host {
        Host::parse(name.as_bytes()).unwrap()
    }

    fn found(cache: &mut Cache<String>, name: &str, now: Instant) -> Option<String> {
        cache.find(&host(name), now).map(|(value, _)| value.clone())
    }

    #[test]
    fn hits_do_not_renew_an_entry() {
        let (mut cache, start) = (Cache::new(10, TTL), Instant::now());
        cache.insert(&host("a"), "kept".to_owned(), start);
        for tenth in 0..20 {
            let now = start + Duration::from_millis(100) * tenth;
            let found = cache.find(&host("a"), now);
            let age = now - start;
            assert_eq!(found, Some((&"kept".to_owned(), age)));
            assert!(cache.is_fresh(age));
        }
        assert!(!cache.is_fresh(TTL));
        assert_eq!(found(&mut cache, "a", start + TTL), None);
        let old = cache.find_of_any_age(&host("a"), start + TTL * 3).unwrap();
        assert_eq!(old, (&"kept".to_owned(), TTL * 3));
    }

    #[test]
    fn what_is_forgotten_leaves_the_others() {
        let (mut cache, now) = (Cache::new(10, TTL), Instant::now());
        for name in ["a", "b", "c"] {
            cache.insert(&host(name), name.to_owned(), now);
        }
        cache.remove(&host("a"));
        cache.remove(&host("a"));
        assert_eq!(found(&mut cache, "a", now), None);
        for name in ["b", "c"] {
            assert_eq!(found(&mut cache, name, now).as_deref(), Some(name));
        }
        cache.insert(&host("b"), "new".to_owned(), now);
        assert_eq!(found(&mut cache, "b", now).as_deref(), Some("new"));
    }

    #[test]
    fn it_is_bounded_and_what_is_used_stays() {
        let (mut cache, now) = (Cache::new(8, TTL), Instant::now());
        cache.insert(&host("hot"), "hot".to_owned(), now);
        for n in 0..1000 {
            let name = format!("h{n}");
            cache.insert(&host(&name), name.clone(), now);
            assert_eq!(found(&mut cache, "hot", now).as_deref(), Some("hot"), "{n}");
            assert!(cache.entries.len() <= 8);
            assert_eq!(cache.places.len(), cache.entries.len());
        }
        assert_eq!(found(&mut cache, "h0", now), None);
        assert_eq!(found(&mut cache, "h999", now).as_deref(), Some("h999"));
    }

    #[test]
    fn what_is_too_old_has_no_second_chance() {
        let (mut cache, start) = (Cache::new(2, TTL), Instant::now());
        cache.insert(&host("old"), "old".to_owned(), start);
        cache.find(&host("old"), start);
        let now = start + TTL;
        cache.insert(&host("new"), "new".to_owned(), now);
        cache.insert(&host("newer"), "newer".to_owned(), now);
        assert_eq!(found(&mut cache, "new", now).as_deref(), Some("new"));
        assert_eq!(found(&mut cache, "newer", now).as_deref(), Some("newer"));
        assert!(!cache.places.contains_key(&host("old")));
    }

    #[test]
    fn a_cache_of_size_zero_keeps_nothing() {
        let (mut cache, now) = (Cache::new(0, TTL), Instant::now());
        cache.insert(&host("a"), "kept".to_owned(), now);
        assert_eq!(found(&mut cache, "a", now), None);
    }
}
