//! The process's own story: each event's text, level and fields, in one place.

/// Something that happened to the process, not to a request.
pub(crate) enum Event<'a> {
    /// A listening socket is bound.
    Listening {
        /// Address with the port in force.
        address: std::net::SocketAddr,
    },
    /// Something went wrong that an operator should read.
    Problem {
        /// What was being done.
        doing: &'a str,
        /// What is wrong and what follows.
        error: &'a dyn std::fmt::Display,
    },
}

/// Sets up the log of the process on standard error. Starts no thread.
pub(crate) fn init(_debug: bool) {
    todo!("events")
}

/// Tells an event.
pub(crate) fn emit(_event: &Event<'_>) {
    todo!("events")
}
