//! Which backends serve a host, and which of them are dead.
//!
//! [`Router`] is the face; behind it stands one [`RouteStore`]: Redis, a file, or the table of
//! `--route`. No answer blocks longer than its limit, and no store ever takes a worker down.

mod cache;
mod file;
mod hash;
mod lookup;
mod marks;
mod redis;
mod report;
mod table;
mod task;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::balance::BackendSet;
use crate::config::{Config, Driver};
use crate::scoreboard::{Counter, Seat};
use crate::telemetry::{self, Event};
use crate::vhost::{Backend, BackendId, Frontend, Host, Options};
use cache::Cache;
pub(crate) use hash::{Fields, Hash};
pub(crate) use report::{DeadReport, LinkReport};

/// The answer to "which backends serve this host".
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The frontend that matched.
    pub(crate) frontend: Rc<Frontend>,
    /// What was chosen for the host; `None`: nothing.
    pub(crate) options: Option<Rc<Options>>,
    /// Its dead backends.
    pub(crate) dead: BackendSet,
    /// Where the answer came from.
    pub(crate) source: Source,
    /// How old the answer was when it was used; zero when it was read for this request.
    pub(crate) age: Duration,
    /// What the read that fetched it cost; zero for tables in memory.
    pub(crate) read: Duration,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Redis was asked for this request.
    Redis,
    /// Kept in this worker (`server.lruCache`).
    Cache,
    /// The file of the `file:` driver.
    File,
    /// The table of `--route`.
    Table,
}

impl Source {
    /// The word in logs, traces and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Cache => "cache",
            Self::File => "file",
            Self::Table => "table",
        }
    }
}

/// Why a host has no route.
#[derive(Clone, Debug)]
pub(crate) enum RouteError {
    /// No frontend, no wildcard.
    NotFound,
    /// The store gave no usable answer within its limit.
    Unavailable {
        /// What the store said, for the log of the process.
        cause: Rc<str>,
    },
}

/// What a store knows of a host, and hears of its backends.
trait RouteStore {
    /// Looks a host up. A table in memory answers at once and without an allocation; another store
    /// fills in what it `asked`.
    fn lookup<'a>(&'a self, host: &'a Host, asked: &'a Cell<Option<Asked>>) -> Lookup<'a>;

    /// Marks a backend of a frontend that has others dead, for the requested host.
    fn mark_dead(&self, host: &Host, suspect: &Suspect<'_>) -> Marked;

    /// Whether an active health checker is at work.
    fn is_checked(&self) -> bool;

    /// Whether it could answer now, or why not.
    fn readiness(&self) -> Result<(), Rc<str>>;

    /// Its connections, if it has any.
    fn links(&self) -> Vec<LinkReport> {
        Vec::new()
    }

    /// Backends that are held for dead, so many at most.
    fn dead(&self, limit: usize) -> Vec<DeadReport>;

    /// The first hash of this kind that stands under a name of the host; none where the store keeps
    /// no hashes.
    fn hash<'a>(&'a self, _: Hash, _: &'a str) -> hash::Pending<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What Redis was asked for one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Commands of the batch.
    pub(crate) commands: usize,
    /// The address that they were sent to; `None` on a local socket, or without a connection.
    pub(crate) peer: Option<SocketAddr>,
}

/// The answer of a store, or the wait for it. Dropping the wait loses the answer and nothing else.
enum Lookup<'a> {
    Ready(Result<Route, RouteError>),
    Pending(Pin<Box<dyn Future<Output = Result<Route, RouteError>> + 'a>>),
}

/// A backend that failed.
struct Suspect<'a> {
    id: BackendId,
    backend: &'a Rc<Backend>,
    /// Backends of its frontend.
    length: usize,
}

/// What a store made of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    /// Dead from now on.
    Dead,
    /// The same mark was being made already.
    Already,
    /// Told to the active checker, which decides.
    Announced,
}

/// The face of routing: resolve, and report how it went.
pub(crate) struct Router {
    store: Box<dyn RouteStore>,
    /// `None` for a host: it has no route. Kept as well, because random hosts are the cheapest
    /// attack on a store.
    cache: Option<RefCell<Cache<Option<Route>>>>,
    /// When the latest route came into the cache.
    latest: Cell<Option<Instant>>,
    seat: Seat,
}

