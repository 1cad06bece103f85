//! Keeping workers alive and passing on the operator's signals.
