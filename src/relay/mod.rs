//! Moving bytes and reporting the end exactly once.
//!
//! [`Upload`] is the request's body on its way up, [`tunnel()`] the byte pipe after a 101. The body on
//! its way down carries the exchange itself and lives in `proxy::response`.

mod client_body;
mod frames;
mod interim;
mod tunnel;
mod upload;

pub(crate) use client_body::ClientBody;
pub(crate) use interim::{Interim, head_bytes};
pub(crate) use tunnel::{Closing, Side, TunnelEnd, TunnelOver, TunnelTerms, TunnelTraffic, tunnel};
pub(crate) use upload::{RequestBody, Upload};
