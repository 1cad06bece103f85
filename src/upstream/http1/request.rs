//! A request on its way to a backend: its head, and its body as far as the backend takes it
//! (RFC 9112 §3, §6).

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Request};
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::error::Http1Error;
use crate::fields::{Fields, append_field, members};
use crate::sys::poll_write_slices;
use crate::upstream::RequestBody;
use crate::upstream::trailers::may_trail;

/// Pieces of a body up to this size are copied together; larger ones are written from where they are.
const COPIED_BYTES: usize = 4 * 1024;
/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 16 * 1024;

/// What is still to be sent of a request.
#[derive(Debug)]
pub(super) struct Sending<B> {
    /// Sent first, from `written` on.
    gathered: Vec<u8>,
    written: usize,
    /// ... then this piece of the body ...
    piece: Bytes,
    /// ... and its end.
    tail: &'static [u8],
    body: Option<(B, Coding)>,
    /// What was written may still be in the buffer of TLS.
    must_flush: bool,
}

/// How a body is told from what follows it.
#[derive(Debug)]
enum Coding {
    /// By its length: so many bytes are still to come.
    Length(u64),
    /// By chunks; these trailers were announced.
    Chunked(Vec<HeaderName>),
}

impl<B> Default for Sending<B> {
    fn default() -> Self {
        Self {
            gathered: Vec::new(),
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            body: None,
            must_flush: false,
        }
    }
}

