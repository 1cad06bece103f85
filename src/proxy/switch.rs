//! A connection that changes from HTTP to a tunnel: what is left at the 101 for the time when its
//! last byte is out.

use std::rc::Rc;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, header};

use super::exchange::Exchange;
use super::{Proxy, ReplyBody};
use crate::error::End;
use crate::relay::{Closing, RequestBody, Side, TunnelEnd, TunnelOver, TunnelTerms};
use crate::telemetry::TunnelRecord;
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
    /// What goes through it, and how long it may keep silent.
    pub(crate) terms: TunnelTerms,
}

impl Proxy {
    /// Leaves both ends for the tunnel that begins when the 101 is out.
    pub(super) fn switch(
        &self,
        mut exchange: Box<Exchange>,
        upstream: Upstream<RequestBody>,
        head: Parts,
    ) -> Response<ReplyBody> {
        let Some((upstream, ahead, place)) = upstream.into_tunnel() else {
            let refusal = End::HttpProtocolError.into();
            return self.refuse(exchange, &refusal);
        };
        exchange.tunnel = Some(TunnelRecord::default());
        let protocol = head.headers.get(header::UPGRADE);
        let is_websocket =
            protocol.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let terms = TunnelTerms {
            idle_limit: self.config.server.timeouts.tunnel,
            is_websocket,
        };
        let link = Rc::clone(exchange.link());
        link.leave_switch(Switch {
            upstream,
            ahead,
            _place: place,
            exchange,
            terms,
        });
        Response::from_parts(head, ReplyBody::Empty)
    }
}

impl Switch {
    /// Finishes the exchange, whose tunnel ended like this.
    pub(crate) fn finish(mut self, over: TunnelOver) {
        self.exchange.tunnel = Some(told(&over));
        let end = end_of(&over, self.terms.is_websocket);
        self.exchange.finish(end);
    }
}

/// A WebSocket that was closed by a frame ended well, whatever its connections did then; one that
/// just ended did not (RFC 6455 §7.1.5). Other protocols have no such word.
fn end_of(over: &TunnelOver, is_websocket: bool) -> End {
    match (over.end, over.closing) {
        (TunnelEnd::Idle, _) => End::TunnelIdle,
        (_, Some(Closing::Said(..))) => End::Ok,
        (TunnelEnd::Closed, Some(Closing::Cut(Side::Client))) if is_websocket => End::ClientGone,
        (TunnelEnd::Closed, _) if is_websocket => End::ConnectionTerminated,
        (TunnelEnd::Closed, _) => End::Ok,
        (TunnelEnd::DownstreamFailed, _) => End::ClientGone,
        (TunnelEnd::UpstreamFailed, _) => End::ConnectionTerminated,
    }
}

fn told(over: &TunnelOver) -> TunnelRecord {
    let (side, close_status) = match over.closing {
        None => return TunnelRecord::default(),
        Some(Closing::Said(side, status)) => (side, Some(status)),
        Some(Closing::Cut(side)) => (side, None),
    };
    TunnelRecord {
        closed_by: Some(match side {
            Side::Client => "client",
            Side::Backend => "backend",
        }),
        close_status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_tunnel_is_that_of_its_exchange() {
        use Closing::{Cut, Said};
        use Side::{Backend, Client};
        use TunnelEnd::{Closed, DownstreamFailed, Idle, UpstreamFailed};
        let said = |side| Some(Said(side, 1000));
        let cases = [
            (true, Closed, said(Client), End::Ok),
            (true, Closed, said(Backend), End::Ok),
            (true, DownstreamFailed, said(Client), End::Ok),
            (true, UpstreamFailed, said(Client), End::Ok),
            (true, Idle, said(Client), End::TunnelIdle),
            (true, Closed, Some(Cut(Client)), End::ClientGone),
            (true, Closed, Some(Cut(Backend)), End::ConnectionTerminated),
            (true, DownstreamFailed, Some(Cut(Client)), End::ClientGone),
            (
                true,
                UpstreamFailed,
                Some(Cut(Backend)),
                End::ConnectionTerminated,
            ),
            (false, Closed, Some(Cut(Client)), End::Ok),
            (false, Closed, Some(Cut(Backend)), End::Ok),
            (false, DownstreamFailed, Some(Cut(Client)), End::ClientGone),
            (
                false,
                UpstreamFailed,
                Some(Cut(Backend)),
                End::ConnectionTerminated,
            ),
            (false, Idle, None, End::TunnelIdle),
        ];
        for (is_websocket, end, closing, expected) in cases {
            let over = TunnelOver { end, closing };
            assert_eq!(
                end_of(&over, is_websocket),
                expected,
                "{is_websocket} {over:?}"
            );
        }
    }
}
