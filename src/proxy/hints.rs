//! The 1xx responses of one exchange on their way from its backends to the client.
//!
//! A client must be able to do without them (RFC 9110 §15.2), so one that does not read loses
//! them; how many is counted when the exchange has its answer.

use std::cell::Cell;
use std::task::Context;

use http::{Response, StatusCode};

use super::Downlink;
use crate::relay::{Interim, Upload};
use crate::scoreboard::{Counter, Seat};

/// The 1xx responses of one exchange.
pub(super) struct Hints {
    interim: Interim,
    seat: Seat,
    lost: Cell<u64>,
    /// The client holds its body back until it is told to send it, which hyper does only in HTTP/1.
    owes_continue: Cell<bool>,
}

impl Hints {
    /// None yet.
    pub(super) fn new(seat: Seat, owes_continue: bool) -> Self {
        Self {
            interim: Interim::default(),
            seat,
            lost: Cell::new(0),
            owes_continue: Cell::new(owes_continue),
        }
    }

    /// One has come from a backend.
    pub(super) fn note(&self, response: &Response<()>) {
        self.interim.receive(response);
    }

    /// Sends on what has come, and asks the client for its body once that is wanted.
    pub(super) fn pass(&self, cx: &mut Context<'_>, link: &Downlink, upload: Option<&Upload>) {
        if self.owes_continue.get() && upload.is_some_and(Upload::is_asked_for) {
            self.owes_continue.set(false);
            let mut proceed = Response::new(());
            *proceed.status_mut() = StatusCode::CONTINUE;
            self.send(cx, link, proceed);
        }
        // What a slow client has not taken yet is bounded here; what comes meanwhile, there.
        if link.poll_interim(cx).is_pending() {
            return;
        }
        for head in self.interim.take() {
            self.send(cx, link, head);
        }
    }

    fn send(&self, cx: &mut Context<'_>, link: &Downlink, head: Response<()>) {
        if !link.send_interim(cx, head) {
            self.lost.set(self.lost.get() + 1);
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
