//! Speaking HTTP on one downstream connection, with timeouts and drain.
