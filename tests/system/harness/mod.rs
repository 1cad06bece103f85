//! What every system test stands on: Redis, backends, the proxy's process, a raw client.

mod backend;
mod client;
mod config;
mod directory;
mod etc;
pub(crate) mod frames;
mod hipache;
mod line;
mod load;
mod log;
mod notify;
mod otlp;
mod otlp_metrics;
mod process;
mod records;
mod redis;
mod resp;
mod run;
mod scrape;
mod sockets;
mod streams;
mod tls;
mod wire;

use std::time::{Duration, Instant};

pub(crate) use backend::{Backend, Flow, Refused, Reply, Request, ok, response};
pub(crate) use client::{Client, Response};
pub(crate) use config::{current_user, is_root};
pub(crate) use directory::Directory;
pub(crate) use etc::PrivateEtc;
pub(crate) use hipache::{Hipache, Starter};
pub(crate) use line::Line;
pub(crate) use load::{Failure, Load, Outcome, check_all_answered};
pub(crate) use log::Log;
pub(crate) use notify::{Datagram, Notify};
pub(crate) use otlp::{Collector, text as attribute};
pub(crate) use process::{children, is_alive, signal, status};
pub(crate) use records::{Records, field, text_of};
pub(crate) use redis::{Redis, Subscriber, free_port};
pub(crate) use run::{binary, run_to_end};
pub(crate) use scrape::{Samples, Scrape};
pub(crate) use sockets::{
    Socket, Way, connect, extended_connect, new_server, old_server, read_message, send_fragments,
};
pub(crate) use streams::{Call, Setup, StreamBackend, block_on, read_all, send_all, speak};
pub(crate) use tls::{Authority, Identity};
pub(crate) use wire::Ended;

/// How long a test waits for what ought to happen at once, on the busiest machine.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Polls until the probe yields something; fails the test when the limit is over.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Text of bytes, for messages and comparisons.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
