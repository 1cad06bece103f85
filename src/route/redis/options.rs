//! Options of hosts as Redis has them, kept for a while.
//!
//! They are asked for together with a route, in the same round trip, when what is known of a host is
//! too old; between that, a lookup is what it would be without them. Where Redis gives no answer to
//! this part of the question, the last one stands.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis::{Pipeline, Value};

use super::wire;
use crate::config::LruCache;
use crate::route::cache::Cache;
use crate::route::hash::{Hash, names};
use crate::telemetry::OnceAMinute;
use crate::vhost::{Host, Options};

/// The hash of a host's options.
const HASH: Hash = Hash {
    prefix: "options:",
    fields: &Options::FIELDS,
};
/// Where routes themselves are not kept: the defaults of `server.lruCache`.
const KEPT: LruCache = LruCache {
    size: 10_000,
    ttl: Duration::from_secs(10),
};

/// What is known of the options of hosts.
pub(super) struct KeptOptions {
    kept: RefCell<Cache<Option<Rc<Options>>>>,
    /// Whether the user may ask for them: one that may do what the original does need not.
    is_allowed: Cell<bool>,
    problems: OnceAMinute,
}

/// What is known of the options of one host.
pub(super) struct Known {
    pub(super) options: Option<Rc<Options>>,
    /// Redis is to be asked.
    pub(super) is_old: bool,
}

impl KeptOptions {
    /// Nothing is known yet. `routes`: how routes are kept, with their options; whenever one is asked
    /// for, they are, too, and both have the same age.
    pub(super) fn new(routes: Option<LruCache>) -> Self {
        let (size, ttl) = match routes {
            Some(routes) => (routes.size, Duration::ZERO),
            None => (KEPT.size, KEPT.ttl),
        };
        Self {
            kept: RefCell::new(Cache::new(size, ttl)),
            is_allowed: Cell::new(true),
            problems: OnceAMinute::default(),
        }
    }

    /// What is known of a host.
    pub(super) fn recall(&self, host: &Host, now: Instant) -> Known {
        let mut kept = self.kept.borrow_mut();
        let found = kept.find_of_any_age(host, now);
        let found = found.map(|(options, age)| (options.clone(), age));
        let is_fresh = found.as_ref().is_some_and(|(_, age)| kept.is_fresh(*age));
        Known {
            options: found.and_then(|(options, _)| options),
            is_old: self.is_allowed.get() && !is_fresh,
        }
    }

    /// Asks for the options of a host.
    pub(super) fn ask(prefix: &str, host: &Host) -> Pipeline {
        wire::hash(prefix, HASH, host.as_str())
    }

    /// Takes the replies to [`Self::ask`] from the front of others.
    pub(super) fn take(host: &Host, replies: &mut Vec<Value>) -> Vec<Value> {
        let count = names(host.as_str()).count().min(replies.len());
        replies.drain(..count).collect()
    }

    /// Learns what Redis says of a host that has a route; `last` is what was known before.
    pub(super) fn learn(
        &self,
        host: &Host,
        replies: Vec<Value>,
        last: Option<Rc<Options>>,
    ) -> Option<Rc<Options>> {
        let options = match wire::hashed(replies) {
            Ok(fields) => fields.map(|fields| {
                Options::parse(&fields, |error| {
                    let error = format_args!("options:{host}: {error}; it does not count");
                    self.problems.tell("reading options", &error);
                })
            }),
            Err(refused) => return self.go_without(host, &refused, last),
        };
        let options = options.filter(|options| *options != Options::default());
        let options = options.map(Rc::new);
        let mut kept = self.kept.borrow_mut();
        kept.insert(host, options.clone(), Instant::now());
        options
    }

    fn go_without(
        &self,
        host: &Host,
        refused: &str,
        last: Option<Rc<Options>>,
    ) -> Option<Rc<Options>> {
        let what_follows = if refused.starts_with("NOPERM") {
            self.is_allowed.set(false);
            "this worker does not ask again"
        } else {
            "the last known ones count"
        };
        let error = format_args!("options:{host}: {refused}; {what_follows}");
        self.problems.tell("reading options", &error);
        last
    }
}
