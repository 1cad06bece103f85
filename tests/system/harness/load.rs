//! Clients that keep asking while something happens to the proxy.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Ended, Hipache, Line, SOON, eventually};

/// One request of the load and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Its target, unlike any other.
    pub(crate) target: String,
    /// The status, or how it failed.
    pub(crate) result: Result<u16, Failure>,
    /// Bytes of the response.
    pub(crate) bytes: u64,
    /// When it was sent.
    pub(crate) at: Instant,
    /// When its connection was established.
    pub(crate) connected: Instant,
    /// Requests answered on its connection before.
    pub(crate) earlier: usize,
}

/// How a request of the load failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection was refused.
    Refused,
    /// The connection ended without a whole response.
    Broken(Ended),
    /// The connection could not be made for another reason.
    Connect,
}

/// Stops the proxy; fails unless every request was answered, and left its line, once.
#[track_caller]
pub(crate) fn check_all_answered(outcomes: &[Outcome], hipache: &mut Hipache) {
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.result != Ok(200))
        .collect();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    hipache.stop();
    let lines = hipache.log().all();
    let logged: HashSet<&str> = lines.iter().map(Line::target).collect();
    assert_eq!(logged.len(), lines.len(), "no line twice");
    assert_eq!(lines.len(), outcomes.len(), "a line for each");
}

/// A number of clients, each with one connection and one request in flight.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    clients: Vec<JoinHandle<()>>,
}

struct Job {
    address: SocketAddr,
    host: String,
    keep: bool,
    stop: Arc<AtomicBool>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    next: Arc<AtomicU64>,
}

impl Load {
    /// Clients that keep their connections.
    pub(crate) fn keeping(address: SocketAddr, host: &str, clients: usize) -> Self {
        Self::start(address, host, clients, true)
    }

    /// Clients that make a connection for each request.
    pub(crate) fn connecting(address: SocketAddr, host: &str, clients: usize) -> Self {
        Self::start(address, host, clients, false)
    }

    fn start(address: SocketAddr, host: &str, clients: usize, keep: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let outcomes = Arc::new(Mutex::new(Vec::new()));
        let next = Arc::new(AtomicU64::new(0));
        let kind = if keep { "kept" } else { "fresh" };
        let client = |_| {
            let job = Job {
                address,
                host: host.to_owned(),
                keep,
                stop: Arc::clone(&stop),
                outcomes: Arc::clone(&outcomes),
                next: Arc::clone(&next),
            };
            std::thread::spawn(move || job.run(kind))
        };
        let clients = (0..clients).map(client).collect();
        Self {
            stop,
            outcomes,
            clients,
        }
    }

    /// Waits until this many further requests were answered or failed.
    pub(crate) fn wait_for(&self, further: usize) {
        let target = self.count() + further;
        eventually("progress of the load", SOON, || {
            (self.count() >= target).then_some(())
        });
    }

    /// Requests answered or failed so far.
    pub(crate) fn count(&self) -> usize {
        self.outcomes.lock().unwrap().len()
    }

    /// Outcomes so far.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap().clone()
    }

    /// Waits until the clients ended by themselves: their connections were refused.
    pub(crate) fn join(self) -> Vec<Outcome> {
        for client in self.clients {
            client.join().unwrap();
        }
        self.outcomes.lock().unwrap().clone()
    }

    /// Ends the clients after their current requests.
    pub(crate) fn stop(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::SeqCst);
        self.join()
    }
}

impl Job {
    /// Asks until it is stopped or refused.
    fn run(&self, kind: &str) {
        let mut connection: Option<(Client, Instant, usize)> = None;
        while !self.stop.load(Ordering::SeqCst) {
            let target = format!("/{kind}/{}", self.next.fetch_add(1, Ordering::SeqCst));
            let at = Instant::now();
            let (mut client, connected, earlier) = match connection.take() {
                Some(kept) => kept,
                None => match Client::try_connect(self.address) {
                    Ok(client) => (client, Instant::now(), 0),
                    Err(error) => {
                        let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
                        let why = if refused {
                            Failure::Refused
                        } else {
                            Failure::Connect
                        };
                        self.note(Outcome {
                            target,
                            result: Err(why),
                            bytes: 0,
                            at,
                            connected: at,
                            earlier: 0,
                        });
                        return;
                    }
                },
            };
            let (result, bytes, stays) = self.ask(&mut client, &target);
            let failed = result.is_err();
            self.note(Outcome {
                target,
                result,
                bytes,
                at,
                connected,
                earlier,
            });
            if stays && self.keep {
                connection = Some((client, connected, earlier + 1));
            }
            if failed {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn ask(&self, client: &mut Client, target: &str) -> (Result<u16, Failure>, u64, bool) {
        let host = &self.host;
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        if client.try_send(head).is_err() {
            return (Err(Failure::Broken(Ended::Reset)), 0, false);
        }
        match client.try_response("GET") {
            Err(broken) => (Err(Failure::Broken(broken.how)), 0, false),
            Ok(response) => {
                let close = response
                    .field("connection")
                    .is_some_and(|value| value == "close");
                (Ok(response.status), response.raw_length, !close)
            }
        }
    }

    fn note(&self, outcome: Outcome) {
        self.outcomes.lock().unwrap().push(outcome);
    }
}
