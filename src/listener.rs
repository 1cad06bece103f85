//! Sockets: bind, accept within limits, say who came.
