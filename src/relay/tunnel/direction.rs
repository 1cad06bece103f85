//! One direction of a tunnel: bytes from one side to the other, and the first word of its end.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Closing, Side};
use crate::relay::frames::Frames;

/// Bytes of one direction's buffer.
const BUFFER_BYTES: usize = 16 * 1024;

/// One direction of the pipe.
pub(super) struct Direction<'a> {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    state: Flow,
    moved: &'a Cell<u64>,
    /// Whose bytes they are.
    from: Side,
    /// Their frames, where they are a WebSocket's.
    frames: Option<Frames>,
    /// The first word of either direction.
    closing: &'a Cell<Option<Closing>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Closing,
    Closed,
}

/// Which side of a direction failed.
pub(super) enum Failure {
    Reader,
    Writer,
}

impl<'a> Direction<'a> {
    pub(super) fn new(
        ahead: &Bytes,
        moved: &'a Cell<u64>,
        (from, closing): (Side, &'a Cell<Option<Closing>>),
        frames: Option<Frames>,
    ) -> Self {
        let mut buffer = vec![0; BUFFER_BYTES.max(ahead.len())];
        buffer[..ahead.len()].copy_from_slice(ahead);
        let mut direction = Self {
            buffer,
            start: 0,
            end: ahead.len(),
            state: Flow::Open,
            moved,
            from,
            frames,
            closing,
        };
        direction.follow();
        direction
    }

    /// Looks at what was just read for the word that ends a WebSocket.
    fn follow(&mut self) {
        let Some(frames) = &mut self.frames else {
            return;
        };
        if let Some(status) = frames.follow(&self.buffer[self.start..self.end]) {
            // What follows a Close frame is none of the protocol's.
            self.frames = None;
            self.note(Closing::Said(self.from, status));
        }
    }

    /// The first word counts, and a Close frame more than the end of a connection.
    fn note(&self, closing: Closing) {
        let is_said = matches!(closing, Closing::Said(..));
        match self.closing.get() {
            None => self.closing.set(Some(closing)),
            Some(Closing::Cut(_)) if is_said => self.closing.set(Some(closing)),
            Some(_) => {}
        }
    }

    /// Moves what can be moved; ready when this way is over.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.start < self.end {
                ready!(self.poll_write(cx, writer))?;
                continue;
            }
            match self.state {
                Flow::Open => ready!(self.poll_fill(cx, reader, writer))?,
                Flow::Closing => {
                    // A peer that is already gone cannot be told that the other side is.
                    let _ = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                    self.state = Flow::Closed;
                }
                Flow::Closed => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_fill<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match Pin::new(reader).poll_read(cx, &mut buffer) {
            Poll::Pending => {
                // What a TLS session has buffered must leave before we wait for more.
                let _ = Pin::new(writer).poll_flush(cx);
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::Reader)),
            Poll::Ready(Ok(())) => {
                (self.start, self.end) = (0, buffer.filled().len());
                if self.end == 0 {
                    self.state = Flow::Closing;
                    self.note(Closing::Cut(self.from));
                }
                self.follow();
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_write<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Failure>>
    where
        W: AsyncWrite + Unpin,
    {
        let pending = &self.buffer[self.start..self.end];
        match ready!(Pin::new(writer).poll_write(cx, pending)) {
            Ok(written) if written > 0 => {
                self.start += written;
                self.moved.set(self.moved.get() + written as u64);
                Poll::Ready(Ok(()))
            }
            _ => Poll::Ready(Err(Failure::Writer)),
        }
    }
}
