//! Which backend a dead mark means. Pure: the time is an argument.
//!
//! Redis keeps bare indexes (`dead:<host>`), but lists are edited while marks last: read by index
//! alone, a mark lands on whoever stands there now. So every index is tied to a backend when it is
//! first heard of, by our own mark, by an announcement on the channel `dead`, or, failing both, by
//! the list read together with it; and it stays with that backend while the index stays in the set.
//!
//! Invariants: a backend is dead only by a mark of ours or by an index in the set; an index that was
//! tied to one backend never speaks against another; there are at most [`LIMIT`] marks, and
//! [`HOST_LIMIT`] of one host.

mod mark;

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::DeadReport;
use crate::balance::BackendSet;
use crate::vhost::{Backend, BackendId, Frontend, Host};
use mark::{Mark, Origin, Write};

/// Marks kept, at most; the oldest go first.
const LIMIT: usize = 65_536;
/// Marks kept of one host, at most; its oldest go first. Each look at a host goes through all of
/// its marks, and anybody who may publish can announce what no list has.
const HOST_LIMIT: usize = 4096;
/// A read within this time after a write may still show the state before it (replica lag).
const LAG: Duration = Duration::from_secs(1);
/// An announcement is remembered at least so long for a checker that adds the index later.
const ANNOUNCEMENT_KEPT: Duration = Duration::from_secs(60);
/// Longest remaining time believed of a set.
const REMAINING_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Indexes beyond both this and the list are taken for garbage.
pub(super) const INDEX_LIMIT: BackendId = 1024;
/// Marks that are never worth a sweep.
const SWEEP_MIN: usize = 256;

/// The dead set of a host as one read found it.
#[derive(Clone, Debug)]
pub(super) struct DeadSet {
    /// The indexes in it.
    pub(super) members: Vec<BackendId>,
    /// How long the set still lasts; `None` where Redis does not say.
    pub(super) remaining: Option<Duration>,
    /// When the read was sent.
    pub(super) issued: Instant,
}

impl DeadSet {
    /// How long the set still lasts, as far as it can be believed.
    fn lasts(&self, ttl: Duration) -> Duration {
        self.remaining.unwrap_or(ttl).min(REMAINING_LIMIT)
    }
}

/// Names a mark of ours until its write is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// The dead marks of all hosts.
#[derive(Debug)]
pub(super) struct Marks {
    hosts: HashMap<Host, Vec<Mark>>,
    /// Every mark ever made that no sweep has found gone, oldest first.
    order: VecDeque<(Host, Ticket)>,
    sweep_at: usize,
    next: u64,
    ttl: Duration,
}

