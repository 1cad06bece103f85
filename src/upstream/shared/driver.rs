//! The life of a shared connection: frames are moved, limits followed, silence questioned.
//!
//! The task ends with the connection: when nobody holds it any more, when the backend ends it, or
//! when the backend gives no sign of life.

use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};

use super::groups::Place;
use super::io::{CountedIo, Peer};
use super::{Load, Patience, Trunk, allowed};

/// Moves the frames of one connection.
pub(in crate::upstream) struct Driver<K: Eq + Hash + Clone, T: Clone> {
    // Dropped in this order: closed before its place is free.
    connection: Connection<CountedIo, Bytes>,
    pulse: Pulse,
    load: Rc<Load>,
    place: Place<K, T>,
}

/// Whether the backend is there.
struct Pulse {
    pings: Option<PingPong>,
    peer: Rc<Peer>,
    /// Bytes read when it was last looked at.
    heard: u64,
    ticks: Interval,
    patience: Patience,
    /// The limit of the answer, while one is waited for.
    asked: Option<Pin<Box<Sleep>>>,
}

impl<K: Eq + Hash + Clone + 'static, T: Clone + 'static> Driver<K, T> {
    pub(in crate::upstream) fn new(
        trunk: Trunk,
        load: Rc<Load>,
        place: Place<K, T>,
        patience: Patience,
    ) -> Self {
        let mut connection = trunk.connection;
        let mut ticks = interval(patience.silence);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pulse = Pulse {
            pings: connection.ping_pong(),
            heard: 0,
            peer: trunk.peer,
            ticks,
            patience,
            asked: None,
        };
        Self {
            connection,
            pulse,
            load,
            place,
        }
    }

    /// Drives the connection until it is over; its streams learn how.
    pub(in crate::upstream) async fn run(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
        // Who still holds a sender gets no stream from it.
        self.load.retire();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if Pin::new(&mut self.connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let streams = allowed(&self.connection);
        if self.load.allow(streams) {
            self.place.serve();
        }
        if streams == 0 {
            self.place.retire(&self.load);
        }
        self.pulse.poll(cx, self.load.is_idle())
    }
}

impl Pulse {
    /// Ready when the backend has kept silent for too long.
    fn poll(&mut self, cx: &mut Context<'_>, is_idle: bool) -> Poll<()> {
        let Some(pings) = &mut self.pings else {
            return Poll::Pending;
        };
        if let Some(limit) = &mut self.asked {
            if let Poll::Ready(answer) = pings.poll_pong(cx) {
                self.asked = None;
                return match answer {
                    Ok(_) => Poll::Pending,
                    Err(_) => Poll::Ready(()),
                };
            }
            return limit.as_mut().poll(cx);
        }
        while self.ticks.poll_tick(cx).is_ready() {
            let heard = self.peer.heard.get();
            let is_silent = std::mem::replace(&mut self.heard, heard) == heard;
            if is_silent && !is_idle && pings.send_ping(Ping::opaque()).is_ok() {
                self.asked = Some(Box::pin(sleep(self.patience.answer)));
                // Once more, so that the answer and the limit wake this task.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Pending
    }
}
