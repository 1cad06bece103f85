//! Certificate files that only root may open: asked of the master over the control channel.
//!
//! A bounded number of handshakes waits for an answer at a time, each for a bounded time; without one
//! they go on as if nothing could be found out.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::control::{Lent, MAX_NAME, ToMaster, WorkerEnd};
use crate::telemetry::OnceAMinute;

/// Handshakes that wait for the master at a time.
const MAX_WAITING: usize = 64;
/// How long each waits: the master answers at once unless the disk does not.
const LIMIT: Duration = Duration::from_secs(1);

/// What this worker has asked the master for.
pub(crate) struct Loans {
    channel: Rc<WorkerEnd>,
    asked: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Lent>>>,
    unanswered: OnceAMinute,
}

/// A question; forgotten when whoever asked does not wait any more.
struct Question<'a> {
    loans: &'a Loans,
    number: u64,
}

impl Loans {
    /// Nothing asked yet.
    pub(crate) fn new(channel: Rc<WorkerEnd>) -> Self {
        Self {
            channel,
            asked: Cell::default(),
            waiting: RefCell::default(),
            unanswered: OnceAMinute::default(),
        }
    }

    /// Asks for the files of a name.
    pub(super) async fn borrow(&self, name: &str) -> Lent {
        if name.len() > MAX_NAME {
            return Lent::Nothing;
        }
        if self.waiting.borrow().len() >= MAX_WAITING {
            return self.give_up(name, "too many handshakes wait for the master");
        }
        let (sender, answer) = oneshot::channel();
        let number = self.asked.get();
        self.asked.set(number.wrapping_add(1));
        self.waiting.borrow_mut().insert(number, sender);
        let _question = Question {
            loans: self,
            number,
        };
        let message = ToMaster::Borrow {
            request: number,
            name: name.into(),
        };
        let asked = async {
            self.channel.tell(&message).await.ok()?;
            answer.await.ok()
        };
        match timeout(LIMIT, asked).await {
            Ok(Some(lent)) => lent,
            _ => self.give_up(name, "the master does not answer"),
        }
    }

    /// Passes on what the master answered; to nobody, if that comes too late.
    pub(crate) fn answer(&self, number: u64, lent: Lent) {
        if let Some(waiting) = self.waiting.borrow_mut().remove(&number) {
            // Whoever asked may have left: its files are closed with this.
            drop(waiting.send(lent));
        }
    }

    fn give_up(&self, name: &str, why: &str) -> Lent {
        let error = format_args!("{name}: {why}");
        self.unanswered
            .tell("asking for a certificate's files", &error);
        Lent::Refused
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.loans.waiting.borrow_mut().remove(&self.number);
    }
}
