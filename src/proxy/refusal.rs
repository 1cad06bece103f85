//! Why an exchange gets an answer of our own, and which.

use super::reply::{self, Answer};
use crate::error::End;

/// Why an exchange gets an answer of our own.
pub(crate) struct Refusal {
    /// How the exchange ends.
    pub(super) end: End,
    /// What the client is told.
    pub(super) answer: Answer,
}

impl From<End> for Refusal {
    fn from(end: End) -> Self {
        let answer = reply::answer(end);
        Self { end, answer }
    }
}
