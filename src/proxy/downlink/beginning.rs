//! The shared state of a connection, or of a stream on one, at its beginning.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::{Downlink, Phase};
use crate::drain::DrainWatch;
use crate::listener::{Downstream, Proxied, TlsFacts};
use crate::proxy::head_count::HeadCount;
use crate::proxy::headers::Forwarding;
use crate::relay::TunnelTraffic;
use crate::transport::Transport;

/// What is known of a connection from its beginning.
struct About {
    peer: SocketAddr,
    local: SocketAddr,
    proxied: Option<Proxied>,
    number: u64,
    forwarding: Rc<Forwarding>,
    tls: Option<Rc<TlsFacts>>,
    misses_tls: bool,
    drain: DrainWatch,
}

impl Downlink {
    /// The shared state of an accepted connection.
    pub(crate) fn new(from: Downstream, forwarding: Forwarding, drain: DrainWatch) -> Rc<Self> {
        let about = About {
            peer: from.peer,
            local: from.local,
            proxied: from.proxied,
            number: from.number,
            forwarding: Rc::new(forwarding),
            tls: from.tls.map(Rc::new),
            misses_tls: from.misses_tls,
            drain,
        };
        Rc::new(Self::fresh(about, Some(from.stream), None, Instant::now()))
    }

    /// A stream on a connection.
    pub(super) fn without_socket(connection: &Rc<Self>, now: Instant) -> Self {
        let about = About {
            peer: connection.peer,
            local: connection.local,
            proxied: connection.proxied,
            number: connection.number,
            forwarding: Rc::clone(&connection.forwarding),
            tls: connection.tls.clone(),
            misses_tls: connection.misses_tls,
            drain: connection.drain.clone(),
        };
        Self::fresh(about, None, Some(Rc::clone(connection)), now)
    }

    fn fresh(
        about: About,
        stream: Option<Transport>,
        connection: Option<Rc<Self>>,
        now: Instant,
    ) -> Self {
        Self {
            peer: about.peer,
            local: about.local,
            proxied: about.proxied,
            number: about.number,
            forwarding: about.forwarding,
            tls: about.tls,
            misses_tls: about.misses_tls,
            drain: about.drain,
            connection,
            stream_id: 0,
            trunk: OnceCell::new(),
            traffic: TunnelTraffic::default(),
            heads: HeadCount::default(),
            stream: RefCell::new(stream),
            interim: RefCell::default(),
            hints: RefCell::default(),
            hinted: Cell::default(),
            complete: RefCell::default(),
            switch: RefCell::default(),
            phase: Cell::new(Phase::Idle),
            phase_began: Cell::new(now),
            read: Cell::new(0),
            written: Cell::new(0),
            written_before: Cell::new(0),
            read_before: Cell::new(0),
            requests: Cell::new(0),
            flushes: Cell::new(0),
            has_ambiguous_framing: Cell::new(false),
            is_closing: Cell::new(false),
            has_client_closed: Cell::new(false),
            cut: Cell::new(None),
            refused: Cell::new(None),
            is_kept: Cell::new(true),
            is_idle_over: Cell::new(false),
        }
    }
}
