//! One line a request, in the format of the original.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use crate::scoreboard::Slot;

/// What a line needs, borrowed from the finished exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// The effective client: `X-Real-IP` of a trusted peer, or the peer itself.
    pub(crate) client: IpAddr,
    /// When the request head was complete.
    pub(crate) arrived: SystemTime,
    /// Method; `None` with the target and version when the head was refused: the request is `-`.
    pub(crate) request: Option<RequestLine<'a>>,
    /// Status sent to the client; 0 when none was.
    pub(crate) status: u16,
    /// Bytes written to the client for this exchange: head, body and framing.
    pub(crate) bytes_sent: u64,
    /// `Referer`, empty when absent.
    pub(crate) referer: &'a [u8],
    /// `User-Agent`, empty when absent.
    pub(crate) user_agent: &'a [u8],
    /// Identifier of the frontend, `-` where there is none.
    pub(crate) vhost: &'a [u8],
    /// From the arrival of the head to the end.
    pub(crate) total: Duration,
    /// From the choice of the last backend to the end; zero where none was chosen.
    pub(crate) backend: Duration,
}

/// The request line as it was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine<'a> {
    /// Method.
    pub(crate) method: &'a str,
    /// Target as it came: origin, absolute, authority or asterisk form.
    pub(crate) target: &'a [u8],
    /// `1.0` or `1.1`.
    pub(crate) version: &'a str,
}

/// The access log of one worker. Not shared with other threads.
pub(crate) struct AccessLog {}

impl AccessLog {
    /// A log into this descriptor; `None` writes nothing. Starts its writer's thread.
    pub(crate) fn start(_target: Option<OwnedFd>, _slot: Slot) -> Self {
        todo!("access log")
    }

    /// Appends the line of a finished exchange; never blocks.
    pub(crate) fn write(&self, _record: &Record<'_>) {
        todo!("access log")
    }

    /// Goes on in this descriptor; lines already queued may go to either file, each whole.
    pub(crate) fn reopen(&self, _target: OwnedFd) {
        todo!("access log")
    }

    /// Hands over what is buffered and waits until it is written or the limit is over.
    /// Blocking: for the end of a worker.
    pub(crate) fn shutdown(self, _limit: Duration) {
        todo!("access log")
    }
}
