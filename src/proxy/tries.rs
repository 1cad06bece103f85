//! Which backend to try next, and what to say when none is left.

use std::rc::Rc;

use super::retry::Failure;
use super::{Refusal, reply};
use crate::balance::{BackendSet, Pick, pick};
use crate::error::End;
use crate::route::Route;
use crate::upstream::Want;
use crate::vhost::{Backend, BackendId};

/// The backend of one attempt.
pub(super) struct Target {
    pub(super) id: BackendId,
    pub(super) backend: Rc<Backend>,
    pub(super) want: Want,
}

/// The tries of one exchange.
pub(super) struct Tries {
    allowed: u32,
    pub(super) left: u32,
    tried: BackendSet,
    pub(super) again: Option<(BackendId, Rc<Backend>)>,
    pub(super) last: Option<Failure>,
}

impl Tries {
    pub(super) fn new(retries: u32) -> Self {
        Self {
            allowed: retries,
            left: retries,
            tried: BackendSet::default(),
            again: None,
            last: None,
        }
    }

    /// The backend to try next, and on which connection.
    pub(super) fn next(&mut self, route: &Route, is_idempotent: bool) -> Result<Target, Refusal> {
        if let Some((id, backend)) = self.again.take() {
            let want = Want::Fresh;
            return Ok(Target { id, backend, want });
        }
        match pick(&route.frontend, &route.dead, &self.tried, fastrand_below) {
            Pick::Backend(id, backend) => {
                self.tried.insert(id);
                // What cannot be repeated must not meet a connection that is already dead.
                let want = match is_idempotent && self.left > 0 {
                    true => Want::Any,
                    false => Want::Alive,
                };
                Ok(Target { id, backend, want })
            }
            Pick::NoneLeft => Err(self.refusal(End::NoLiveBackend)),
            Pick::Invalid => Err(self.refusal(End::InvalidBackend)),
        }
    }

    /// The answer when nothing is left to try: about the last failure, if there was one.
    pub(super) fn refusal(&self, nothing_left: End) -> Refusal {
        let Some(failure) = self.last else {
            return nothing_left.into();
        };
        Refusal {
            end: failure.end,
            answer: reply::answer(failure.end).out_of_attempts(self.allowed),
        }
    }
}

fn fastrand_below(count: usize) -> usize {
    fastrand::usize(..count)
}