impl Router {
    /// A router for this configuration; starts what it needs on the current runtime (connections,
    /// subscription, file watch), which ends when the last handle is dropped.
    pub(crate) fn start(config: &Config, seat: Seat) -> Rc<Self> {
        let ttl = config.server.dead_backend_ttl;
        let cache = config.server.lru_cache;
        let store: Box<dyn RouteStore> = match &config.driver {
            Driver::Redis(driver) => {
                let terms = redis::Terms::new(ttl, cache);
                Box::new(redis::RedisStore::start(driver, terms, seat))
            }
            Driver::File(path) => Box::new(file::FileStore::start(path.clone(), ttl)),
            Driver::Routes(routes) => Box::new(table::TableStore::new(routes, ttl)),
        };
        Rc::new(Self {
            store,
            cache: cache.map(|cache| RefCell::new(Cache::new(cache.size, cache.ttl))),
            latest: Cell::new(None),
            seat,
        })
    }

    /// The route of a host. Bounded in time.
    /// `asked` is filled in when Redis was asked.
    pub(crate) async fn resolve(
        &self,
        host: &Host,
        asked: &Cell<Option<Asked>>,
    ) -> Result<Route, RouteError> {
        if let Some(answer) = self.recall(host) {
            return answer;
        }
        let answer = match self.store.lookup(host, asked) {
            Lookup::Ready(answer) => answer,
            Lookup::Pending(wait) => wait.await,
        };
        match &answer {
            Err(RouteError::Unavailable { .. }) => self.seat.add(Counter::LookupFailures, 1),
            Ok(_) | Err(RouteError::NotFound) => {
                self.seat.add(Counter::Lookups, 1);
                self.keep(host, &answer);
            }
        }
        answer
    }

    /// Fields of the hash that the store keeps for a host, or for the wildcard one label up.
    ///
    /// # Errors
    ///
    /// What the store said instead of an answer.
    pub(crate) async fn hash(&self, hash: Hash, host: &str) -> Result<Option<Fields>, Rc<str>> {
        self.store.hash(hash, host).await
    }

    /// Marks a backend dead for the requested host, here at once and in the store without waiting.
    /// Does nothing for a sole backend. Returns whether a mark was made or announced.
    pub(crate) fn mark_dead(&self, host: &Host, frontend: &Frontend, id: BackendId) -> bool {
        let length = frontend.backends.len();
        let Some(backend) = frontend.backend(id).filter(|_| length > 1) else {
            return false;
        };
        let suspect = Suspect {
            id,
            backend,
            length,
        };
        let marked = self.store.mark_dead(host, &suspect);
        if let Some(cache) = &self.cache {
            cache.borrow_mut().remove(host);
        }
        if marked != Marked::Already {
            telemetry::emit(&Event::MarkedDead {
                host: host.as_str(),
                backend: &backend.url,
                id,
                announced_only: marked == Marked::Announced,
            });
        }
        true
    }

    /// Whether an active health checker is at work (`hchecker_ping`): only then does status 500
    /// count against a backend.
    pub(crate) fn is_checked(&self) -> bool {
        self.store.is_checked()
    }

    /// Whether requests can be routed: the store answers, or the cache still knows some host. Or
    /// why not.
    pub(crate) fn readiness(&self) -> Result<(), Rc<str>> {
        let latest = self.cache.as_ref().zip(self.latest.get());
        let is_cached = latest.is_some_and(|(cache, at)| cache.borrow().is_fresh(at.elapsed()));
        self.store
            .readiness()
            .or_else(|cause| if is_cached { Ok(()) } else { Err(cause) })
    }

    /// The connections of the store.
    pub(crate) fn links(&self) -> Vec<LinkReport> {
        self.store.links()
    }

    /// Backends that this worker holds for dead, so many at most.
    pub(crate) fn dead(&self, limit: usize) -> Vec<DeadReport> {
        self.store.dead(limit)
    }

    fn recall(&self, host: &Host) -> Option<Result<Route, RouteError>> {
        let mut cache = self.cache.as_ref()?.borrow_mut();
        let (kept, age) = cache.find(host, Instant::now())?;
        let route = kept.as_ref().ok_or(RouteError::NotFound);
        Some(route.map(|route| Route {
            source: Source::Cache,
            age,
            ..route.clone()
        }))
    }

    fn keep(&self, host: &Host, answer: &Result<Route, RouteError>) {
        if let Some(cache) = &self.cache {
            let (route, now) = (answer.as_ref().ok(), Instant::now());
            if route.is_some() {
                self.latest.set(Some(now));
            }
            cache.borrow_mut().insert(host, route.cloned(), now);
        }
    }
}

#[cfg(test)]
mod tests;
