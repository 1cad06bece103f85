//! Addresses of backends' names, asked of the system's resolver on Tokio's threads.
//!
//! One look-up at a time for a name, [`LOOK_UPS`] in all. An answer is used for some seconds; while
//! the resolver fails or hangs the last good one is used instead, so that a DNS outage stops no
//! backend that was reachable before it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use super::error::ConnectError;
use crate::deadline::before;

/// Look-ups at a time: each holds one thread of Tokio's blocking pool.
const LOOK_UPS: usize = 16;

/// Names remembered; the one that has been out of date for longest goes first.
const NAMES: usize = 4096;

/// Addresses kept of one name.
const ADDRESSES: usize = 16;

/// How long answers are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    /// A good answer, before it is asked for again.
    pub(super) good: Duration,
    /// A failure, before it is asked for again: an unknown name must not keep the resolver busy.
    pub(super) failed: Duration,
    /// A good answer, while the resolver fails or hangs.
    pub(super) stale: Duration,
    /// How long a look-up may take before it counts as hanging, where a stale answer is at hand.
    pub(super) patience: Duration,
}

/// The ages in force.
pub(super) const AGES: Ages = Ages {
    good: Duration::from_secs(5),
    failed: Duration::from_secs(1),
    stale: Duration::from_secs(60 * 60),
    patience: Duration::from_millis(250),
};

/// What asks the system.
pub(super) type LookUp = fn(Box<str>) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>>;

