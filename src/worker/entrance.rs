//! The PROXY header of a connection, at listeners that ask for one: from whom it is taken, and how long
//! it may take.
//!
//! It stands before everything else on a connection, so this comes before a TLS handshake and before
//! HTTP. Invariant: no connection of such a listener is served without a header, and no header of
//! anybody else is believed.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::time::sleep;

use crate::config::Config;
use crate::deadline::{after, before};
use crate::drain::DrainWatch;
use crate::listener::{Accepted, Proxied, read_proxy_header};
use crate::scoreboard::{Counter, Seat};
use crate::telemetry::OnceAMinute;

/// Where balancers hand their connections over.
pub(super) struct Entrance {
    /// Who may.
    from: Vec<IpNet>,
    /// For a whole header.
    limit: Option<Duration>,
    /// The same while the worker drains.
    drain_idle: Duration,
    seat: Seat,
    untrusted: OnceAMinute,
    malformed: OnceAMinute,
}

impl Entrance {
    /// As the configuration has it.
    pub(super) fn new(config: &Config, seat: Seat) -> Self {
        Self {
            from: config.http.proxy_protocol_from.clone(),
            limit: config.server.timeouts.request_head,
            drain_idle: config.server.drain_idle,
            seat,
            untrusted: OnceAMinute::default(),
            malformed: OnceAMinute::default(),
        }
    }

    /// Reads the header of a connection: for whom it comes. The outer `None`: it is to be closed, and
    /// was counted.
    pub(super) async fn announce(
        &self,
        accepted: &mut Accepted,
        watch: &DrainWatch,
    ) -> Option<Option<Proxied>> {
        let peer = accepted.peer;
        if !self.from.iter().any(|range| range.contains(&peer.ip())) {
            self.seat.add(Counter::ProxyHeadersUntrusted, 1);
            let error = format_args!("{peer} is not in http.proxyProtocolFrom; it is closed");
            self.untrusted
                .tell("accepting a proxied connection", &error);
            return None;
        }
        let mut read = Vec::new();
        let header = read_proxy_header(&mut accepted.stream, &mut read);
        let taken = tokio::select! {
            taken = before(after(Instant::now(), self.limit), header) => taken,
            () = self.drained(watch) => None,
        };
        match taken {
            Some(Ok(proxied)) => return Some(proxied),
            // One that says nothing at all, as some checks of health do.
            _ if read.is_empty() => self.seat.add(Counter::SilentConnections, 1),
            Some(Err(error)) => self.refuse(peer, &error),
            None => self.refuse(peer, &"its PROXY header took too long"),
        }
        None
    }

    /// The worker drains, and for so long that an idle connection is over.
    async fn drained(&self, watch: &DrainWatch) {
        watch.begun().await;
        sleep(self.drain_idle).await;
    }

    fn refuse(&self, peer: SocketAddr, error: &dyn Display) {
        self.seat.add(Counter::ProxyHeadersMalformed, 1);
        let error = format_args!("{peer}: {error}; it is closed");
        self.malformed
            .tell("accepting a proxied connection", &error);
    }
}
