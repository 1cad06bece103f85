//! Raw system calls; the only place with `unsafe`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Reads from a Tokio stream straight into hyper's buffer, and says how many bytes came; 0 is the
/// end of the stream (or a full buffer).
///
/// hyper offers the memory that it has reserved, uninitialised. The safe ways over it cost a copy or
/// the zeroing of at least 8 KiB for every read, so both HTTP sides read through this function.
#[expect(
    unsafe_code,
    reason = "hyper's and Tokio's cursors over uninitialised memory meet only so"
)]
pub(crate) fn poll_read_into(
    io: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    mut cursor: hyper::rt::ReadBufCursor<'_>,
) -> Poll<io::Result<usize>> {
    // SAFETY: `ReadBuf` never de-initialises a byte, which is all that `as_mut` asks for.
    let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
    let start = buffer.filled().as_ptr();
    ready!(io.poll_read(cx, &mut buffer))?;
    if buffer.filled().as_ptr() != start {
        return Poll::Ready(Err(io::Error::other(
            "the stream put another buffer in place",
        )));
    }
    let count = buffer.filled().len();
    // SAFETY: `ReadBuf::filled` covers initialised bytes only, and begins at the cursor: a stream
    // could have put another buffer in its place, which was ruled out above.
    unsafe { cursor.advance(count) };
    Poll::Ready(Ok(count))
}
