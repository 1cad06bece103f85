//! Choosing one live, untried backend. No I/O, no clock.

use std::rc::Rc;

use crate::vhost::{Backend, BackendId, Frontend};

/// A set of backends by id: the dead ones, or those already tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendSet {
    first: u64,
    more: Vec<u64>,
}

impl BackendSet {
    /// Adds a backend.
    pub fn insert(&mut self, _id: BackendId) {
        todo!("set")
    }

    /// Whether the backend is in it.
    #[must_use]
    pub fn contains(&self, _id: BackendId) -> bool {
        todo!("set")
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        todo!("set")
    }
}

/// What a pick found.
#[derive(Clone, Debug)]
pub enum Pick {
    /// This one.
    Backend(BackendId, Rc<Backend>),
    /// The frontend has no backend, or all are dead or tried.
    NoneLeft,
    /// What is left are entries that are no URL.
    Invalid,
}

/// Picks one of those that are neither dead nor tried, each with the same chance.
/// `draw(n)` gives a number below `n`.
pub fn pick(
    _frontend: &Frontend,
    _dead: &BackendSet,
    _tried: &BackendSet,
    _draw: impl FnOnce(usize) -> usize,
) -> Pick {
    todo!("pick")
}