/// Asks the system's resolver.
pub(super) fn look_up(name: Box<str>) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>>>> {
    Box::pin(async move {
        let found = tokio::net::lookup_host((&*name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    })
}

/// The names and what is known of them.
pub(super) struct Resolver {
    look_up: LookUp,
    ages: Ages,
    turns: Semaphore,
    names: RefCell<HashMap<Box<str>, Name>>,
}

/// What is known of a name.
struct Name {
    /// The last good answer and when it came.
    good: Option<(Rc<[IpAddr]>, Instant)>,
    /// The last failure, if nothing good came after it.
    failure: Option<Rc<io::Error>>,
    /// Until then it is not asked for again.
    valid_until: Instant,
    /// The look-up under way.
    flight: Option<Flight>,
}

#[derive(Clone)]
struct Flight {
    since: Instant,
    landed: Rc<Notify>,
}

/// The addresses of a name, never empty.
pub(super) type Addresses = Rc<[IpAddr]>;

impl Resolver {
    pub(super) fn new(look_up: LookUp, ages: Ages) -> Rc<Self> {
        Rc::new(Self {
            look_up,
            ages,
            turns: Semaphore::new(LOOK_UPS),
            names: RefCell::default(),
        })
    }

    /// An answer that is still good, without asking.
    pub(super) fn known(&self, name: &str) -> Option<Result<Addresses, ConnectError>> {
        let names = self.names.borrow();
        let name = names.get(name)?;
        let is_valid = Instant::now() < name.valid_until;
        is_valid.then(|| name.last_result(self.ages.stale))?
    }

    /// Asks for the addresses of a name. Dropped half way, the look-up goes on for others.
    pub(super) async fn resolve(
        self: &Rc<Self>,
        name: &str,
        deadline: Option<Instant>,
    ) -> Result<Addresses, ConnectError> {
        let flight = self.board(name)?;
        let stale = self.usable(name);
        let patience = stale.as_ref().map(|_| flight.since + self.ages.patience);
        // Whatever comes first; no look-up is waited for without a limit where one is set.
        let until = [deadline, patience].into_iter().flatten().min();
        // Made before the first wait, so that the landing cannot be missed.
        let landed = flight.landed.notified();
        let in_time = before(until, landed).await.is_some();
        if in_time && let Some(Ok(addresses)) = self.known(name) {
            return Ok(addresses);
        }
        if let Some(addresses) = stale {
            return Ok(addresses);
        }
        match self.known(name) {
            Some(result) if in_time => result,
            _ => Err(ConnectError::ResolveTimedOut),
        }
    }

    /// Joins the look-up of the name, or starts it.
    fn board(self: &Rc<Self>, name: &str) -> Result<Flight, ConnectError> {
        let mut names = self.names.borrow_mut();
        if !names.contains_key(name) && names.len() >= NAMES && !forget_one(&mut names) {
            let error = io::Error::new(io::ErrorKind::ResourceBusy, "too many names are looked up");
            return Err(ConnectError::ResolveFailed(Rc::new(error)));
        }
        let now = Instant::now();
        let known = match names.entry(name.into()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Name::unknown(now)),
        };
        if let Some(flight) = &known.flight {
            return Ok(flight.clone());
        }
        let flight = Flight {
            since: now,
            landed: Rc::default(),
        };
        known.flight = Some(flight.clone());
        tokio::task::spawn_local(fly(Rc::clone(self), name.into()));
        Ok(flight)
    }

    fn usable(&self, name: &str) -> Option<Addresses> {
        self.names.borrow().get(name)?.usable(self.ages.stale)
    }

    /// Notes what the resolver said and wakes those who wait for it.
    fn land(&self, name: &str, result: io::Result<Vec<IpAddr>>) {
        let mut names = self.names.borrow_mut();
        // A name with a flight is never forgotten.
        let Some(name) = names.get_mut(name) else {
            return;
        };
        let now = Instant::now();
        match result.and_then(as_addresses) {
            Ok(addresses) => {
                name.good = Some((addresses, now));
                name.failure = None;
                name.valid_until = now + self.ages.good;
            }
            Err(error) => {
                name.failure = Some(Rc::new(error));
                name.valid_until = now + self.ages.failed;
            }
        }
        if let Some(flight) = name.flight.take() {
            flight.landed.notify_waiters();
        }
    }
}

impl Name {
    fn unknown(now: Instant) -> Self {
        Self {
            good: None,
            failure: None,
            valid_until: now,
            flight: None,
        }
    }

    /// What is used while it is valid; after a failure the last good answer, if there is one.
    fn last_result(&self, stale: Duration) -> Option<Result<Addresses, ConnectError>> {
        match (self.usable(stale), &self.failure) {
            (Some(addresses), _) => Some(Ok(addresses)),
            (None, Some(error)) => Some(Err(ConnectError::ResolveFailed(Rc::clone(error)))),
            (None, None) => None,
        }
    }

    /// The last good answer, unless it is too old for any use.
    fn usable(&self, stale: Duration) -> Option<Addresses> {
        let (addresses, came) = self.good.as_ref()?;
        (came.elapsed() < stale).then(|| Rc::clone(addresses))
    }
}

/// One look-up. Ends with the resolver's answer: the system's own call cannot be ended before.
async fn fly(resolver: Rc<Resolver>, name: Box<str>) {
    let result = match resolver.turns.acquire().await {
        Ok(_turn) => (resolver.look_up)(name.clone()).await,
        Err(closed) => Err(io::Error::other(closed)),
    };
    resolver.land(&name, result);
}

/// Forgets the name that has been out of date for longest; false if all are being looked up.
fn forget_one(names: &mut HashMap<Box<str>, Name>) -> bool {
    let oldest = names
        .iter()
        .filter(|(_, name)| name.flight.is_none())
        .min_by_key(|(_, name)| name.valid_until)
        .map(|(name, _)| name.clone());
    oldest.is_some_and(|name| names.remove(&name).is_some())
}

fn as_addresses(mut found: Vec<IpAddr>) -> io::Result<Addresses> {
    // The system names an address once for each kind of socket it was asked for.
    let mut seen = Vec::with_capacity(found.len().min(ADDRESSES));
    found.retain(|address| {
        let is_new = !seen.contains(address) && seen.len() < ADDRESSES;
        if is_new {
            seen.push(*address);
        }
        is_new
    });
    if found.is_empty() {
        let text = "the name has no address, expected at least one";
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(found.into())
}

#[cfg(test)]
mod tests;
