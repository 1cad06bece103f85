//! The request's body on its way to a backend.
//!
//! The body belongs to the exchange, not to one attempt: [`Upload`] keeps what was taken from the
//! client until it is too much or no longer needed, so an attempt that failed before anything was
//! sent can be repeated with the body whole. What was partly sent is never replayed; that verdict
//! is `proxy::retry`'s.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::ClientBody;
use super::client_body::UploadError;
use crate::error::End;
use crate::upstream::clean_trailers;

/// Bytes of a body kept for a repeat of the attempt.
const REPLAY_BYTES: usize = 64 * 1024;

/// Pieces of a body kept for a repeat: each costs more than its bytes.
const REPLAY_PIECES: usize = 1024;

/// What one attempt sends: nothing, or the exchange's upload from its beginning.
pub(crate) enum RequestBody {
    /// No body.
    Empty,
    /// The upload, and how many of its kept frames this attempt has taken.
    Upload(Rc<Upload>, usize),
}

/// The body of one request, for as many attempts as it takes.
pub(crate) struct Upload {
    incoming: RefCell<ClientBody>,
    size: SizeHint,
    kept: RefCell<Kept>,
    is_gate_open: Cell<bool>,
    is_asked_for: Cell<bool>,
    moved_at: Cell<Instant>,
    taken: Cell<u64>,
    state: Cell<State>,
}

/// Where the client's side of the body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes are at hand or nobody asked for them.
    Flowing,
    /// The backend would take more, the client has not sent it.
    Starved,
    /// Complete.
    Ended,
    /// The client broke off, or broke the rules.
    Failed(End),
}

/// What was taken from the client, as long as it may be needed again.
#[derive(Default)]
struct Kept {
    frames: Vec<Piece>,
    bytes: usize,
    is_given_up: bool,
}

/// One frame of a body; both are cheap to clone.
#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Upload {
    /// The upload of a request; held back at first when the client waits for `100 Continue`.
    pub(crate) fn new(incoming: ClientBody, is_held_back: bool) -> Rc<Self> {
        Rc::new(Self {
            size: incoming.size_hint(),
            incoming: RefCell::new(incoming),
            kept: RefCell::default(),
            is_gate_open: Cell::new(!is_held_back),
            is_asked_for: Cell::new(false),
            moved_at: Cell::new(Instant::now()),
            taken: Cell::new(0),
            state: Cell::new(State::Flowing),
        })
    }

    /// The body of one further attempt, from its first byte.
    pub(crate) fn attempt(self: &Rc<Self>) -> RequestBody {
        RequestBody::Upload(Rc::clone(self), 0)
    }

    /// Whether nothing of it was taken from the client yet.
    pub(crate) fn is_untouched(&self) -> bool {
        let kept = self.kept.borrow();
        kept.frames.is_empty() && !kept.is_given_up && self.failure().is_none()
    }

    /// Whether every byte taken from the client is still at hand.
    pub(crate) fn is_whole(&self) -> bool {
        !self.kept.borrow().is_given_up && self.failure().is_none()
    }

    /// No attempt will follow: what was kept is let go.
    pub(crate) fn give_up_replay(&self) {
        let mut kept = self.kept.borrow_mut();
        kept.is_given_up = true;
        kept.frames = Vec::new();
    }

    /// When the last byte came from the client.
    pub(crate) fn moved_at(&self) -> Instant {
        self.moved_at.get()
    }

    /// Bytes taken from the client.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Whether the client has sent all of it.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.get() == State::Ended
    }

    /// Whether the backend waits for the client.
    pub(crate) fn is_starved(&self) -> bool {
        self.state.get() == State::Starved
    }

    /// How the client failed to send it all, if it did.
    pub(crate) fn failure(&self) -> Option<End> {
        match self.state.get() {
            State::Failed(end) => Some(end),
            State::Flowing | State::Starved | State::Ended => None,
        }
    }

    /// Whether the body is held back until the backend asks for it (RFC 9110 §10.1.1).
    pub(crate) fn is_held_back(&self) -> bool {
        !self.is_gate_open.get()
    }

    /// Whether the client was asked for it: the backend wants it now.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.is_asked_for.get()
    }

    /// Lets the body flow: the backend asks for it, or keeps silent about `Expect`, as HTTP/1.0 servers
    /// do.
    pub(crate) fn open_gate(&self) {
        self.is_gate_open.set(true);
    }

    fn poll_piece(
        &self,
        cx: &mut Context<'_>,
        taken: usize,
    ) -> Poll<Option<Result<Piece, UploadError>>> {
        if let Some(piece) = self.kept.borrow().frames.get(taken) {
            return Poll::Ready(Some(Ok(piece.clone())));
        }
        if self.is_held_back() {
            return Poll::Pending;
        }
        if self.state.get() == State::Ended {
            return Poll::Ready(None);
        }
        self.is_asked_for.set(true);
        let polled = Pin::new(&mut *self.incoming.borrow_mut()).poll_frame(cx);
        match polled {
            Poll::Pending => {
                self.state.set(State::Starved);
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.state.set(State::Ended);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.state.set(State::Failed(error.end()));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(self.keep(frame)))),
        }
    }

    fn keep(&self, frame: Frame<Bytes>) -> Piece {
        self.moved_at.set(Instant::now());
        // Nobody asks for more after trailers.
        let is_ended = frame.is_trailers() || self.incoming.borrow().is_end_stream();
        self.state.set(match is_ended {
            true => State::Ended,
            false => State::Flowing,
        });
        let piece = match frame.into_data() {
            Ok(data) => {
                self.taken.set(self.taken.get() + data.len() as u64);
                Piece::Data(data)
            }
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                clean_trailers(&mut trailers);
                Piece::Trailers(trailers)
            }
        };
        self.kept.borrow_mut().push(&piece);
        piece
    }
}

impl Kept {
    fn push(&mut self, piece: &Piece) {
        if self.is_given_up {
            return;
        }
        if let Piece::Data(data) = piece {
            self.bytes += data.len();
        }
        if self.bytes > REPLAY_BYTES || self.frames.len() == REPLAY_PIECES {
            self.is_given_up = true;
            self.frames = Vec::new();
        } else {
            self.frames.push(piece.clone());
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Self::Upload(upload, taken) = self.get_mut() else {
            return Poll::Ready(None);
        };
        let polled = upload.poll_piece(cx, *taken);
        if let Poll::Ready(Some(Ok(_))) = polled {
            *taken += 1;
        }
        polled.map_ok(|piece| match piece {
            Piece::Data(data) => Frame::data(data),
            Piece::Trailers(trailers) => Frame::trailers(trailers),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload(upload, taken) => {
                upload.is_ended() && *taken >= upload.kept.borrow().frames.len()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload(upload, _) => upload.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut kept = Kept::default();
        kept.push(&Piece::Data(Bytes::from(vec![0; REPLAY_BYTES])));
        assert!(!kept.is_given_up);
        kept.push(&Piece::Data(Bytes::from_static(b"x")));
        assert!(kept.is_given_up);
        assert!(kept.frames.is_empty());
        let mut kept = Kept::default();
        for _ in 0..=REPLAY_PIECES {
            kept.push(&Piece::Data(Bytes::from_static(b"x")));
        }
        assert!(kept.is_given_up);
    }
}
