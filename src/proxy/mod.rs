//! Carrying one exchange through its phases, always to one answer and one record.

pub(crate) mod headers;
pub(crate) mod reply;
