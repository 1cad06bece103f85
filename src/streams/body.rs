//! A body that comes in on a stream.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::Frame;

/// What a stream has brought and brings.
#[derive(Debug)]
pub(crate) struct StreamBody {
    incoming: RecvStream,
    is_data_over: bool,
}

impl StreamBody {
    /// What follows a head.
    pub(crate) fn new(incoming: RecvStream) -> Self {
        Self {
            incoming,
            is_data_over: false,
        }
    }

    /// The next piece. Whoever takes it makes room for a further one.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.is_data_over {
            match ready!(self.incoming.poll_data(cx)) {
                Some(Ok(data)) => {
                    // In vain where the stream is over already.
                    let _ = self.incoming.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.is_data_over = true,
            }
        }
        let trailers = ready!(self.incoming.poll_trailers(cx));
        Poll::Ready(
            trailers
                .map(|trailers| trailers.map(Frame::trailers))
                .transpose(),
        )
    }

    /// Whether all of it was taken.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
