//! What a link tells of itself: its state when it is asked, and outages as they come.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Link, Shared, State};
use crate::route::LinkReport;
use crate::telemetry::{self, Event};

/// A new reason for the same outage is told after this time.
const RETELL: Duration = Duration::from_secs(5);

/// What the operator was told about an outage.
pub(super) struct Outage {
    pub(super) since: Instant,
    told: Instant,
    cause: Rc<str>,
}

impl Link {
    /// Why the link is down; `None` when it is up.
    pub(in crate::route) fn down(&self) -> Option<Rc<str>> {
        match &*self.shared.state.borrow() {
            State::Up(_) => None,
            State::Down { cause, .. } => Some(Rc::clone(cause)),
        }
    }

    /// The address of the server that is connected to, if it has one.
    pub(in crate::route) fn peer(&self) -> Option<SocketAddr> {
        match &*self.shared.state.borrow() {
            State::Up(connection) => connection.peer,
            State::Down { .. } => None,
        }
    }

    /// As operators see it.
    pub(in crate::route) fn report(&self, role: &'static str) -> LinkReport {
        LinkReport {
            server: self.shared.server.name.to_string(),
            role,
            down: self.down(),
        }
    }
}

impl Shared {
    /// Tells of an outage: once, and again when its reason is another one.
    pub(super) fn tell(&self, since: Instant, cause: Rc<str>) {
        let mut outage = self.outage.borrow_mut();
        let is_told = outage
            .as_ref()
            .is_some_and(|outage| outage.cause == cause || outage.told.elapsed() < RETELL);
        if is_told {
            return;
        }
        telemetry::emit(&Event::RedisLost {
            server: &self.server.name,
            error: &cause,
        });
        let told = Instant::now();
        *outage = Some(Outage { since, told, cause });
    }
}
