//! Moving bytes and reporting the end exactly once.
