//! Who gets a stream, who opens a further connection, and who waits.
//!
//! Pure bookkeeping, generic over key and value: no I/O. A connection carries as many streams as its
//! peer allows; a key never has more than `Limits::claims` connections, those being opened and those
//! on their way out included.
//!
//! Invariants: a live waiter waits only while every connection is full and no further one may be
//! opened for it; a connection that is retired or no longer usable gets no further stream; a node
//! without connections and waiters is not in the map; no value is dropped while the map is
//! borrowed. What is granted to a waiter that has gone goes to the next.

mod guards;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::oneshot;

pub(in crate::upstream) use self::guards::{Lease, Opening, Place};
use crate::upstream::pool::Limits;

/// Streams that a connection being opened is expected to carry; RFC 9113 §6.5.2 advises peers to
/// allow no fewer.
const EXPECTED_STREAMS: usize = 100;

/// Waiters for each connection that may exist: those that fill it, and some more.
const WAITERS_PER_CLAIM: usize = EXPECTED_STREAMS + 16;

/// What the bookkeeping knows of one connection.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Load {
    /// Streams in use.
    streams: Cell<usize>,
    /// Streams that the peer allows.
    allowed: Cell<usize>,
    is_retired: Cell<bool>,
    idle_since: Cell<Option<Instant>>,
}

impl Load {
    /// A connection whose peer allows so many streams.
    pub(super) fn new(allowed: usize) -> Rc<Self> {
        let load = Self::default();
        load.allowed.set(allowed);
        Rc::new(load)
    }

    /// The peer allows so many streams now; whether these are more than before.
    pub(super) fn allow(&self, streams: usize) -> bool {
        self.allowed.replace(streams) < streams
    }

    /// It takes no further streams.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
    }

    /// Whether no stream is open.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    fn has_room(&self) -> bool {
        !self.is_retired.get() && self.streams.get() < self.allowed.get()
    }
}

/// The connections of all keys.
pub(in crate::upstream) struct Groups<K: Eq + Hash + Clone, T: Clone> {
    limits: Limits,
    /// Whether a connection takes a further stream, whatever its load says.
    is_usable: fn(&mut T) -> bool,
    nodes: RefCell<HashMap<K, Node<K, T>>>,
}

struct Node<K: Eq + Hash + Clone, T: Clone> {
    /// Connections of any state.
    taken: usize,
    /// Those being opened.
    opening: usize,
    /// Those that take streams, the oldest first.
    trunks: Vec<Trunk<T>>,
    /// First come, first served. Those given up are found by their closed channel.
    waiters: VecDeque<oneshot::Sender<Grant<K, T>>>,
}

struct Trunk<T> {
    value: T,
    load: Rc<Load>,
}

/// What one who asks is given.
pub(in crate::upstream) enum Grant<K: Eq + Hash + Clone, T: Clone> {
    /// A stream on a connection that is there.
    Stream(Lease<K, T>),
    /// The right to open a connection.
    Open(Opening<K, T>),
}

/// The answer to the wish for a stream.
pub(in crate::upstream) enum Turn<K: Eq + Hash + Clone, T: Clone> {
    /// Now.
    Now(Grant<K, T>),
    /// When this resolves.
    Later(oneshot::Receiver<Grant<K, T>>),
    /// Too many wait already.
    Never,
}

impl<K: Eq + Hash + Clone, T: Clone> Groups<K, T> {
    pub(in crate::upstream) fn new(limits: Limits, is_usable: fn(&mut T) -> bool) -> Rc<Self> {
        Rc::new(Self {
            limits,
            is_usable,
            nodes: RefCell::default(),
        })
    }

    /// Asks for a stream.
    pub(in crate::upstream) fn ask(self: &Rc<Self>, key: &K) -> Turn<K, T> {
        if let Some(grant) = self.grant(key, true) {
            return Turn::Now(grant);
        }
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.entry(key.clone()).or_insert_with(Node::new);
        let limit = self.limits.claims.saturating_mul(WAITERS_PER_CLAIM);
        if node.count_waiters(limit) >= limit {
            return Turn::Never;
        }
        let (sender, receiver) = oneshot::channel();
        node.waiters.push_back(sender);
        Turn::Later(receiver)
    }

    /// Whether a connection to this key is just being opened.
    pub(in crate::upstream) fn is_opening(&self, key: &K) -> bool {
        let nodes = self.nodes.borrow();
        nodes.get(key).is_some_and(|node| node.opening > 0)
    }

