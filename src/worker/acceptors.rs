//! From whose queues this worker accepts, and what becomes of each connection.
//!
//! Its own slot's queues always, those of an orphaned slot while the master says so. The sockets
//! belong to all processes: a worker closes its descriptors when it leaves, and the queues go on with
//! others. Only a queue that nobody takes over is emptied before.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::certificates::Certificates;
use super::entrance::Entrance;
use super::orders::Leave;
use crate::control::Why;
use crate::drain::DrainWatch;
use crate::http;
use crate::listener::{Accepted, Listener, Listeners, Proxied, Queue, Shortage};
use crate::proxy::Proxy;
use crate::scoreboard::{Counter, Gauge, Seat};
use crate::telemetry::{Event, emit};

/// The queues and the tasks that accept from them.
pub(super) struct Acceptors {
    listeners: Listeners,
    /// One task for each address of a slot, with the number of its socket.
    tasks: BTreeMap<usize, Vec<(u64, JoinHandle<()>)>>,
    reception: Rc<Reception>,
    shortage: Rc<Shortage>,
}

/// Where accepted connections go.
pub(super) struct Reception {
    proxy: Rc<Proxy>,
    entrance: Rc<Entrance>,
    certificates: Rc<Certificates>,
    seat: Seat,
    watch: DrainWatch,
    received: Cell<u64>,
}

impl Acceptors {
    /// Accepts from no queue yet.
    pub(super) fn new(listeners: Listeners, reception: Reception) -> Self {
        Self {
            listeners,
            tasks: BTreeMap::new(),
            reception: Rc::new(reception),
            shortage: Rc::new(Shortage::new()),
        }
    }

    /// Accepts from the queues of a slot, if it does not already.
    pub(super) fn adopt(&mut self, slot: usize) -> io::Result<()> {
        if self.tasks.contains_key(&slot) {
            return Ok(());
        }
        let queues: io::Result<Vec<_>> = self
            .listeners
            .of_slot(slot)
            .iter()
            .map(|listener| Ok((listener.id(), listener.open_queue()?)))
            .collect();
        let accept = |(id, queue): (u64, Queue)| {
            let (reception, shortage) = (Rc::clone(&self.reception), Rc::clone(&self.shortage));
            let task = spawn_local(async move {
                let receive = |accepted| reception.receive(accepted);
                queue.accept_each(&shortage, receive).await;
            });
            (id, task)
        };
        self.tasks
            .insert(slot, queues?.into_iter().map(accept).collect());
        Ok(())
    }

    /// Leaves the queues of a slot to its new worker.
    pub(super) fn release(&mut self, slot: usize) {
        for (_, task) in self.tasks.remove(&slot).unwrap_or_default() {
            task.abort();
        }
    }

    /// The order that a worker gives itself when the master is gone: to leave as in a final stop.
    pub(super) fn leave_alone(&self, limit: Duration) -> Leave {
        if let Err(error) = self.listeners.refuse_newcomers() {
            emit(&Event::Problem {
                doing: "refusing new connections after the master's death",
                error: &error,
            });
        }
        Leave {
            why: Why::Orphaned,
            limit: Some(limit),
        }
    }

    /// Stops accepting. Where others go on with a queue that is all. Where nobody takes over,
    /// newcomers are refused already, on every such socket: what had begun its handshake is accepted
    /// for the time given and until the queue is empty.
    pub(super) async fn close(mut self, is_final: bool, settle: Duration) {
        let polled: BTreeSet<u64> = self.tasks.values().flatten().map(|(id, _)| *id).collect();
        let sockets = self.listeners.iter();
        let last = sockets.filter(|socket| is_final || socket.refuses_newcomers());
        let last: BTreeSet<u64> = last
            .map(Listener::id)
            .filter(|id| polled.contains(id))
            .collect();
        self.stop(|id| !last.contains(&id)).await;
        // The queues of others are emptied by them.
        self.listeners.retain(|id| last.contains(&id));
        if last.is_empty() {
            return;
        }
        sleep(settle).await;
        self.stop(|_| true).await;
        for listener in self.listeners.iter() {
            let receive = |accepted| self.reception.receive(accepted);
            if let Err(error) = listener.empty_queue(receive) {
                emit(&Event::Problem {
                    doing: "emptying a queue before it is closed; the rest of it is reset",
                    error: &error,
                });
            }
        }
    }

    async fn stop(&mut self, which: impl Fn(u64) -> bool) {
        for (id, task) in self.tasks.values_mut().flatten() {
            if which(*id) {
                task.abort();
                // Cancelled, as was just asked. Once it has ended, nobody else accepts here.
                let _ = task.await;
            }
        }
        for tasks in self.tasks.values_mut() {
            tasks.retain(|(id, _)| !which(*id));
        }
    }
}

impl Reception {
    /// Serves connections by this proxy and counts them in this seat.
    pub(super) fn new(
        proxy: Rc<Proxy>,
        certificates: Certificates,
        seat: Seat,
        watch: DrainWatch,
    ) -> Self {
        Self {
            certificates: Rc::new(certificates),
            entrance: Rc::new(Entrance::new(proxy.config(), seat)),
            proxy,
            seat,
            watch,
            received: Cell::new(0),
        }
    }

    fn receive(&self, accepted: Accepted) {
        let number = self.received.get() + 1;
        self.received.set(number);
        self.seat.add(Counter::Connections, 1);
        let open = self.seat.hold(Gauge::OpenConnections);
        let (proxy, watch) = (Rc::clone(&self.proxy), self.watch.clone());
        let is_announced = proxy.config().expects_proxy_header(accepted.asked);
        let entrance = is_announced.then(|| Rc::clone(&self.entrance));
        let certificates = Rc::clone(&self.certificates);
        // Owned by the drain, which waits for its watch; in the end by the runtime.
        spawn_local(async move {
            let _open = open;
            let Some(accepted) = announce(accepted, entrance, &watch).await else {
                return;
            };
            if let Some(downstream) = certificates.receive(accepted, number, proxy.seat()).await {
                http::serve(downstream, proxy, watch).await;
            }
        });
    }
}

/// Brings a connection past its PROXY header, if it has one; `None` when it was closed there.
async fn announce(
    mut accepted: Accepted,
    entrance: Option<Rc<Entrance>>,
    watch: &DrainWatch,
) -> Option<(Accepted, Option<Proxied>)> {
    let proxied = match entrance {
        // Boxed: few connections have this wait, and all would have room for it.
        Some(entrance) => Box::pin(entrance.announce(&mut accepted, watch)).await?,
        None => None,
    };
    Some((accepted, proxied))
}
