//! A connection that changes from HTTP to a tunnel: what is left at the 101 for the time when its
//! last byte is out.

use bytes::Bytes;

use super::exchange::Exchange;
use crate::error::End;
use crate::relay::TunnelEnd;
use crate::upstream::{Place, UpstreamIo};

/// The backend's side of a tunnel to be, with the exchange that it ends.
pub(crate) struct Switch {
    /// The backend's connection.
    pub(crate) upstream: UpstreamIo,
    /// What the backend sent behind its 101.
    pub(crate) ahead: Bytes,
    /// Its place among the connections to the backend.
    pub(crate) _place: Place,
    /// The exchange, finished when the tunnel ends.
    pub(crate) exchange: Box<Exchange>,
}

impl Switch {
    /// The end of an exchange whose tunnel ended like this.
    pub(crate) fn end_of(end: TunnelEnd) -> End {
        match end {
            TunnelEnd::Closed => End::Ok,
            TunnelEnd::DownstreamFailed => End::ClientGone,
            TunnelEnd::UpstreamFailed => End::ConnectionTerminated,
            TunnelEnd::Idle => End::TunnelIdle,
        }
    }
}
