//! What is held of a shared connection; each gives itself back when it is dropped.

use std::hash::Hash;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::{Groups, Load, Trunk};

/// A stream, until dropped.
pub(in crate::upstream) struct Lease<K: Eq + Hash + Clone, T: Clone> {
    /// The connection.
    pub(in crate::upstream) value: T,
    /// Its load.
    pub(in crate::upstream) load: Rc<Load>,
    pub(super) groups: Weak<Groups<K, T>>,
    pub(super) key: K,
}

/// The right to open a connection, until it is there or dropped.
pub(in crate::upstream) struct Opening<K: Eq + Hash + Clone, T: Clone> {
    pub(super) place: Option<Place<K, T>>,
}

/// The place of a connection among those of its key, until dropped.
pub(in crate::upstream) struct Place<K: Eq + Hash + Clone, T: Clone> {
    pub(super) groups: Weak<Groups<K, T>>,
    pub(super) key: K,
}

impl<K: Eq + Hash + Clone, T: Clone> Opening<K, T> {
    /// The connection is there: a stream on it, and the place that it holds until it is closed.
    /// Others get theirs, too. `None` when all connections are given up.
    pub(in crate::upstream) fn opened(
        mut self,
        value: T,
        load: Rc<Load>,
    ) -> Option<(Lease<K, T>, Place<K, T>)> {
        let place = self.place.take()?;
        let groups = place.groups.upgrade()?;
        let lease = {
            let mut nodes = groups.nodes.borrow_mut();
            let node = nodes.get_mut(&place.key)?;
            node.opening -= 1;
            node.trunks.push(Trunk { value, load });
            let trunk = node.trunks.last()?;
            groups.lease(&place.key, trunk)
        };
        groups.serve(&place.key);
        Some((lease, place))
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Drop for Opening<K, T> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        if let Some(groups) = place.groups.upgrade()
            && let Some(node) = groups.nodes.borrow_mut().get_mut(&place.key)
        {
            node.opening -= 1;
        }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Lease<K, T> {
    /// What the connection leads to.
    pub(in crate::upstream) fn key(&self) -> &K {
        &self.key
    }

    /// Its connection takes no further streams.
    pub(in crate::upstream) fn retire(&self) {
        self.load.retire();
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Place<K, T> {
    /// The connection has room for more streams than before.
    pub(in crate::upstream) fn serve(&self) {
        if let Some(groups) = self.groups.upgrade() {
            groups.serve(&self.key);
        }
    }

    /// The connection takes no further streams: it is over with those that it has, so that it does
    /// not stand in the way of another one.
    pub(in crate::upstream) fn retire(&self, load: &Rc<Load>) {
        if load.is_retired.replace(true) {
            return;
        }
        if let Some(groups) = self.groups.upgrade() {
            groups.let_go_of(&self.key, load);
        }
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Drop for Place<K, T> {
    fn drop(&mut self) {
        let Some(groups) = self.groups.upgrade() else {
            return;
        };
        if let Some(node) = groups.nodes.borrow_mut().get_mut(&self.key) {
            node.taken -= 1;
        }
        groups.serve(&self.key);
    }
}

impl<K: Eq + Hash + Clone, T: Clone> Drop for Lease<K, T> {
    fn drop(&mut self) {
        self.load.streams.set(self.load.streams.get() - 1);
        let Some(groups) = self.groups.upgrade() else {
            return;
        };
        if self.load.is_idle() {
            self.load.idle_since.set(Some(Instant::now()));
            if groups.limits.idle.is_none() {
                groups.let_go_of(&self.key, &self.load);
            }
        }
        groups.serve(&self.key);
    }
}
