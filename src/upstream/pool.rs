//! Who may open a connection, who gets a kept one, and who waits.
//!
//! Pure bookkeeping, generic over key and value: no I/O and no clock. Every connection to a backend,
//! whether in use, idle, being opened or a tunnel, is one [`Claim`]; a key never has more than
//! `Limits::claims` of them.
//!
//! Invariants: a live waiter waits only while every claim is taken and none is idle; a node without
//! claims is not in the map; no value is dropped while the map is borrowed, as dropping a claim
//! borrows it. Nothing is lost when a waiter is dropped, before or after it was served: what it was
//! given is freed by the claim in it and goes to the next.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::Hash;
use std::mem;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use foldhash::HashMap;
use tokio::sync::oneshot;

/// Waiters for each claim that may exist; more are turned away at once.
const WAITERS_PER_CLAIM: usize = 16;

/// What a pool may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Claims per key, at least 1.
    pub(super) claims: usize,
    /// How long a value is kept idle; `None`: it is not kept at all.
    pub(super) idle: Option<Duration>,
}

/// The claims of all keys.
pub(super) struct Pool<K: Eq + Hash + Clone, T> {
    limits: Limits,
    nodes: RefCell<HashMap<K, Node<K, T>>>,
}

struct Node<K: Eq + Hash + Clone, T> {
    /// All claims, idle ones included.
    taken: usize,
    /// The longest idle in front; used from the back, so that the rest may age and go.
    idle: VecDeque<Idle<K, T>>,
    /// First come, first served. Those given up are found by their closed channel.
    waiters: VecDeque<oneshot::Sender<Grant<K, T>>>,
}

struct Idle<K: Eq + Hash + Clone, T> {
    // Dropped in this order: the connection is closed before its place is free.
    value: T,
    claim: Claim<K, T>,
    since: Instant,
}

/// What a waiter is given.
pub(super) enum Grant<K: Eq + Hash + Clone, T> {
    /// A value that another has just put back; it has not been looked at.
    Kept(T, Claim<K, T>),
    /// The right to make a new one.
    New(Claim<K, T>),
}

/// The answer to the wish for a new value.
pub(super) enum Turn<K: Eq + Hash + Clone, T> {
    /// Now.
    Now(Claim<K, T>),
    /// When this resolves.
    Later(oneshot::Receiver<Grant<K, T>>),
    /// Too many wait already.
    Never,
}

/// The right to one value, until dropped.
pub(super) struct Claim<K: Eq + Hash + Clone, T> {
    pool: Weak<Pool<K, T>>,
    key: K,
}

impl<K: Eq + Hash + Clone, T> Pool<K, T> {
    pub(super) fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            nodes: RefCell::default(),
        })
    }

    /// The value that was put back last, unless it is too old. It has not been looked at.
    pub(super) fn take(&self, key: &K, now: Instant) -> Option<(T, Claim<K, T>)> {
        let oldest = self.limits.idle?;
        let idle = self.nodes.borrow_mut().get_mut(key)?.idle.pop_back()?;
        // Where the youngest is too old all are; the sweep takes the others.
        (now.saturating_duration_since(idle.since) < oldest).then_some((idle.value, idle.claim))
    }

    /// Asks for the right to a new value. An idle one is given up for it when all claims are taken.
    pub(super) fn claim(self: &Rc<Self>, key: &K) -> Turn<K, T> {
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.entry(key.clone()).or_insert_with(Node::new);
        if node.taken < self.limits.claims {
            node.taken += 1;
            return Turn::Now(self.new_claim(key));
        }
        if let Some(idle) = node.idle.pop_front() {
            drop(nodes);
            drop(idle.value);
            return Turn::Now(idle.claim);
        }
        if node.count_waiters(self.max_waiters()) >= self.max_waiters() {
            return Turn::Never;
        }
        let (sender, receiver) = oneshot::channel();
        node.waiters.push_back(sender);
        Turn::Later(receiver)
    }

    /// Drops the idle values that are too old or no longer usable.
    pub(super) fn sweep(&self, now: Instant, mut is_usable: impl FnMut(&mut T) -> bool) {
        let Some(oldest) = self.limits.idle else {
            return;
        };
        let mut swept = Vec::new();
        for node in self.nodes.borrow_mut().values_mut() {
            for mut idle in mem::take(&mut node.idle) {
                let is_young = now.saturating_duration_since(idle.since) < oldest;
                if is_young && is_usable(&mut idle.value) {
                    node.idle.push_back(idle);
                } else {
                    swept.push(idle);
                }
            }
        }
        // Only now: the claims in them borrow the map.
        drop(swept);
    }

    fn max_waiters(&self) -> usize {
        self.limits.claims.saturating_mul(WAITERS_PER_CLAIM)
    }

    fn new_claim(self: &Rc<Self>, key: &K) -> Claim<K, T> {
        Claim {
            pool: Rc::downgrade(self),
            key: key.clone(),
        }
    }

    /// Takes a value back: for the first waiter, or to be idle.
    fn put(&self, value: T, claim: Claim<K, T>, since: Instant) {
        let mut nodes = self.nodes.borrow_mut();
        let Some(node) = nodes.get_mut(&claim.key) else {
            return;
        };
        if let Some(waiter) = node.next_waiter() {
            drop(nodes);
            // It cannot have gone since it was chosen: there is one thread.
            drop(waiter.send(Grant::Kept(value, claim)));
        } else {
            node.idle.push_back(Idle {
                value,
                claim,
                since,
            });
        }
    }

    /// Passes the claim of a value that is no more to the first waiter, or frees it.
    fn free(self: &Rc<Self>, key: &K) {
        let mut nodes = self.nodes.borrow_mut();
        let Some(node) = nodes.get_mut(key) else {
            return;
        };
        if let Some(waiter) = node.next_waiter() {
            drop(nodes);
            drop(waiter.send(Grant::New(self.new_claim(key))));
            return;
        }
        node.taken -= 1;
        if node.taken == 0 {
            nodes.remove(key);
        }
    }
}

impl<K: Eq + Hash + Clone, T> Node<K, T> {
    fn new() -> Self {
        Self {
            taken: 0,
            idle: VecDeque::new(),
            waiters: VecDeque::new(),
        }
    }

    fn next_waiter(&mut self) -> Option<oneshot::Sender<Grant<K, T>>> {
        loop {
            let waiter = self.waiters.pop_front()?;
            if !waiter.is_closed() {
                return Some(waiter);
            }
        }
    }

    /// Counts the waiters; only where they seem too many are those given up sorted out.
    fn count_waiters(&mut self, limit: usize) -> usize {
        if self.waiters.len() >= limit {
            self.waiters.retain(|waiter| !waiter.is_closed());
        }
        self.waiters.len()
    }
}

impl<K: Eq + Hash + Clone, T> Claim<K, T> {
    /// Gives the value back for others; dropped with its claim where values are not kept.
    pub(super) fn keep(self, value: T, since: Instant) {
        match self.pool.upgrade() {
            Some(pool) if pool.limits.idle.is_some() => pool.put(value, self, since),
            _ => drop(value),
        }
    }
}

impl<K: Eq + Hash + Clone, T> Drop for Claim<K, T> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.free(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
