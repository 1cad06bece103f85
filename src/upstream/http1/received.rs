//! What came from a backend and was not taken yet.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use crate::transport::Transport;

/// Bytes that are read at once, at first and at most: twice as many after a read that could have
/// brought more.
const READ_BYTES: (usize, usize) = (8 * 1024, 64 * 1024);

/// What was read ahead.
pub(super) struct Received {
    pub(super) bytes: BytesMut,
    /// Bytes that are read at once.
    most: usize,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            most: READ_BYTES.0,
        }
    }
}

impl Received {
    /// Reads once; how many bytes there were, none at the end of the stream.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let bytes = &mut self.bytes;
        if bytes.capacity() - bytes.len() < self.most / 2 {
            bytes.reserve(self.most);
        }
        let room = bytes.capacity() - bytes.len();
        let count = ready!(pin!(stream.read_buf(bytes)).poll(cx))?;
        let (least, most) = READ_BYTES;
        if count == room {
            self.most = (self.most * 2).min(most);
        } else if count < self.most / 4 {
            self.most = (self.most / 2).max(least);
        }
        Poll::Ready(Ok(count))
    }
}
