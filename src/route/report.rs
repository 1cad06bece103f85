//! What routing tells operators: whether it can answer, its links to Redis, and who is dead.

use std::rc::Rc;

use crate::vhost::BackendId;

/// A connection to Redis, as `/status` shows it.
#[derive(Clone, Debug)]
pub(crate) struct LinkReport {
    /// Address of the server, without secrets.
    pub(crate) server: String,
    /// `read`, or `write` where that is another server.
    pub(crate) role: &'static str,
    /// Why it is down; `None` when it is up.
    pub(crate) down: Option<Rc<str>>,
}

/// A backend that this worker holds for dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadReport {
    /// The host it was marked for.
    pub(crate) host: String,
    /// Its place in the list at that time.
    pub(crate) id: BackendId,
    /// Its URL.
    pub(crate) url: String,
}
