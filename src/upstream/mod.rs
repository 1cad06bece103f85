//! A usable connection to a backend, new or reused, within limits.
