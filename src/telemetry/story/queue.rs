//! The master's events on their way to the worker that exports them.
//!
//! One pair of `SOCK_SEQPACKET` sockets, made before the first fork: the master writes one message
//! an event and never waits, every worker holds the reading end, and whoever is elected reads. What
//! was not read stays in the socket, whoever dies. When it is full, messages are dropped; the next
//! one that gets through tells how many.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};

use super::told::Told;

/// Bytes that may wait, as the kernel counts them: some hundred events.
const QUEUE_BYTES: usize = 1 << 18;
/// A longer message is dropped; none is nearly as long.
const MESSAGE_BYTES: usize = 1 << 16;

/// The master's end.
pub(super) struct Outbox {
    socket: OwnedFd,
    /// Events dropped since a message got through.
    dropped: AtomicU64,
}

/// The workers' end.
pub(super) struct Inbox(OwnedFd);

/// An event, and how many before it were dropped.
#[derive(Serialize)]
struct Sent<'a> {
    dropped: u64,
    told: &'a Told,
}

/// The same, read.
#[derive(Deserialize)]
pub(super) struct Received {
    pub(super) dropped: u64,
    pub(super) told: Told,
}

/// Makes the queue.
pub(super) fn pair() -> io::Result<(Outbox, Inbox)> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (socket, inbox) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    setsockopt(&socket, sockopt::SndBuf, &QUEUE_BYTES)?;
    let outbox = Outbox {
        socket,
        dropped: AtomicU64::new(0),
    };
    Ok((outbox, Inbox(inbox)))
}

impl Outbox {
    /// Sends an event, or counts it as dropped. Never waits.
    pub(super) fn put(&self, told: &Told) {
        let dropped = self.dropped.swap(0, Relaxed);
        let message = serde_json::to_vec(&Sent { dropped, told }).unwrap_or_default();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let fits = (1..=MESSAGE_BYTES).contains(&message.len());
        if !fits || send(self.socket.as_raw_fd(), &message, flags).is_err() {
            self.dropped.fetch_add(dropped + 1, Relaxed);
        }
    }
}

impl Inbox {
    /// The next event, if there is one. A message that makes no sense is an event lost.
    pub(super) fn next(&self) -> Option<Result<Received, serde_json::Error>> {
        let mut message = vec![0; MESSAGE_BYTES];
        loop {
            match recv(self.0.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                // The master is gone.
                Ok(0) => return None,
                Ok(length) => return Some(serde_json::from_slice(&message[..length])),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}
