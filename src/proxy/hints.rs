//! The 1xx responses of one exchange on their way from its backends to the client.
//!
//! A client must be able to do without them (RFC 9110 §15.2), so one that does not read loses
//! them; how many is counted when the exchange has its answer.

use std::cell::Cell;
use std::sync::Arc;
use std::task::Context;

use super::Downlink;
use crate::relay::Interim;
use crate::scoreboard::{Counter, Seat};

/// The 1xx responses of one exchange.
pub(super) struct Hints {
    interim: Arc<Interim>,
    seat: Seat,
    lost: Cell<u64>,
}

impl Hints {
    /// None yet.
    pub(super) fn new(seat: Seat) -> Self {
        Self {
            interim: Arc::default(),
            seat,
            lost: Cell::new(0),
        }
    }

    /// Where backends leave them.
    pub(super) fn interim(&self) -> &Arc<Interim> {
        &self.interim
    }

    /// Sends on what has come.
    pub(super) fn pass(&self, cx: &mut Context<'_>, link: &Downlink) {
        // What a slow client has not taken yet is bounded here; what comes meanwhile, there.
        if link.poll_interim(cx).is_pending() {
            return;
        }
        let heads = self.interim.take();
        if heads.count > 0 && !link.send_interim(cx, &heads.bytes) {
            self.lost.set(self.lost.get() + heads.count);
        }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        let lost = self.lost.get() + self.interim.let_go();
        if lost > 0 {
            self.seat.add(Counter::InterimLost, lost);
        }
    }
}
