//! hyper's I/O on Tokio: counts what really moves, keeps the client's time limits, and tells when
//! the last byte of a response was handed to the kernel.
//!
//! hyper's own header timer also runs over idle keep-alive time, so the limits of a silent client
//! sit here, one for each phase of the connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite;

use super::scan::HeadScan;
use super::stall::Stall;
use crate::config::Timeouts;
use crate::deadline::{Deadline, after};
use crate::error::End;
use crate::proxy::{Downlink, Phase};
use crate::sys;

/// The answer to a head that takes too long.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The downstream socket as hyper sees it.
pub(super) struct ClientIo {
    link: Rc<Downlink>,
    limits: ClientLimits,
    silence: Deadline,
    stall: Stall,
    scan: HeadScan,
}

/// The limits of a client's silence.
#[derive(Debug)]
pub(super) struct ClientLimits {
    head: Option<Duration>,
    keep_alive: Option<Duration>,
    body: Option<Duration>,
    drain_idle: Duration,
}

impl ClientLimits {
    /// Those of the configuration.
    pub(super) fn new(timeouts: &Timeouts, drain_idle: Duration) -> Self {
        Self {
            head: timeouts.request_head,
            keep_alive: timeouts.keep_alive,
            body: timeouts.idle_body,
            drain_idle,
        }
    }
}

impl ClientIo {
    /// The adapter of one connection.
    pub(super) fn new(link: Rc<Downlink>, limits: ClientLimits) -> Self {
        Self {
            link,
            limits,
            silence: Deadline::default(),
            stall: Stall::default(),
            scan: HeadScan::default(),
        }
    }

    /// Ready when the client was silent for too long in this phase.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let (phase, began) = self.link.phase();
        let (limit, end) = match phase {
            Phase::Idle if self.link.is_draining() => {
                let kept = self.limits.keep_alive.unwrap_or(self.limits.drain_idle);
                (Some(kept.min(self.limits.drain_idle)), None)
            }
            Phase::Idle => (self.limits.keep_alive, None),
            Phase::Head => (self.limits.head, Some(End::HeadTimeout)),
            Phase::Busy => return Poll::Pending,
        };
        ready!(self.silence.poll(cx, after(began, limit)));
        match end {
            None => self.link.on_idle_over(),
            Some(end) => {
                self.link.cut(end);
                // hyper has not answered anything here; RFC 9110 §15.5.9.
                let _ = self.link.send_past(cx, TOO_SLOW);
            }
        }
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Ready when the client took nothing for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.stall.poll(cx, &self.link, self.limits.body));
        self.link.cut(End::ClientTimeout);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    fn on_read(&mut self, count: usize, is_ambiguous: bool) {
        self.link.on_read(count);
        if self.link.phase().0 == Phase::Idle && count > 0 {
            self.link.enter(Phase::Head, Instant::now());
        }
        if is_ambiguous {
            self.link.flag_ambiguous_framing();
        }
    }

    fn on_write(&mut self, bytes: &[u8]) {
        self.link.heads.show(bytes);
        // Nothing is written between two requests but hyper's own answer to a head it refuses.
        if self.link.phase().0 != Phase::Busy
            && let Some(status) = status_of(bytes)
        {
            self.link.on_refused(status);
        }
    }
}

impl hyper::rt::Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let phase = this.link.phase().0;
        if phase == Phase::Idle {
            this.scan.restart();
        }
        let scan = &mut this.scan;
        let polled = this.link.with_stream(|stream| {
            sys::poll_read_into(stream, cx, cursor, |bytes| {
                if phase != Phase::Busy {
                    scan.feed(bytes);
                }
            })
        });
        match polled {
            Poll::Ready(Ok(count)) => {
                let is_ambiguous = phase != Phase::Busy && this.scan.is_ambiguous();
                this.on_read(count, is_ambiguous);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_silence(cx).map(Err),
        }
    }
}

impl hyper::rt::Write for ClientIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.on_write(slices.first().map_or(&[], |slice| slice));
        let written = match this.link.poll_interim(cx) {
            Poll::Ready(Ok(())) => this
                .link
                .with_stream(|stream| sys::poll_write_slices(stream, cx, slices)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        match written {
            Poll::Ready(result) => {
                this.stall.end();
                if let Ok(count) = result {
                    this.link.on_written(count);
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_stall(cx).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes once its buffer is empty: what it had is with the kernel now.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.link.poll_interim(cx))?;
        ready!(
            self.link
                .with_stream(|stream| AsyncWrite::poll_flush(stream, cx))
        )?;
        self.link.on_flushed();
        Poll::Ready(Ok(()))
    }

    /// Leaves the socket open: it may go on as a tunnel, and `close` shuts it down with care.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The status of a response whose head begins here.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let digits = bytes
        .strip_prefix(b"HTTP/1.")?
        .get(1..5)?
        .strip_prefix(b" ")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_hypers_own_answers_is_seen() {
        let cases: [(&[u8], Option<u16>); 6] = [
            (b"HTTP/1.1 400 Bad Request\r\n", Some(400)),
            (b"HTTP/1.0 431 ", Some(431)),
            (b"HTTP/1.1 431", Some(431)),
            (b"HTTP/1.1 4", None),
            (b"0\r\n\r\n", None),
            (b"", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(status_of(bytes), expected, "{bytes:?}");
        }
    }
}