impl<B: RequestBody> Sending<B> {
    /// Takes a request: its head, `also` these fields, and its body, whose framing is told here alone.
    pub(super) fn begin(&mut self, head: &Request<()>, also: Option<&Fields>, body: B) {
        self.stop();
        let out = &mut self.gathered;
        out.extend_from_slice(head.method().as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(head.uri().path().as_bytes());
        if let Some(query) = head.uri().query() {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let is_bodiless = body.is_end_stream();
        for (name, value) in head.headers() {
            let is_framing = match *name {
                // That there is none may be told.
                CONTENT_LENGTH => !is_bodiless || value != "0",
                TRANSFER_ENCODING => true,
                _ => false,
            };
            if !is_framing {
                append_field(out, name, value);
            }
        }
        if let Some(also) = also {
            out.extend_from_slice(also.text());
        }
        if !is_bodiless {
            let coding = match body.size_hint().exact() {
                Some(length) => Coding::Length(length),
                None => Coding::Chunked(announced(head.headers())),
            };
            coding.append_to(out);
            self.body = Some((body, coding));
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether all of it is with the kernel.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.is_written() && !self.must_flush
    }

    fn is_written(&self) -> bool {
        self.written == self.gathered.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Lets go of what was not sent.
    pub(super) fn stop(&mut self) {
        self.gathered.clear();
        self.written = 0;
        self.piece.clear();
        self.tail = b"";
        self.body = None;
        self.must_flush = false;
    }

    /// Takes of the body what comes, as long as there is room for it.
    ///
    /// # Errors
    ///
    /// When the body broke off, or is not as long as it was announced.
    pub(super) fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Http1Error> {
        if self.written == self.gathered.len() && self.piece.is_empty() {
            self.gathered.clear();
            self.written = 0;
            // A write can end within a chunk's end: what is left of it goes ahead of what follows.
            self.gathered.extend_from_slice(self.tail);
            self.tail = b"";
        }
        while self.piece.is_empty() && self.gathered.len() < GATHERED_BYTES {
            let Some((body, _)) = &mut self.body else {
                break;
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.end(None)?,
                Poll::Ready(Some(Ok(frame))) => self.take(frame)?,
                Poll::Ready(Some(Err(error))) => return Err(Http1Error::Upload(error.into())),
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Http1Error> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        };
        match &mut self.body {
            Some((_, Coding::Length(left))) => {
                let Some(rest) = left.checked_sub(data.len() as u64) else {
                    return Err(Http1Error::Upload("more bytes than announced".into()));
                };
                *left = rest;
                if rest == 0 {
                    self.body = None;
                }
            }
            Some((_, Coding::Chunked(_))) => {
                // A write to a vector cannot fail.
                let _ = write!(self.gathered, "{:x}\r\n", data.len());
                self.tail = b"\r\n";
            }
            None => return Ok(()),
        }
        if data.len() <= COPIED_BYTES {
            self.gathered.extend_from_slice(&data);
            self.gathered.extend_from_slice(self.tail);
            self.tail = b"";
        } else {
            self.piece = data;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Http1Error> {
        match self.body.take() {
            None | Some((_, Coding::Length(0))) => Ok(()),
            Some((_, Coding::Length(_))) => {
                Err(Http1Error::Upload("fewer bytes than announced".into()))
            }
            Some((_, Coding::Chunked(announced))) => {
                let out = &mut self.gathered;
                out.extend_from_slice(b"0\r\n");
                let fields = trailers.iter().flatten();
                for (name, value) in fields.filter(|(name, _)| announced.contains(name)) {
                    append_field(out, name, value);
                }
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }

    /// Writes what is there; nothing is written only where there is nothing left but to flush.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        if self.is_written() {
            if self.must_flush {
                ready!(stream.poll_flush(cx))?;
                self.must_flush = false;
            }
            return Poll::Ready(Ok(0));
        }
        let gathered = &self.gathered[self.written..];
        let written = match self.piece.is_empty() {
            true => stream.poll_write(cx, gathered),
            false => {
                let slices = [gathered, &*self.piece, self.tail].map(IoSlice::new);
                poll_write_slices(stream, cx, &slices)
            }
        };
        let count = ready!(written)?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.must_flush = true;
        self.advance(count);
        Poll::Ready(Ok(count))
    }

    fn advance(&mut self, mut count: usize) {
        let first = count.min(self.gathered.len() - self.written);
        self.written += first;
        count -= first;
        let second = count.min(self.piece.len());
        self.piece.advance(second);
        self.tail = &self.tail[count - second..];
    }
}

impl Coding {
    /// Tells it in a head. A write to a vector cannot fail.
    fn append_to(&self, out: &mut Vec<u8>) {
        let _ = match self {
            Self::Length(length) => write!(out, "content-length: {length}\r\n"),
            Self::Chunked(_) => write!(out, "transfer-encoding: chunked\r\n"),
        };
    }
}

/// The trailers that a request announces, as far as they may be sent: a backend that was told of no
/// others expects no others.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(TRAILER).iter();
    let names = lines.flat_map(members);
    names
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(may_trail)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    use http::HeaderValue;
    use http_body::{Body, SizeHint};

    use super::*;

    /// Frames that are all there, and the size that is told.
    struct Frames(VecDeque<Frame<Bytes>>, Option<u64>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            self.1.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    /// A connection that takes so many bytes first, and then all.
    struct Narrow(usize, Vec<u8>);

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let room = std::mem::replace(&mut self.0, usize::MAX);
            let count = bytes.len().min(room);
            self.1.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(cx, &bytes)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What is sent of a POST with these fields and this body, so many bytes first.
    fn sent_narrowly(
        fields: &[(&str, &str)],
        frames: Frames,
        first: usize,
    ) -> Result<String, String> {
        let mut head = Request::post("/a?b");
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        let (mut sending, mut stream) = (Sending::default(), Narrow(first, Vec::new()));
        sending.begin(&head.body(()).unwrap(), None, frames);
        while !sending.is_done() {
            let cx = &mut Context::from_waker(Waker::noop());
            sending.fill(cx).map_err(|error| format!("{error:?}"))?;
            let Poll::Ready(written) = sending.poll_write(&mut stream, cx) else {
                return Err("it waits".into());
            };
            written.map_err(|error| error.to_string())?;
        }
        Ok(String::from_utf8(stream.1).unwrap())
    }

    fn sent(fields: &[(&str, &str)], frames: Frames) -> Result<String, String> {
        sent_narrowly(fields, frames, usize::MAX)
    }

    #[test]
    fn what_is_sent_is_the_same_wherever_a_write_ends() {
        let fields = [("transfer-encoding", "chunked")];
        let large = "x".repeat(COPIED_BYTES + 1);
        let frames = || Frames([data(&large), data("hi"), data(&large)].into(), None);
        let whole = sent(&fields, frames()).unwrap();
        // Where a write can end: in the head, at either end of a piece, and in the end of a chunk.
        let places = (1..whole.len()).filter(|&at| !whole[at - 1..=at].contains("xx"));
        for first in places {
            let got = sent_narrowly(&fields, frames(), first);
            let error = got.as_ref().err();
            assert!(got.as_ref() == Ok(&whole), "{first} bytes first: {error:?}");
        }
    }

    fn data(text: &str) -> Frame<Bytes> {
        Frame::data(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn trailers() -> Frame<Bytes> {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "host", "other"] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        Frame::trailers(trailers)
    }

    #[test]
    fn a_request_is_sent_with_the_framing_of_its_body() {
        let large = "x".repeat(COPIED_BYTES + 1);
        let chunked = [("transfer-encoding", "chunked"), ("trailer", "X-Sum, host")];
        type Case<'a> = (
            &'a [(&'a str, &'a str)],
            Vec<Frame<Bytes>>,
            Option<u64>,
            String,
        );
        let cases: [Case<'_>; 7] = [
            (
                &[("content-length", "0")],
                vec![],
                Some(0),
                "content-length: 0\r\n\r\n".into(),
            ),
            (&chunked[..1], vec![], None, "\r\n".into()),
            // A length that nothing follows would make what does follow its body.
            (&[("content-length", "5")], vec![], Some(0), "\r\n".into()),
            (
                &[],
                vec![data("hi")],
                Some(2),
                "content-length: 2\r\n\r\nhi".into(),
            ),
            (
                &[],
                vec![data("hi"), data(""), trailers()],
                None,
                "transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".into(),
            ),
            (
                &chunked,
                vec![data(&large), data("hi"), trailers()],
                None,
                format!(
                    "trailer: X-Sum, host\r\ntransfer-encoding: chunked\r\n\r\n\
                     1001\r\n{large}\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n"
                ),
            ),
            (
                &[("content-length", "4099")],
                vec![data("hi"), data(&large)],
                Some(4099),
                format!("content-length: 4099\r\n\r\nhi{large}"),
            ),
        ];
        for (fields, frames, size, expected) in cases {
            let sent = sent(fields, Frames(frames.into(), size)).unwrap();
            assert_eq!(sent, format!("POST /a?b HTTP/1.1\r\n{expected}"));
        }
    }

    #[test]
    fn a_body_that_is_not_as_long_as_announced_is_an_error() {
        for (size, expected) in [(1, "more bytes"), (3, "fewer bytes")] {
            let frames = Frames([data("hi")].into(), Some(size));
            let error = sent(&[], frames).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
