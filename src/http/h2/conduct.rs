//! What the client of a connection does, by its frames: heads that are refused before they become
//! requests, and how much it asks of us for nothing ([`Patience`]).

use std::collections::VecDeque;
use std::time::Instant;

use super::frames::{CONTINUATION, DATA, Follower, Frame, HEADERS, PING, RST_STREAM, SETTINGS};
use super::patience::Patience;
use crate::proxy::Downlink;

/// Bytes of what a client sends before its first frame (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
/// Heads that are known at a time; there are no more streams.
const HEADS: usize = 256;

/// A head that came, and is no request yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) stream: u32,
    /// As compressed.
    pub(super) bytes: usize,
}

/// Why a head never became a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A 431 was sent.
    TooLarge,
    /// Its stream was reset with this code.
    Reset(h2::Reason),
}

/// What a client did so far.
#[derive(Debug)]
pub(super) struct Conduct {
    received: Follower,
    sent: Follower,
    newest: u32,
    heads: VecDeque<Head>,
    refused: Vec<(Head, Refusal)>,
    is_head_open: bool,
    /// Since when a head is on its way.
    head_since: Option<Instant>,
    patience: Patience,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            received: Follower::behind(PREFACE_BYTES),
            sent: Follower::default(),
            newest: 0,
            heads: VecDeque::new(),
            refused: Vec::new(),
            is_head_open: false,
            head_since: None,
            patience: Patience::new(Instant::now()),
        }
    }
}

impl Conduct {
    /// These bytes came from the client.
    pub(super) fn on_read(&mut self, mut bytes: &[u8], link: &Downlink) {
        while let Some(frame) = self.received.next(&mut bytes) {
            self.on_received(frame, link);
        }
        let is_partial = self.received.is_within(HEADERS) || self.received.is_within(CONTINUATION);
        if !is_partial && !self.is_head_open {
            self.head_since = None;
        } else if self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
    }

    /// These bytes were written to the client.
    pub(super) fn on_written(&mut self, mut bytes: &[u8], link: &Downlink) {
        while let Some(frame) = self.sent.next(&mut bytes) {
            self.on_sent(frame, link);
        }
    }

    /// A head became a request, perhaps of a stream that is over by now.
    pub(super) fn open(&mut self, stream: u32) {
        self.take_head(stream);
        self.refused.retain(|(head, _)| head.stream != stream);
    }

    /// The heads that were refused since this was last asked.
    pub(super) fn take_refused(&mut self) -> Vec<(Head, Refusal)> {
        std::mem::take(&mut self.refused)
    }

    /// Since when a head is on its way.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// The head that is on its way, or came and was not looked at.
    pub(super) fn open_head(&self) -> Option<Head> {
        let begun = self.head_since.map(|_| Head {
            stream: self.newest,
            bytes: 0,
        });
        self.heads.back().copied().or(begun)
    }

    /// Whether the client has asked too much of us for nothing.
    pub(super) fn is_too_much(&mut self) -> bool {
        self.patience.is_over(Instant::now)
    }

    fn on_received(&mut self, frame: Frame, link: &Downlink) {
        match frame.kind {
            HEADERS if frame.stream > self.newest => self.begin_head(frame),
            HEADERS if frame.length > 0 => {}
            DATA if frame.length > 0 || frame.ends_stream() => {}
            SETTINGS | PING if frame.is_answer() => {}
            RST_STREAM => {
                link.on_stream_reset(frame.stream);
                self.patience.on_reset();
            }
            CONTINUATION => {
                if let Some(head) = self.heads.back_mut() {
                    head.bytes += frame.length;
                }
                self.patience.on_idle_frame();
            }
            _ => self.patience.on_idle_frame(),
        }
        if matches!(frame.kind, HEADERS | CONTINUATION) {
            self.is_head_open = frame.leaves_head_open();
        }
    }

    fn begin_head(&mut self, frame: Frame) {
        self.newest = frame.stream;
        if self.heads.len() == HEADS {
            // Those behind a GOAWAY are neither taken nor refused.
            self.heads.pop_front();
        }
        self.heads.push_back(Head {
            stream: frame.stream,
            bytes: frame.length,
        });
    }

    fn on_sent(&mut self, frame: Frame, link: &Downlink) {
        if frame.kind == DATA {
            self.patience.on_data(frame.length);
        }
        let refusal = match frame.kind {
            RST_STREAM => Refusal::Reset(frame.code.into()),
            _ if frame.ends_stream() => Refusal::TooLarge,
            _ => return,
        };
        match self.take_head(frame.stream) {
            Some(head) => {
                self.patience.on_reset();
                self.refused.push((head, refusal));
            }
            None => {
                if frame.ends_stream() {
                    self.patience.on_response();
                }
                link.on_stream_written(frame.stream);
            }
        }
    }

    /// Streams are opened in the order of their numbers (RFC 9113 §5.1.1).
    fn take_head(&mut self, stream: u32) -> Option<Head> {
        let place = self.heads.binary_search_by_key(&stream, |head| head.stream);
        self.heads.remove(place.ok()?)
    }
}
