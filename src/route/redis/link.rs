//! One connection to Redis that is replaced whenever it is in doubt.
//!
//! A task owns it: it dials, watches, and dials again. Requests share the connection; one that
//! meets its end is repeated on the next, within its own limit (all we ask of Redis may be asked
//! twice). Invariants: a request is answered or refused by its deadline; a connection that keeps
//! silent is replaced like one that is closed, which the crate alone would not do.

mod report;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::report::Outage;
use super::dial::Server;
use super::wire;
use crate::route::task::Task;
use crate::telemetry::{self, Event};

/// One attempt to connect may take so long; the next after a timeout twice that, for servers far
/// away.
const DIAL_LIMIT: Duration = Duration::from_millis(500);
/// First pause between two attempts; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause, so that service is back well within a second of Redis.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// A connection older than this was a good one: the pauses start anew.
const PROVEN: Duration = Duration::from_secs(1);
/// Requests no longer wait for a connection that has been missing for so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// A connection on which nothing was heard for so long is asked for a sign of life.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// How long that sign may take.
const PROBE_LIMIT: Duration = Duration::from_millis(500);
/// Commands in a row without a reply that condemn a connection.
const TIMEOUTS: u32 = 3;

/// A connection to one server, kept up.
pub(super) struct Link {
    shared: Rc<Shared>,
    _task: Task<()>,
}

struct Shared {
    server: Rc<Server>,
    state: RefCell<State>,
    /// Told to all when the connection is up.
    is_up: Notify,
    /// Told to the task when a request found the connection bad.
    is_condemned: Notify,
    /// Commands in a row that had no reply.
    timeouts: Cell<u32>,
    heard: Cell<Instant>,
    outage: RefCell<Option<Outage>>,
}

enum State {
    Up(Connection),
    Down { since: Instant, cause: Rc<str> },
}

#[derive(Clone)]
struct Connection {
    commands: MultiplexedConnection,
    /// Tells this connection from those before it.
    number: u64,
    /// The address of the server; `None` on a local socket.
    peer: Option<SocketAddr>,
}

impl Link {
    /// A link to this server; starts to dial at once.
    pub(super) fn start(server: Rc<Server>) -> Self {
        let now = Instant::now();
        let shared = Rc::new(Shared {
            server,
            state: RefCell::new(State::Down {
                since: now,
                cause: "not connected yet".into(),
            }),
            is_up: Notify::new(),
            is_condemned: Notify::new(),
            timeouts: Cell::new(0),
            heard: Cell::new(now),
            outage: RefCell::new(None),
        });
        let task = Task::spawn(keep_up(Rc::clone(&shared)));
        Self {
            shared,
            _task: task,
        }
    }

