//! The header rules of an intermediary (RFC 9110 §7.6, RFC 9112). Pure.
