//! Where the body of a response ends (RFC 9112 §6.3). Pure.

use bytes::BytesMut;
use http_body::{Frame, SizeHint};

use super::chunks::{Chunks, Decoded};
use super::error::Http1Error;

/// What is expected of the backend.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Nothing: there is no exchange, or it is over.
    Nothing,
    /// A head; of a response without a body where the request was a `HEAD`.
    Head { is_bodiless: bool },
    /// The rest of a body.
    Body(Incoming),
    /// What follows is another protocol's.
    Switched,
}

/// What is still to come of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// So many bytes.
    Length(u64),
    Chunked(Chunks),
    /// All that comes until the backend closes.
    UntilClose,
}

impl Receiving {
    /// Whether the connection can be used again behind it.
    pub(super) fn leaves_connection(&self) -> bool {
        !matches!(self, Self::Body(Incoming::UntilClose) | Self::Switched)
    }
}

impl Incoming {
    /// Takes the next piece out of what was received.
    pub(super) fn decode(&mut self, received: &mut BytesMut) -> Result<Decoded, Http1Error> {
        match self {
            Self::Chunked(chunks) => chunks.decode(received),
            Self::Length(0) => Ok(Decoded::End),
            _ if received.is_empty() => Ok(Decoded::Starved),
            Self::Length(left) => Ok(Decoded::Frame(Frame::data(take(received, left)))),
            Self::UntilClose => Ok(Decoded::Frame(Frame::data(received.split().freeze()))),
        }
    }

    /// Whether all of it was taken.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.is_over(),
            Self::UntilClose => false,
        }
    }

    /// Whether the end of the stream is its end.
    pub(super) fn ends_with_stream(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    /// Its size, where that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }
}

/// Takes what is there of so many bytes.
pub(super) fn take(received: &mut BytesMut, left: &mut u64) -> bytes::Bytes {
    let there = received.len();
    let count = usize::try_from(*left).map_or(there, |left| left.min(there));
    *left -= count as u64;
    match count == there {
        true => received.split().freeze(),
        false => received.split_to(count).freeze(),
    }
}
