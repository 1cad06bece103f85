//! Routes in Redis, with the keys, messages and commands of the original.
//!
//! One link for reads, one for writes when the driver names two servers, one subscription. Every
//! lookup asks Redis, so a change counts for the very next request; only options are kept.

mod channel;
mod dial;
mod link;
mod lookups;
mod memo;
mod options;
mod wire;

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use redis::Pipeline;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::hash::{Hash, Pending};
use super::marks::{Marks, Ticket};
use super::task::Task;
use super::{Asked, DeadReport, LinkReport, Lookup, Marked, RouteError, RouteStore, Suspect};
use crate::config::{LruCache, RedisDriver};
use crate::scoreboard::{Counter, Seat};
use crate::telemetry::OnceAMinute;
use crate::vhost::Host;
use dial::Server;
use link::Link;
use memo::Memo;
use options::KeptOptions;

/// A lookup is answered or refused by then, and so is a write.
const LIMIT: Duration = Duration::from_secs(1);
/// Marks on their way to Redis, at most; more are lost and told of.
const WRITES: usize = 256;
/// How often `hchecker_ping` is read. The original: 30 s, first after 30 s.
const CHECKER_POLL: Duration = Duration::from_secs(10);
/// The same after a read that failed.
const CHECKER_RETRY: Duration = Duration::from_secs(1);
/// A checker that was at work so lately still is (hchecker says so every 10 s).
const CHECKER_FRESH: Duration = Duration::from_secs(30);

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Dead marks.
    marks: Duration,
    /// Routes, where they are kept.
    routes: Option<LruCache>,
}

impl Terms {
    /// Marks last for `marks`; `routes` is how routes are kept behind this store.
    pub(super) const fn new(marks: Duration, routes: Option<LruCache>) -> Self {
        Self { marks, routes }
    }
}

/// Redis as a store of routes.
pub(super) struct RedisStore {
    inner: Rc<Inner>,
    writes: RefCell<JoinSet<()>>,
    _tasks: [Task<()>; 2],
}

struct Inner {
    seat: Seat,
    prefix: String,
    read: Link,
    /// `None`: writes go where reads go.
    write: Option<Link>,
    marks: RefCell<Marks>,
    memo: RefCell<Memo>,
    options: KeptOptions,
    ttl: Duration,
    /// When a checker last was at work, in seconds since 1970.
    checked_at: Cell<Option<f64>>,
    /// Whether the user may ask for the remaining time of a set.
    with_remaining: Cell<bool>,
    lost_marks: OnceAMinute,
    bad_sets: OnceAMinute,
}

impl RedisStore {
    /// Connects in the background.
    pub(super) fn start(driver: &RedisDriver, terms: Terms, seat: Seat) -> Self {
        let read = Rc::new(Server::new(&driver.read));
        let write = driver
            .write
            .as_ref()
            .map(|write| Rc::new(Server::new(write)));
        Self::connect(driver.prefix.clone(), (read, write), terms, seat)
    }

    fn connect(
        prefix: String,
        (read, write): (Rc<Server>, Option<Rc<Server>>),
        terms: Terms,
        seat: Seat,
    ) -> Self {
        let inner = Rc::new(Inner {
            seat,
            prefix,
            read: Link::start(Rc::clone(&read)),
            write: write.map(Link::start),
            marks: RefCell::new(Marks::new(terms.marks)),
            memo: RefCell::default(),
            options: KeptOptions::new(terms.routes),
            ttl: terms.marks,
            checked_at: Cell::new(None),
            with_remaining: Cell::new(true),
            lost_marks: OnceAMinute::default(),
            bad_sets: OnceAMinute::default(),
        });
        let listener = Rc::clone(&inner);
        let hear = move |host: Host, id, backend| {
            let mut marks = listener.marks.borrow_mut();
            marks.announce(&host, id, backend, Instant::now().into_std());
        };
        let tasks = [
            Task::spawn(channel::listen(read, hear)),
            Task::spawn(watch_checker(Rc::clone(&inner))),
        ];
        Self {
            inner,
            writes: RefCell::default(),
            _tasks: tasks,
        }
    }

    /// Starts a write that nobody waits for; `false` when too many are under way.
    fn spawn(&self, write: impl Future<Output = ()> + 'static) -> bool {
        let mut writes = self.writes.borrow_mut();
        while writes.try_join_next().is_some() {}
        if writes.len() >= WRITES {
            let error = format_args!("{WRITES} are on their way already");
            self.inner.lose_mark(&error);
            return false;
        }
        writes.spawn_local(write);
        true
    }

