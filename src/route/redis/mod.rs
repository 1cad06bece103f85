//! Routes in Redis, with the keys, messages and commands of the original.
//!
//! One link for reads, one for writes when the driver names two servers, one subscription. Every
//! lookup asks Redis, so a change counts for the very next request.

mod channel;
mod dial;
mod link;
mod memo;
mod wire;

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use redis::Pipeline;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::lookup::keys;
use super::marks::{DeadSet, Marks, Ticket};
use super::task::Task;
use super::throttle::Throttle;
use super::{
    Asked, DeadReport, LinkReport, Lookup, Marked, Route, RouteError, RouteStore, Source, Suspect,
};
use crate::config::RedisDriver;
use crate::scoreboard::{Counter, Slot};
use crate::vhost::Host;
use dial::Server;
use link::Link;
use memo::Memo;

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

/// Redis as a store of routes.
pub(super) struct RedisStore {
    inner: Rc<Inner>,
    writes: RefCell<JoinSet<()>>,
    _tasks: [Task<()>; 2],
}

struct Inner {
    slot: Slot,
    prefix: String,
    read: Link,
    /// `None`: writes go where reads go.
    write: Option<Link>,
    marks: RefCell<Marks>,
    memo: RefCell<Memo>,
    ttl: Duration,
    /// When a checker last was at work, in seconds since 1970.
    checked_at: Cell<Option<f64>>,
    /// Whether the user may ask for the remaining time of a set.
    with_remaining: Cell<bool>,
    lost_marks: Throttle,
    bad_sets: Throttle,
}

impl RedisStore {
    /// Connects in the background; marks last for `ttl`.
    pub(super) fn start(driver: &RedisDriver, ttl: Duration, slot: Slot) -> Self {
        let read = Rc::new(Server::new(&driver.read));
        let write = driver
            .write
            .as_ref()
            .map(|write| Rc::new(Server::new(write)));
        Self::connect(driver.prefix.clone(), (read, write), ttl, slot)
    }

    fn connect(
        prefix: String,
        (read, write): (Rc<Server>, Option<Rc<Server>>),
        ttl: Duration,
        slot: Slot,
    ) -> Self {
        let inner = Rc::new(Inner {
            slot,
            prefix,
            read: Link::start(Rc::clone(&read)),
            write: write.map(Link::start),
            marks: RefCell::new(Marks::new(ttl)),
            memo: RefCell::default(),
            ttl,
            checked_at: Cell::new(None),
            with_remaining: Cell::new(true),
            lost_marks: Throttle::default(),
            bad_sets: Throttle::default(),
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
    fn lookup<'a>(&'a self, host: &'a Host) -> Lookup<'a> {
        Lookup::Pending(Box::pin(async move {
            let answer = self.inner.lookup(host).await;
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

    fn asked(&self, host: &Host) -> Option<Asked> {
        // The lists, the dead set and, where it may be asked for, the time that is left to it.
        let sets = 1 + usize::from(self.inner.with_remaining.get());
        Some(Asked {
            commands: keys(host).count() + sets,
            peer: self.inner.read.peer(),
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
    /// The route of a host, or that there is none; the outer error is why nobody knows.
    async fn lookup(&self, host: &Host) -> Result<Result<Route, RouteError>, Rc<str>> {
        let start = Instant::now();
        let found = loop {
            let with_remaining = self.with_remaining.get();
            let commands = wire::lookup(&self.prefix, host, with_remaining);
            let replies = self.read.request(&commands, start + LIMIT).await?;
            match wire::found(host, replies, with_remaining, &mut self.memo.borrow_mut()) {
                Ok(found) => break found,
                Err(wire::Refusal::NoRemaining) => self.with_remaining.set(false),
                Err(wire::Refusal::Said(text)) => return Err(text.into()),
            }
        };
        if let Some(problem) = &found.problem {
            let error = format_args!("dead:{host}: {problem}; its marks are not seen");
            self.bad_sets.tell("reading dead marks", &error);
        }
        let Some(frontend) = found.frontend else {
            return Ok(Err(RouteError::NotFound));
        };
        let set = DeadSet {
            members: found.members,
            remaining: found.remaining,
            issued: start.into_std(),
        };
        let now = Instant::now();
        let mut marks = self.marks.borrow_mut();
        Ok(Ok(Route {
            dead: marks.dead(host, &frontend, Some(&set), now.into_std()),
            frontend,
            source: Source::Redis,
            age: Duration::ZERO,
            read: now - start,
        }))
    }

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
        self.slot.add(Counter::MarksLost, 1);
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