    /// Sends commands and waits for all replies, errors of the server among them. An error here is
    /// the cause that there are none. Dropping the wait does not take the commands back.
    pub(super) async fn request(
        &self,
        commands: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, Rc<str>> {
        loop {
            let mut connection = self.shared.connection(deadline).await?;
            let count = commands.len();
            let reply = connection.commands.send_packed_commands(commands, 0, count);
            match timeout_at(deadline, reply).await {
                Ok(Ok(replies)) => {
                    self.shared.hear();
                    return Ok(replies);
                }
                Ok(Err(error)) => self.shared.condemn(connection.number, &error.to_string()),
                Err(_) => {
                    self.shared.miss(connection.number);
                    return Err("no reply in time".into());
                }
            }
        }
    }

    /// Gives the present connection up: the server on its other end is not the right one any more.
    pub(super) fn replace(&self, cause: &str) {
        let number = match &*self.shared.state.borrow() {
            State::Up(connection) => connection.number,
            State::Down { .. } => return,
        };
        self.shared.condemn(number, cause);
    }
}

/// Dials, watches, and dials again, until the link is dropped.
async fn keep_up(shared: Rc<Shared>) {
    let (mut pause, mut limit, mut number) = (PAUSE_MIN, DIAL_LIMIT, 0);
    loop {
        let dialled = timeout(limit, shared.server.connect()).await;
        limit = if dialled.is_err() {
            DIAL_LIMIT * 2
        } else {
            DIAL_LIMIT
        };
        match dialled {
            Ok(Ok(dialled)) => {
                let start = Instant::now();
                number += 1;
                shared.rise(Connection {
                    commands: dialled.commands,
                    number,
                    peer: dialled.peer,
                });
                shared.watch(number, Task::spawn(dialled.driver)).await;
                if start.elapsed() >= PROVEN {
                    pause = PAUSE_MIN;
                }
            }
            Ok(Err(error)) => shared.stay_down(&error.to_string()),
            Err(_) => shared.stay_down(&format!("no connection within {limit:?}")),
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl Shared {
    /// The connection, waited for within limits.
    async fn connection(&self, deadline: Instant) -> Result<Connection, Rc<str>> {
        loop {
            let mut is_up = pin!(self.is_up.notified());
            // Registered before the look, so that no rise between the two is missed.
            is_up.as_mut().enable();
            match &*self.state.borrow() {
                State::Up(connection) => return Ok(connection.clone()),
                State::Down { since, cause } if since.elapsed() > PATIENCE => {
                    return Err(Rc::clone(cause));
                }
                State::Down { .. } => {}
            }
            if timeout_at(deadline, is_up).await.is_err() {
                return Err(self.cause());
            }
        }
    }

    /// Why there is no connection, as far as is known by now.
    fn cause(&self) -> Rc<str> {
        match &*self.state.borrow() {
            State::Up(_) => "no connection in time".into(),
            State::Down { cause, .. } => Rc::clone(cause),
        }
    }

    /// Watches a connection until it ends or is condemned. The driver is a task of its own, so
    /// that not even a panic within the crate could end the link.
    async fn watch(&self, number: u64, mut driver: Task<()>) {
        while self.is_current(number) {
            tokio::select! {
                _ = driver.ended() => self.condemn(number, "connection closed"),
                () = self.is_condemned.notified() => {}
                () = sleep(PROBE_AFTER) => self.probe(number).await,
            }
        }
    }

    /// Asks a silent connection for a sign of life, as often as it takes to condemn it.
    async fn probe(&self, number: u64) {
        let ping = wire::ping();
        while self.heard.get().elapsed() >= PROBE_AFTER && self.is_current(number) {
            let mut connection = match &*self.state.borrow() {
                State::Up(connection) => connection.clone(),
                State::Down { .. } => return,
            };
            let reply = connection.commands.send_packed_commands(&ping, 0, 1);
            match timeout(PROBE_LIMIT, reply).await {
                Ok(Ok(_)) => self.hear(),
                Ok(Err(error)) => self.condemn(number, &error.to_string()),
                Err(_) => self.miss(number),
            }
        }
    }

    fn is_current(&self, number: u64) -> bool {
        matches!(&*self.state.borrow(), State::Up(connection) if connection.number == number)
    }

    fn hear(&self) {
        self.timeouts.set(0);
        self.heard.set(Instant::now());
    }

    fn miss(&self, number: u64) {
        if !self.is_current(number) {
            return;
        }
        self.timeouts.set(self.timeouts.get() + 1);
        if self.timeouts.get() >= TIMEOUTS {
            self.condemn(number, &format!("no reply to {TIMEOUTS} commands in a row"));
        }
    }

    fn rise(&self, connection: Connection) {
        self.hear();
        *self.state.borrow_mut() = State::Up(connection);
        self.is_up.notify_waiters();
        if let Some(outage) = self.outage.borrow_mut().take() {
            telemetry::emit(&Event::RedisBack {
                server: &self.server.name,
                after: outage.since.elapsed(),
            });
        }
    }

    /// The connection is bad; no request uses it from here on. Later causes are not news.
    fn condemn(&self, number: u64, cause: &str) {
        if !self.is_current(number) {
            return;
        }
        let since = Instant::now();
        let cause: Rc<str> = cause.into();
        *self.state.borrow_mut() = State::Down {
            since,
            cause: Rc::clone(&cause),
        };
        self.is_condemned.notify_one();
        self.tell(since, cause);
    }

    /// An attempt to connect failed: the outage goes on, perhaps for another reason.
    fn stay_down(&self, cause: &str) {
        let cause: Rc<str> = cause.into();
        let since = match &mut *self.state.borrow_mut() {
            State::Up(_) => return,
            State::Down { since, cause: last } => {
                *last = Rc::clone(&cause);
                *since
            }
        };
        self.tell(since, cause);
    }
}
