//! Telling every task once to finish, and knowing when all have.

/// The hand that gives the signal and waits.
#[derive(Debug)]
pub(crate) struct Drain {}

/// Held by every task that must finish; the drain is over when the last is dropped.
#[derive(Clone, Debug)]
pub(crate) struct DrainWatch {}

impl Drain {
    /// A drain and the first watch of it; further ones are clones.
    pub(crate) fn new() -> (Self, DrainWatch) {
        todo!("drain")
    }

    /// Gives the signal; at once, and only once.
    pub(crate) fn begin(&self) {
        todo!("drain")
    }

    /// Waits until every watch is dropped. The caller puts a limit around it.
    pub(crate) async fn finished(&self) {
        todo!("drain")
    }
}

impl DrainWatch {
    /// Whether the signal was given.
    pub(crate) fn is_draining(&self) -> bool {
        todo!("drain")
    }

    /// Waits for the signal. Cancel safe.
    pub(crate) async fn begun(&self) {
        todo!("drain")
    }
}