impl Marks {
    /// No marks; those of ours last for `ttl`.
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            hosts: HashMap::new(),
            order: VecDeque::new(),
            sweep_at: SWEEP_MIN,
            next: 0,
            ttl,
        }
    }

    /// Marks a backend dead from now on. `None` when the same mark is on its way to the store
    /// already, so that a thousand failures at once are one write.
    pub(super) fn mark(
        &mut self,
        host: &Host,
        id: BackendId,
        backend: &Rc<Backend>,
        now: Instant,
    ) -> Option<Ticket> {
        let origin = Origin::Own {
            write: Write::Pending,
            until: now + self.ttl,
        };
        // The set expires a little later than we count, and must not be guessed about then.
        let until = now + self.ttl + LAG;
        match self.find(host, id, backend) {
            Some(mark) => {
                if mark.is_pending() {
                    return None;
                }
                mark.until = until;
                mark.origin = origin;
                Some(mark.ticket)
            }
            None => {
                let ticket = self.ticket();
                let backend = Some(Rc::clone(backend));
                let mark = Mark {
                    ticket,
                    id,
                    backend,
                    until,
                    origin,
                };
                self.remember(host, mark, now);
                Some(ticket)
            }
        }
    }

    /// Tells what became of the write of a mark of ours.
    pub(super) fn written(&mut self, host: &Host, ticket: Ticket, is_done: bool, now: Instant) {
        let mut marks = self.hosts.get_mut(host).into_iter().flatten();
        if let Some(mark) = marks.find(|mark| mark.ticket == ticket) {
            mark.settle(if is_done {
                Write::Done(now)
            } else {
                Write::Missing
            });
        }
    }

    /// Ties an index to a backend, as the channel `dead` told. It is dead only once it is in the set.
    pub(super) fn announce(&mut self, host: &Host, id: BackendId, backend: Backend, now: Instant) {
        let until = now + self.ttl + LAG;
        for mark in self.hosts.get_mut(host).into_iter().flatten() {
            // Whoever marks one index renews the whole set.
            mark.until = mark.until.max(until);
            mark.correct_guess(id, &backend, now);
        }
        let kept = now + self.ttl.max(ANNOUNCEMENT_KEPT);
        match self.find(host, id, &backend) {
            Some(mark) => mark.hear(now, kept),
            None => {
                let mark = Mark {
                    ticket: self.ticket(),
                    id,
                    backend: Some(Rc::new(backend)),
                    until: kept,
                    origin: Origin::Announced {
                        at: now,
                        was_in_set: false,
                    },
                };
                self.remember(host, mark, now);
            }
        }
    }

    /// The dead backends of a frontend. `set` is what was read with it; `None` where the store has
    /// no sets and our own marks are all there is.
    pub(super) fn dead(
        &mut self,
        host: &Host,
        frontend: &Frontend,
        set: Option<&DeadSet>,
        now: Instant,
    ) -> BackendSet {
        if let Some(marks) = self.hosts.get_mut(host) {
            marks.retain_mut(|mark| mark.observe(set, self.ttl, now));
            if marks.is_empty() {
                self.hosts.remove(host);
            }
        }
        if let Some(set) = set {
            self.take_from_list(host, frontend, set, now);
        }
        let mut dead = BackendSet::default();
        for mark in self.hosts.get(host).into_iter().flatten() {
            if mark.holds(set, now) {
                mark.insert_into(&mut dead, frontend);
            }
        }
        dead
    }

    /// Ties the indexes of the set that nobody told us of to what the list has in their place.
    fn take_from_list(&mut self, host: &Host, frontend: &Frontend, set: &DeadSet, now: Instant) {
        let until = now + set.lasts(self.ttl);
        let end = frontend.backends.len().max(INDEX_LIMIT);
        let members = set.members.iter().copied().filter(|id| *id < end);
        for id in members.take(HOST_LIMIT) {
            let marks = self.hosts.get(host);
            if marks.is_some_and(|marks| marks.iter().any(|mark| mark.id == id)) {
                continue;
            }
            let mark = Mark {
                ticket: self.ticket(),
                id,
                backend: frontend.backend(id).cloned(),
                until,
                origin: Origin::Listed { at: now },
            };
            self.remember(host, mark, now);
        }
    }

    /// Whether no host has a mark, which is how it is nearly always.
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The backends that are held for dead, so many at most, in no order.
    pub(super) fn report(&self, limit: usize, now: Instant) -> Vec<DeadReport> {
        let marks = self.hosts.iter();
        let marks = marks.flat_map(|(host, marks)| marks.iter().map(move |mark| (host, mark)));
        let held = marks.filter(|(_, mark)| mark.is_held(now));
        let reports = held.filter_map(|(host, mark)| {
            Some(DeadReport {
                host: host.as_str().to_owned(),
                id: mark.id,
                url: mark.backend.as_ref()?.url.to_string(),
            })
        });
        reports.take(limit).collect()
    }

    fn find(&mut self, host: &Host, id: BackendId, backend: &Backend) -> Option<&mut Mark> {
        let marks = self.hosts.get_mut(host)?;
        let is_it = |mark: &&mut Mark| mark.id == id && mark.backend.as_deref() == Some(backend);
        marks.iter_mut().find(is_it)
    }

    /// Names the next mark.
    fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    fn remember(&mut self, host: &Host, mark: Mark, now: Instant) {
        if self.order.len() >= self.sweep_at {
            self.sweep(now);
        }
        self.order.push_back((host.clone(), mark.ticket));
        let marks = self.hosts.entry(host.clone()).or_default();
        if marks.len() >= HOST_LIMIT {
            marks.remove(0);
        }
        marks.push(mark);
    }

    /// Forgets what has run out, then the oldest if too many are left. The next sweep comes when
    /// as many again were made, so a mark costs the same however many there are.
    fn sweep(&mut self, now: Instant) {
        self.hosts.retain(|_, marks| {
            marks.retain(|mark| now < mark.until);
            !marks.is_empty()
        });
        let kept = self.hosts.values().flatten();
        let kept: HashSet<Ticket> = kept.map(|mark| mark.ticket).collect();
        self.order.retain(|(_, ticket)| kept.contains(ticket));
        let surplus = self.order.len().saturating_sub(LIMIT / 8 * 7);
        for (host, ticket) in self.order.drain(..surplus) {
            if let Some(marks) = self.hosts.get_mut(&host) {
                marks.retain(|mark| mark.ticket != ticket);
                if marks.is_empty() {
                    self.hosts.remove(&host);
                }
            }
        }
        self.sweep_at = (self.order.len() * 2).clamp(SWEEP_MIN, LIMIT);
    }
}

#[cfg(test)]
mod tests;
