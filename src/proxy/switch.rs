//! A connection that changes from HTTP to a tunnel: what is left at the 101 for the time when its
//! last byte is out.

use std::rc::Rc;

use bytes::Bytes;
use http::Response;
use http::response::Parts;

use super::exchange::Exchange;
use super::{Proxy, ReplyBody};
use crate::error::End;
use crate::relay::{RequestBody, TunnelEnd};
use crate::upstream::{Place, TunnelIo, Upstream};

/// The backend's side of a tunnel to be, with the exchange that it ends.
pub(crate) struct Switch {
    /// The backend's connection, or its stream on one.
    pub(crate) upstream: TunnelIo,
    /// What the backend sent behind its 101.
    pub(crate) ahead: Bytes,
    /// Its place among the connections to the backend.
    pub(crate) _place: Place,
    /// The exchange, finished when the tunnel ends.
    pub(crate) exchange: Box<Exchange>,
}

impl Proxy {
    /// Leaves both ends for the tunnel that begins when the 101 is out.
    pub(super) fn switch(
        &self,
        exchange: Box<Exchange>,
        upstream: Upstream<RequestBody>,
        head: Parts,
    ) -> Response<ReplyBody> {
        let Some((upstream, ahead, place)) = upstream.into_tunnel() else {
            let refusal = End::HttpProtocolError.into();
            return self.refuse(exchange, &refusal);
        };
        let link = Rc::clone(exchange.link());
        link.leave_switch(Switch {
            upstream,
            ahead,
            _place: place,
            exchange,
        });
        Response::from_parts(head, ReplyBody::Empty)
    }
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
