//! Moving bytes and reporting the end exactly once.
//!
//! [`Upload`] is the request's body on its way up, [`tunnel()`] the byte pipe after a 101. The body on
//! its way down carries the exchange itself and lives in `proxy::response`.

mod deadline;
mod frames;
mod interim;
mod tunnel;
mod upload;

pub(crate) use deadline::{Deadline, after, earlier};
pub(crate) use interim::Interim;
pub(crate) use tunnel::{Closing, Side, TunnelEnd, TunnelOver, TunnelTerms, TunnelTraffic, tunnel};
pub(crate) use upload::{RequestBody, Upload};
