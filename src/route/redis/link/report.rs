//! What a link tells of itself.

use std::rc::Rc;

use super::{Link, State};

impl Link {
    /// Why the link is down; `None` when it is up.
    pub(in crate::route) fn down(&self) -> Option<Rc<str>> {
        match &*self.shared.state.borrow() {
            State::Up(_) => None,
            State::Down { cause, .. } => Some(Rc::clone(cause)),
        }
    }

    /// The name of the server, for people.
    pub(in crate::route) fn server(&self) -> &str {
        &self.shared.server.name
    }
}
