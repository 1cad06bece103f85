//! One dead mark: an index of a host's dead set, tied to one backend, and how long that holds.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{DeadSet, LAG, Ticket};
use crate::balance::BackendSet;
use crate::vhost::{Backend, BackendId, Entry, Frontend};

/// One index, tied to one backend.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) ticket: Ticket,
    pub(super) id: BackendId,
    /// `None`: the place was empty or no URL when the index was first seen, so it blames nobody.
    pub(super) backend: Option<Rc<Backend>>,
    /// Forgotten from here on: by then the set has expired, as far as we were told.
    pub(super) until: Instant,
    pub(super) origin: Origin,
}

/// How we came to know whom an index means.
#[derive(Debug)]
pub(super) enum Origin {
    /// Our own mark: holds from the start until its time is over, whatever the set says.
    Own { write: Write, until: Instant },
    /// Told by the channel: holds while the index is in the set.
    Announced { at: Instant, was_in_set: bool },
    /// Taken from the list that was read with the set.
    Listed { at: Instant },
}

/// What became of the write of a mark of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Pending,
    /// Not in the store: refused, lost, or the store takes none.
    Missing,
    /// In the store at this time at the latest.
    Done(Instant),
}

impl Mark {
    /// Takes in what a read found; `false` when the mark is over.
    pub(super) fn observe(&mut self, set: Option<&DeadSet>, ttl: Duration, now: Instant) -> bool {
        if now >= self.until {
            return false;
        }
        let Some(set) = set else { return true };
        if set.members.contains(&self.id) {
            self.until = self.until.max(now + set.lasts(ttl));
            match &mut self.origin {
                Origin::Own {
                    write: write @ (Write::Pending | Write::Missing),
                    ..
                } => {
                    *write = Write::Done(now);
                }
                Origin::Announced { was_in_set, .. } => *was_in_set = true,
                Origin::Own { .. } | Origin::Listed { .. } => {}
            }
            return true;
        }
        // Not in the set any more: taken out (a checker's SREM) or expired, unless the read is so
        // close to the mark that it may be the older of the two.
        match self.origin {
            Origin::Own {
                write: Write::Done(at),
                until,
            } => set.issued < at + LAG && now < until,
            Origin::Own { until, .. } => now < until,
            Origin::Announced { at, was_in_set } => !was_in_set || set.issued < at + LAG,
            Origin::Listed { .. } => false,
        }
    }

    /// Whether the mark counts against its backend, after [`Self::observe`].
    pub(super) fn holds(&self, set: Option<&DeadSet>, now: Instant) -> bool {
        matches!(self.origin, Origin::Own { until, .. } if now < until)
            || set.is_some_and(|set| set.members.contains(&self.id))
    }

    /// Whether the mark counts against its backend as far as is known without a read.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        now < self.until
            && match self.origin {
                Origin::Own { until, .. } => now < until,
                Origin::Announced { was_in_set, .. } => was_in_set,
                Origin::Listed { .. } => true,
            }
    }

    /// Adds the backend wherever it stands in the list now.
    pub(super) fn insert_into(&self, dead: &mut BackendSet, frontend: &Frontend) {
        for (id, entry) in frontend.backends.iter().enumerate() {
            if matches!(entry, Entry::Backend(backend) if Some(backend) == self.backend.as_ref()) {
                dead.insert(id);
            }
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(
            self.origin,
            Origin::Own {
                write: Write::Pending,
                ..
            }
        )
    }

    pub(super) fn settle(&mut self, outcome: Write) {
        if let Origin::Own { write, .. } = &mut self.origin {
            // A read may have seen it in the set before the reply came.
            if *write == Write::Pending || outcome != Write::Missing {
                *write = outcome;
            }
        }
    }

    /// The same backend was announced again.
    pub(super) fn hear(&mut self, now: Instant, kept: Instant) {
        self.until = self.until.max(kept);
        match &mut self.origin {
            Origin::Own { .. } => {}
            Origin::Announced { at, .. } => *at = now,
            Origin::Listed { .. } => {
                self.origin = Origin::Announced {
                    at: now,
                    was_in_set: true,
                }
            }
        }
    }

    /// An announcement can come a moment after a read that had to guess whom the index means.
    pub(super) fn correct_guess(&mut self, id: BackendId, backend: &Backend, now: Instant) {
        if let Origin::Listed { at } = self.origin
            && self.id == id
            && now < at + LAG
            && self.backend.as_deref() != Some(backend)
        {
            self.backend = Some(Rc::new(backend.clone()));
        }
    }
}