    /// Lets go of the connections that are idle for too long or no longer usable.
    pub(in crate::upstream) fn sweep(&self, now: Instant) {
        let idle = self.limits.idle.unwrap_or_default();
        let is_old = |load: &Load| {
            let since = load.idle_since.get().filter(|_| load.is_idle());
            since.is_some_and(|since| now.saturating_duration_since(since) >= idle)
        };
        let mut swept = Vec::new();
        for node in self.nodes.borrow_mut().values_mut() {
            let over = |trunk: &mut Trunk<T>| {
                is_old(&trunk.load)
                    || trunk.load.is_retired.get()
                    || !(self.is_usable)(&mut trunk.value)
            };
            swept.extend(node.trunks.extract_if(.., over));
        }
        // Only now: what is dropped may ask for the map.
        drop(swept);
    }

    /// Serves those who wait, as far as that goes.
    pub(super) fn serve(self: &Rc<Self>, key: &K) {
        while self.has_waiter(key) {
            let Some(grant) = self.grant(key, false) else {
                return;
            };
            let mut nodes = self.nodes.borrow_mut();
            let waiter = nodes.get_mut(key).and_then(|node| node.waiters.pop_front());
            drop(nodes);
            // It cannot have gone since it was looked at: there is one thread.
            drop(waiter.map(|waiter| waiter.send(grant)));
        }
        self.forget_empty(key);
    }

    fn has_waiter(&self, key: &K) -> bool {
        let mut nodes = self.nodes.borrow_mut();
        nodes.get_mut(key).is_some_and(|node| node.has_waiter())
    }

    /// What the next who wants a stream gets. `is_new`: it is none of those who wait.
    fn grant(self: &Rc<Self>, key: &K, is_new: bool) -> Option<Grant<K, T>> {
        let mut unusable = Vec::new();
        let mut nodes = self.nodes.borrow_mut();
        let node = nodes.entry(key.clone()).or_insert_with(Node::new);
        let grant = loop {
            let Some(at) = node.trunks.iter().position(|trunk| trunk.load.has_room()) else {
                break self.may_open(node, is_new).then(|| {
                    node.taken += 1;
                    node.opening += 1;
                    let place = Some(self.place(key));
                    Grant::Open(Opening { place })
                });
            };
            if (self.is_usable)(&mut node.trunks[at].value) {
                break Some(Grant::Stream(self.lease(key, &node.trunks[at])));
            }
            unusable.push(node.trunks.remove(at));
        };
        drop(nodes);
        // Only now: what is dropped may ask for the map.
        drop(unusable);
        grant
    }

    /// Whether a further connection is worth it: those being opened will not do for all who wait.
    fn may_open(&self, node: &Node<K, T>, is_new: bool) -> bool {
        let wanting = node.waiters.len() + usize::from(is_new);
        node.taken < self.limits.claims && wanting > node.opening * EXPECTED_STREAMS
    }

    fn lease(self: &Rc<Self>, key: &K, trunk: &Trunk<T>) -> Lease<K, T> {
        trunk.load.streams.set(trunk.load.streams.get() + 1);
        Lease {
            value: trunk.value.clone(),
            load: Rc::clone(&trunk.load),
            groups: Rc::downgrade(self),
            key: key.clone(),
        }
    }

    fn place(self: &Rc<Self>, key: &K) -> Place<K, T> {
        Place {
            groups: Rc::downgrade(self),
            key: key.clone(),
        }
    }

    /// Takes a connection whose last stream is over out, where none is kept.
    fn let_go_of(&self, key: &K, load: &Rc<Load>) {
        let mut nodes = self.nodes.borrow_mut();
        let Some(node) = nodes.get_mut(key) else {
            return;
        };
        let is_it = |trunk: &mut Trunk<T>| Rc::ptr_eq(&trunk.load, load);
        let gone: Vec<_> = node.trunks.extract_if(.., is_it).collect();
        drop(nodes);
        drop(gone);
    }

    fn forget_empty(&self, key: &K) {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.get(key).is_some_and(Node::is_empty) {
            nodes.remove(key);
        }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Node<K, T> {
    fn new() -> Self {
        Self {
            taken: 0,
            opening: 0,
            trunks: Vec::new(),
            waiters: VecDeque::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.taken == 0 && self.trunks.is_empty() && self.waiters.is_empty()
    }

    /// Whether one waits; those given up in front of it are let go.
    fn has_waiter(&mut self) -> bool {
        while self.waiters.front().is_some_and(oneshot::Sender::is_closed) {
            self.waiters.pop_front();
        }
        !self.waiters.is_empty()
    }

    /// Counts the waiters; only where they seem too many are those given up sorted out.
    fn count_waiters(&mut self, limit: usize) -> usize {
        if self.waiters.len() >= limit {
            self.waiters.retain(|waiter| !waiter.is_closed());
        }
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests;
