//! TLS on the connections of HTTPS listeners, before HTTP begins.

use std::rc::Rc;

use crate::config::{Config, Driver};
use crate::listener::{Accepted, Downstream, Proxied, TlsFacts};
use crate::route::Router;
use crate::scoreboard::Seat;
use crate::telemetry::HandshakeRecord;
use crate::tls::{HandshakeError, Loans, Terminations, Vhosts};
use crate::transport::Transport;

/// What the HTTPS listeners show, and the certificates of single vhosts.
pub(super) struct Certificates {
    terminations: Terminations,
    vhosts: Vhosts,
}

/// Where certificates of vhosts come from: those in Redis are where routes are. A worker that is
/// another user than the master asks it for files that it may not open.
pub(super) fn vhosts(
    config: &Config,
    router: &Rc<Router>,
    loans: &Rc<Loans>,
    seat: Seat,
) -> Vhosts {
    let store = matches!(config.driver, Driver::Redis(_)).then(|| Rc::clone(router));
    let loans = config.identity.as_ref().map(|_| Rc::clone(loans));
    Vhosts::new((config.certificates.clone(), loans), store, seat)
}

impl Certificates {
    /// What the listeners show, and what is shown in place of it.
    pub(super) fn new(terminations: Terminations, vhosts: Vhosts) -> Self {
        Self {
            terminations,
            vhosts,
        }
    }

    /// Brings a connection to where HTTP begins; `None` when its handshake failed, which is counted.
    /// One that speaks HTTP without TLS goes on, to be told so.
    pub(super) async fn receive(
        &self,
        (accepted, proxied): (Accepted, Option<Proxied>),
        number: u64,
        seat: Seat,
    ) -> Option<Downstream> {
        let mut misses_tls = false;
        let (stream, tls) = match self.terminations.of(accepted.asked) {
            None => (Transport::Plain(accepted.stream), None),
            // Boxed: plain connections would have room for it.
            Some(termination) => {
                let shaking = Box::pin(termination.shake_hands(accepted.stream, &self.vhosts));
                match shaking.await {
                    Ok((stream, facts)) => {
                        record_of(&facts).measure(seat);
                        (stream, Some(facts))
                    }
                    Err(error) => {
                        HandshakeRecord::count_failure(seat, error.word());
                        tracing::debug!(peer = %accepted.peer, %error, "no TLS");
                        let HandshakeError::PlainHttp(tcp) = error else {
                            return None;
                        };
                        misses_tls = true;
                        (Transport::Plain(tcp), None)
                    }
                }
            }
        };
        Some(Downstream {
            stream,
            tls,
            misses_tls,
            peer: accepted.peer,
            local: accepted.local,
            proxied,
            number,
        })
    }
}

fn record_of(facts: &TlsFacts) -> HandshakeRecord {
    HandshakeRecord {
        cipher: facts.cipher,
        shown: facts.certificate,
        is_resumed: facts.is_resumed,
        took: facts.took,
    }
}