    fn announce(&self, host: &Host, suspect: &Suspect<'_>) -> Marked {
        let said = wire::announcement(host, suspect.backend, suspect.id, suspect.length);
        let inner = Rc::clone(&self.inner);
        self.spawn(async move { inner.publish(&said).await });
        Marked::Announced
    }

    fn mark(&self, host: &Host, suspect: &Suspect<'_>) -> Marked {
        let now = Instant::now().into_std();
        let mut marks = self.inner.marks.borrow_mut();
        let Some(ticket) = marks.mark(host, suspect.id, suspect.backend, now) else {
            return Marked::Already;
        };
        let said = wire::announcement(host, suspect.backend, suspect.id, suspect.length);
        let commands = {
            let Inner { prefix, ttl, .. } = &*self.inner;
            wire::mark(prefix, host, suspect.id, *ttl, &said)
        };
        let (inner, target) = (Rc::clone(&self.inner), host.clone());
        let write = async move { inner.write_mark(&target, ticket, &commands).await };
        if !self.spawn(write) {
            marks.written(host, ticket, false, now);
        }
        Marked::Dead
    }
}

impl RouteStore for RedisStore {
    fn lookup<'a>(&'a self, host: &'a Host, asked: &'a Cell<Option<Asked>>) -> Lookup<'a> {
        Lookup::Pending(Box::pin(async move {
            let answer = self.inner.lookup(host, asked).await;
            answer.map_err(|cause| RouteError::Unavailable { cause })?
        }))
    }

    /// The original's rule: while a checker is at work it alone decides, and is only told.
    fn mark_dead(&self, host: &Host, suspect: &Suspect<'_>) -> Marked {
        if self.is_checked() {
            self.announce(host, suspect)
        } else {
            self.mark(host, suspect)
        }
    }

    fn hash<'a>(&'a self, hash: Hash, host: &'a str) -> Pending<'a> {
        Box::pin(async move {
            let commands = wire::hash(&self.inner.prefix, hash, host);
            let deadline = Instant::now() + LIMIT;
            let replies = self.inner.read.request(&commands, deadline).await?;
            wire::hashed(replies).map_err(Rc::from)
        })
    }

    fn is_checked(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        let checked_at = self.inner.checked_at.get();
        checked_at.is_some_and(|time| now - time <= CHECKER_FRESH.as_secs_f64())
    }

    fn readiness(&self) -> Result<(), Rc<str>> {
        self.inner.read.down().map_or(Ok(()), Err)
    }

    fn links(&self) -> Vec<LinkReport> {
        let write = self.inner.write.as_ref();
        std::iter::once(self.inner.read.report("read"))
            .chain(write.map(|link| link.report("write")))
            .collect()
    }

    fn dead(&self, limit: usize) -> Vec<DeadReport> {
        let marks = self.inner.marks.borrow();
        marks.report(limit, Instant::now().into_std())
    }
}

impl Inner {
    fn writer(&self) -> &Link {
        self.write.as_ref().unwrap_or(&self.read)
    }

    async fn write_mark(&self, host: &Host, ticket: Ticket, commands: &Pipeline) {
        let replies = self
            .writer()
            .request(commands, Instant::now() + LIMIT)
            .await;
        let written = replies.and_then(|replies| Ok(wire::marked(replies)?));
        let is_done = written.is_ok();
        let now = Instant::now().into_std();
        self.marks.borrow_mut().written(host, ticket, is_done, now);
        self.tell_lost(written);
    }

    async fn publish(&self, said: &str) {
        let commands = wire::publish(said);
        let replies = self
            .writer()
            .request(&commands, Instant::now() + LIMIT)
            .await;
        self.tell_lost(replies.and_then(|replies| Ok(wire::published(&replies)?)));
    }

    /// Tells of a mark that did not reach Redis. After a failover the old master answers, but takes
    /// no writes and keeps the connection open: only a new one can find its successor.
    fn tell_lost(&self, written: Result<(), Rc<str>>) {
        let Err(cause) = written else { return };
        if cause.starts_with("READONLY") {
            self.writer().replace(&cause);
        }
        self.lose_mark(&cause);
    }

    fn lose_mark(&self, cause: &dyn Display) {
        self.seat.add(Counter::MarksLost, 1);
        self.lost_marks.tell("writing a dead mark", cause);
    }
}

/// Reads when a checker last was at work, until its task is dropped.
async fn watch_checker(inner: Rc<Inner>) {
    let commands = wire::checker();
    loop {
        match inner.read.request(&commands, Instant::now() + LIMIT).await {
            Ok(replies) => {
                inner.checked_at.set(wire::checked(&replies));
                sleep(CHECKER_POLL).await;
            }
            Err(_) => sleep(CHECKER_RETRY).await,
        }
    }
}

#[cfg(test)]
mod tests;
