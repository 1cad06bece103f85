//! TLS with clients: which certificate a name is shown, and the handshake.
//!
//! The handshake stops after the client's first message until the certificate for its name is at
//! hand, wherever it comes from; then rustls does the rest.

mod chosen;
mod directory;
mod failure;
mod handshake;
mod lending;
mod loans;
mod termination;
mod tickets;
mod vhosts;

pub(crate) use failure::HandshakeError;
pub(crate) use lending::lend;
pub(crate) use loans::Loans;
pub(crate) use termination::Terminations;
pub(crate) use tickets::TicketMemory;
pub(crate) use vhosts::Vhosts;
