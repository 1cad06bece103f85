//! A body in chunks, with trailers behind it (RFC 9112 §7.1). Pure.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use httparse::Status;

use super::error::Http1Error;
use super::framing::take;
use crate::upstream::trailers::may_trail;

/// Bytes of the line before a chunk: its size, and extensions that nobody reads.
const SIZE_LINE_BYTES: usize = 4 * 1024;
/// Bytes of all extensions in one body. Chunks of a byte each with a long extension each would keep us
/// busy for nothing.
const EXTENSION_BYTES: usize = 16 * 1024;
/// A line before a chunk without extensions is no longer: sixteen digits and its end.
const PLAIN_LINE_BYTES: usize = 18;
/// Bytes of trailers, and fields.
const TRAILER_BYTES: usize = 16 * 1024;
const TRAILERS: usize = 64;
/// The end of a chunk, and of a body without trailers.
const LAST: &[u8] = b"\r\n0\r\n\r\n";

/// What came of what was received.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A piece, or the trailers.
    Frame(Frame<Bytes>),
    /// Nothing follows.
    End,
    /// There is too little to go on.
    Starved,
}

/// What is expected next.
#[derive(Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Size,
    Data(u64),
    EndOfChunk,
    Trailers,
    Nothing,
}

/// A body in chunks, as far as it came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    next: Next,
    extension_bytes: usize,
}

impl Chunks {
    /// Whether all of it was taken.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.next, Next::Nothing)
    }

    /// Takes the next piece out of what was received.
    pub(super) fn decode(&mut self, received: &mut BytesMut) -> Result<Decoded, Http1Error> {
        loop {
            let is_known = match &mut self.next {
                Next::Size => self.take_size(received)?,
                Next::Data(_) if received.is_empty() => false,
                Next::Data(left) => {
                    let data = take(received, left);
                    if *left == 0 {
                        self.end_chunk(received);
                    }
                    return Ok(Decoded::Frame(Frame::data(data)));
                }
                Next::EndOfChunk => self.take_end_of_chunk(received)?,
                Next::Trailers => match take_trailers(received)? {
                    None => false,
                    Some(trailers) => {
                        self.next = Next::Nothing;
                        if !trailers.is_empty() {
                            return Ok(Decoded::Frame(Frame::trailers(trailers)));
                        }
                        true
                    }
                },
                Next::Nothing => return Ok(Decoded::End),
            };
            if !is_known {
                return Ok(Decoded::Starved);
            }
        }
    }

    /// Mostly a body's last bytes come together: then its end is known with them.
    fn end_chunk(&mut self, received: &mut BytesMut) {
        self.next = Next::EndOfChunk;
        if **received == *LAST {
            received.clear();
            self.next = Next::Nothing;
        }
    }

    fn take_size(&mut self, received: &mut BytesMut) -> Result<bool, Http1Error> {
        let Status::Complete((used, size)) = httparse::parse_chunk_size(received)
            .map_err(|_| Http1Error::Protocol("the size of a chunk is no number"))?
        else {
            return match received.len() > SIZE_LINE_BYTES {
                true => Err(Http1Error::Protocol("the line before a chunk is too long")),
                false => Ok(false),
            };
        };
        let line = &received[..used];
        if !line[0].is_ascii_hexdigit() || line[..used - 2].contains(&b'\n') {
            return Err(Http1Error::Protocol("the size of a chunk is no number"));
        }
        self.extension_bytes += used.saturating_sub(PLAIN_LINE_BYTES);
        if self.extension_bytes > EXTENSION_BYTES {
            return Err(Http1Error::Protocol("too many chunk extensions"));
        }
        received.advance(used);
        self.next = match size {
            0 => Next::Trailers,
            size => Next::Data(size),
        };
        Ok(true)
    }

    fn take_end_of_chunk(&mut self, received: &mut BytesMut) -> Result<bool, Http1Error> {
        let there = received.len().min(2);
        if received[..there] != b"\r\n"[..there] {
            return Err(Http1Error::Protocol("a chunk is longer than its size"));
        }
        if there < 2 {
            return Ok(false);
        }
        received.advance(2);
        self.next = Next::Size;
        Ok(true)
    }
}

