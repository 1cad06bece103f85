//! Speaking HTTP on one downstream connection, with timeouts and drain.
//!
//! hyper speaks the protocol; `io` lies below it and keeps the time. When hyper is done, the
//! connection goes on as a tunnel, is closed with care, or is just over.

mod close;
mod h2;
mod io;
mod scan;
mod stall;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};

use self::io::{ClientIo, ClientLimits};
use crate::drain::DrainWatch;
use crate::error::End;
use crate::listener::Downstream;
use crate::proxy::{Downlink, Phase, Proxy, Switch};
use crate::relay::{ClientBody, TunnelEnd, tunnel};
use crate::scoreboard::{Counter, Gauge};

/// Bytes of a request head, at most: about what the original takes.
const HEAD_BYTES: usize = 80 * 1024;

/// Serves one connection until it is over. Holds the drain until then.
pub(crate) async fn serve(downstream: Downstream, proxy: Rc<Proxy>, drain: DrainWatch) {
    let forwarding = proxy.forwarding(&downstream);
    let link = Downlink::new(downstream, forwarding, drain);
    let _last_act = LastAct(&link);
    if link.about.tls.as_ref().is_some_and(|tls| tls.is_http2) {
        return serve_streams(&proxy, &link, Bytes::new()).await;
    }
    let server = &proxy.config().server;
    let limits = ClientLimits::new(&server.timeouts, server.drain_idle);
    let io = ClientIo::new(Rc::clone(&link), limits);
    let service = service_fn(|request: Request<Incoming>| {
        let request = request.map(ClientBody::Alone);
        Rc::clone(&proxy).handle(request, Rc::clone(&link), Instant::now())
    });
    let mut connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(io, service);
    let result = {
        let mut drain_begun = pin!(link.drain_begun());
        let mut has_begun = false;
        poll_fn(|cx| {
            // Polled for its wake-up alone: an idle connection must learn its new limit.
            if !has_begun && drain_begun.as_mut().poll(cx).is_ready() {
                has_begun = true;
                link.restart_idle();
            }
            Pin::new(&mut connection).poll(cx)
        })
        .await
    };
    let ahead = connection.into_parts().read_buf;
    // RFC 9113 §3.3: known before the first byte, or not at all. What a proxy before us passes on from
    // one client must not change the language of the others.
    let may_change = proxy.config().http.h2c && link.requests() == 0;
    if may_change && result.is_err() && ahead.starts_with(h2::PREFACE) {
        return serve_streams(&proxy, &link, ahead).await;
    }
    link.abandon();
    let status = link.refused();
    record_refused(&proxy, &link, status, result.as_ref().err());
    match link.take_switch() {
        Some(switch) if result.is_ok() => {
            carry_tunnel(&proxy, &link, *switch, ahead).await;
        }
        _ => {
            let is_answered = status.is_some() || link.cut_as() == Some(End::HeadTimeout);
            let is_broken = result.is_err() && !is_answered;
            close::close(&link, is_broken).await;
        }
    }
}

/// Serves HTTP/2, and closes the connection when it is over.
async fn serve_streams(proxy: &Rc<Proxy>, link: &Rc<Downlink>, ahead: Bytes) {
    let is_well = h2::serve(link, proxy, ahead).await;
    if link.read() == 0 {
        proxy.seat().add(Counter::SilentConnections, 1);
    }
    link.abandon();
    close::close(link, !is_well).await;
}

/// Lets go of what waits in the connection, however its task ends: an exchange there holds the
/// connection in turn, and neither would ever be dropped.
struct LastAct<'a>(&'a Downlink);

impl Drop for LastAct<'_> {
    fn drop(&mut self) {
        self.0.abandon();
        drop(self.0.take_switch());
    }
}

/// Leaves a line for a head that never became a request, and counts a connection without a byte.
fn record_refused(
    proxy: &Rc<Proxy>,
    link: &Rc<Downlink>,
    status: Option<u16>,
    error: Option<&hyper::Error>,
) {
    let (phase, _) = link.phase();
    match (status, link.cut_as()) {
        (Some(431), _) => proxy.record_refused(link, 431, End::HeadTooLarge),
        (Some(status), _) => proxy.record_refused(link, status, End::BadRequest),
        (None, Some(End::HeadTimeout)) => proxy.record_refused(link, 408, End::HeadTimeout),
        // hyper says nothing to one that begins with the preface of HTTP/2 (RFC 9113 §3.4).
        (None, _) if error.is_some_and(hyper::Error::is_parse) => {
            proxy.record_refused(link, 400, End::BadRequest);
        }
        (None, _) if phase == Phase::Head && error.is_some() => {
            proxy.record_refused(link, 0, End::ClientGone);
        }
        (None, _) if link.read() == 0 => proxy.seat().add(Counter::SilentConnections, 1),
        (None, _) => {}
    }
}

/// Carries bytes both ways after a 101, and ends the exchange with it.
async fn carry_tunnel(proxy: &Proxy, link: &Downlink, switch: Switch, ahead: Bytes) {
    let Some(mut client) = link.take_stream() else {
        return;
    };
    if carry_switch(proxy, link, switch, &mut client, ahead).await == TunnelEnd::Closed {
        close::linger(client, close::SILENCE).await;
    }
}

/// The same with the client's end at hand.
async fn carry_switch<C: AsyncRead + AsyncWrite + Unpin>(
    proxy: &Proxy,
    link: &Downlink,
    mut switch: Switch,
    client: &mut C,
    ahead: Bytes,
) -> TunnelEnd {
    let seat = proxy.seat();
    seat.add(Counter::Tunnels, 1);
    let _open = seat.hold(Gauge::OpenTunnels);
    link.may_last();
    let ahead_of_backend = std::mem::take(&mut switch.ahead);
    let over = tunnel(
        (client, ahead),
        (&mut switch.upstream, ahead_of_backend),
        switch.terms,
        &link.traffic,
    )
    .await;
    switch.finish(over);
    over.end
}
