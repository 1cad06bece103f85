//! 1xx responses on their way to the client: past hyper, whose server cannot send them, or to the
//! stream that they belong to.

use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use http::Response;
use tokio::io::AsyncWrite;

use super::Downlink;
use crate::relay::head_bytes;

/// Bytes that may wait for a client that does not read; further ones are let go.
const WAITING_BYTES: usize = 64 * 1024;

impl Downlink {
    /// Sends the head of a 1xx response; `false` when there is no room for it.
    pub(crate) fn send_interim(&self, cx: &mut Context<'_>, head: Response<()>) -> bool {
        if self.is_stream() {
            return self.leave_hint(head);
        }
        let mut bytes = BytesMut::new();
        encode_head(&mut bytes, &head);
        self.send_past(cx, &bytes)
    }

    /// Sends bytes past hyper; `false` when there is no room for them. At the boundary of two responses
    /// hyper has nothing buffered, so they cannot land inside another message; what the socket does not
    /// take at once goes before anything that hyper writes later.
    pub(crate) fn send_past(&self, cx: &mut Context<'_>, bytes: &[u8]) -> bool {
        if self.complete.borrow().is_some() || self.interim.borrow().len() > WAITING_BYTES {
            return false;
        }
        self.interim.borrow_mut().extend_from_slice(bytes);
        // An error is met again by hyper's next write, which has someone to tell.
        let _ = self.poll_interim(cx);
        true
    }

    /// Leaves a head to the task of this stream, which sends it on at once. What the connection has
    /// not written yet is bounded.
    fn leave_hint(&self, head: Response<()>) -> bool {
        let Some(connection) = &self.connection else {
            return false;
        };
        let (flushes, waiting) = self.hinted.get();
        let flushed = connection.flushes();
        let waiting = if flushed == flushes { waiting } else { 0 };
        if waiting > WAITING_BYTES {
            return false;
        }
        self.hinted
            .set((flushed, waiting + head_bytes(head.headers())));
        self.hints.borrow_mut().push_back(head);
        true
    }

    /// The next 1xx response that was left for this stream.
    pub(crate) fn take_hint(&self) -> Option<Response<()>> {
        self.hints.borrow_mut().pop_front()
    }

    /// Writes what is left of 1xx responses.
    pub(crate) fn poll_interim(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.interim.borrow_mut();
        while !interim.is_empty() {
            let polled = self.with_stream(|stream| stream.poll_write(cx, &interim));
            match polled {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.on_written(count);
                    self.heads.add_interim(count);
                    interim.advance(count);
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn encode_head(bytes: &mut BytesMut, head: &Response<()>) {
    let status = head.status();
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.extend_from_slice(b" ");
    bytes.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in head.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_encoded() {
        let head = Response::builder().status(103).header("link", "</a.css>");
        let mut bytes = BytesMut::new();
        encode_head(&mut bytes, &head.body(()).unwrap());
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
        assert_eq!(&bytes[..], expected.as_bytes());
    }
}
