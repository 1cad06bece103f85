//! Hipache: a distributed HTTP and WebSocket proxy for very many virtual hosts.
//!
//! Routes are read from Redis, so a deployment is one `rpush`. Every request ends as one record
//! (`proxy::Exchange`), and everything that the proxy tells about it is made from that record.
//!
//! What it is not: a web server, a cache, or a library. The library target exists so that tests and
//! fuzz targets reach the parsers; it promises nothing to others.
//!
//! ```text
//!              master (no runtime, one thread)
//!                │ sockets, control channels, scoreboard
//!     ┌──────────┴──────────┐
//!  worker 0 …            worker n
//!     listener → http → proxy → route → balance → upstream → relay
//!                         └── Exchange ──→ telemetry
//! ```
//!
//! The map of modules, and what each may use, is `docs/architecture.md`.

pub(crate) mod admin;
pub mod balance;
pub(crate) mod cgroup;
pub mod cli;
pub mod config;
pub(crate) mod control;
pub(crate) mod credentials;
pub(crate) mod deadline;
pub(crate) mod drain;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod http;
pub(crate) mod listener;
pub mod master;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod route;
pub(crate) mod scoreboard;
pub(crate) mod streams;
pub(crate) mod sys;
pub(crate) mod telemetry;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod upstream;
pub mod vhost;
pub(crate) mod worker;
