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

/// What is known of a connection from its beginning. Shared by all streams on it.
pub(crate) struct About {
    /// The peer of the socket.
    pub(crate) peer: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    /// Who stands behind the peer, and whom he asked for, where a PROXY header told.
    pub(crate) proxied: Option<Proxied>,
    /// Which connection of this worker it is.
    pub(crate) number: u64,
    /// What backends are told about its client.
    pub(crate) forwarding: Forwarding,
    /// What was agreed on with the client, if it speaks TLS.
    pub(crate) tls: Option<TlsFacts>,
    /// The listener expects TLS, and the client began without it.
    pub(crate) misses_tls: bool,
}

impl Downlink {
    /// The shared state of an accepted connection.
    pub(crate) fn new(from: Downstream, forwarding: Forwarding, drain: DrainWatch) -> Rc<Self> {
        let about = About {
            peer: from.peer,
            local: from.local,
            proxied: from.proxied,
            number: from.number,
            forwarding,
            tls: from.tls,
            misses_tls: from.misses_tls,
        };
        let mut link = Self::fresh(Rc::new(about), drain, Instant::now());
        link.stream = RefCell::new(Some(from.stream));
        Rc::new(link)
    }

    /// A stream on a connection, behind so many others.
    pub(super) fn of_stream(connection: &Rc<Self>, id: u32, before: u64, now: Instant) -> Rc<Self> {
        let about = Rc::clone(&connection.about);
        let mut link = Self::fresh(about, connection.drain.clone(), now);
        link.connection = Some(Rc::clone(connection));
        link.stream_id = id;
        link.requests = Cell::new(before);
        Rc::new(link)
    }

    fn fresh(about: Rc<About>, drain: DrainWatch, now: Instant) -> Self {
        Self {
            about,
            drain,
            connection: None,
            stream_id: 0,
            trunk: OnceCell::new(),
            traffic: TunnelTraffic::default(),
            heads: HeadCount::default(),
            stream: RefCell::default(),
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