fn take_trailers(received: &mut BytesMut) -> Result<Option<HeaderMap>, Http1Error> {
    const BAD: Http1Error = Http1Error::Protocol("trailers are no fields");
    if received.starts_with(b"\r\n") {
        received.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS];
    let (used, fields) = match httparse::parse_headers(received, &mut fields).map_err(|_| BAD)? {
        Status::Complete(parsed) => parsed,
        Status::Partial if received.len() <= TRAILER_BYTES => return Ok(None),
        Status::Partial => return Err(Http1Error::Protocol("trailers too large")),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BAD)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| BAD)?;
        if may_trail(&name) {
            trailers.append(name, value);
        }
    }
    received.advance(used);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the trailers and what is left, where the body comes in pieces of this size.
    fn read(text: &str, piece: usize) -> Result<(String, Option<HeaderMap>, usize), String> {
        let (mut chunks, mut received) = (Chunks::default(), BytesMut::new());
        let (mut data, mut trailers) = (String::new(), None);
        for piece in text.as_bytes().chunks(piece) {
            received.extend_from_slice(piece);
            while !chunks.is_over() {
                match chunks
                    .decode(&mut received)
                    .map_err(|error| error.to_string())?
                {
                    Decoded::Starved => break,
                    Decoded::End => {}
                    Decoded::Frame(frame) => match frame.into_data() {
                        Ok(bytes) => data.push_str(str::from_utf8(&bytes).unwrap()),
                        Err(frame) => trailers = frame.into_trailers().ok(),
                    },
                }
            }
        }
        match chunks.is_over() {
            true => Ok((data, trailers, received.len())),
            false => Err("not over".into()),
        }
    }

    #[test]
    fn chunks_are_joined_however_they_come() {
        let cases = [
            ("0\r\n\r\n", "", None, 0),
            ("2\r\nhi\r\n0\r\n\r\n", "hi", None, 0),
            (
                "2;a=b\r\nhi\r\n00A ; x\r\n0123456789\r\n000\r\n\r\n",
                "hi0123456789",
                None,
                0,
            ),
            ("2\r\nhi\r\n0\r\nA: b\r\nC: d\r\n\r\n", "hi", Some(2), 0),
            ("2\r\nhi\r\n0\r\n\r\nmore", "hi", None, 4),
        ];
        for (text, data, trailers, left) in cases {
            for piece in [1, 2, 3, text.len()] {
                let (got, fields, rest) = read(text, piece).unwrap();
                assert_eq!(
                    (&*got, fields.map(|f| f.len())),
                    (data, trailers),
                    "{text:?} {piece}"
                );
                assert!(rest <= left, "{text:?} {piece}: {rest}");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_told() {
        let long = format!("2;{}\r\nhi\r\n", "x".repeat(SIZE_LINE_BYTES));
        let extended = format!("1;{}\r\nx\r\n", "x".repeat(1000)).repeat(20);
        let trailers = format!("0\r\nA: {}\r\n\r\n", "x".repeat(TRAILER_BYTES));
        let cases = [
            ("\r\nhi", "no number"),
            ("g\r\n", "no number"),
            ("-1\r\n", "no number"),
            ("2\nhi\r\n", "no number"),
            ("2;a\nb\r\nhi\r\n", "no number"),
            ("11111111111111111\r\n", "no number"),
            ("2\r\nhi!\r\n0\r\n\r\n", "longer than its size"),
            ("2\r\nhi\n0\r\n\r\n", "longer than its size"),
            ("0\r\nno field\r\n\r\n", "trailers are no fields"),
            (&*long, "too long"),
            (&*extended, "too many chunk extensions"),
            (&*trailers, "trailers too large"),
            ("2\r\nh", "not over"),
            ("2\r\nhi\r\n0\r\n", "not over"),
        ];
        for (text, expected) in cases {
            let error = read(text, 1).unwrap_err();
            assert!(error.contains(expected), "{text:.40}: {error}");
        }
    }
}
