//! Following the frames of a connection by their heads (RFC 9113 §4.1), beside the library that speaks
//! them: what it refuses or ends by itself is seen nowhere else.

/// Bytes of a frame's head.
const HEAD: usize = 9;
/// Bytes of the code of a reset.
const CODE: usize = 4;

/// Kinds of frames (RFC 9113 §6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const CONTINUATION: u8 = 9;

/// Flags of frames.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame that passed whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) length: usize,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    /// Why it resets its stream, if it does.
    pub(super) code: u32,
}

impl Frame {
    fn parse(head: &[u8; HEAD]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = *head;
        Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
            code: 0,
        }
    }

    /// Nothing follows it on its stream.
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// More of the same head follows it.
    pub(super) fn leaves_head_open(&self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION) && self.flags & END_HEADERS == 0
    }

    /// It answers one of ours.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.kind, SETTINGS | PING) && self.flags & ACK != 0
    }
}

/// Where one direction of a connection stands.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// Bytes that come before the first frame.
    ahead: usize,
    head: [u8; HEAD],
    /// How many of them are there.
    had: usize,
    frame: Frame,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// Bytes of a code that were there.
    had_code: usize,
}

impl Follower {
    /// Begins behind so many bytes.
    pub(super) fn behind(ahead: usize) -> Self {
        Self {
            ahead,
            ..Self::default()
        }
    }

    /// The next frame that is whole with these bytes; takes away what it looked at.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        self.ahead -= take(bytes, self.ahead).len();
        if self.had < HEAD {
            let taken = take(bytes, HEAD - self.had);
            self.head[self.had..self.had + taken.len()].copy_from_slice(taken);
            self.had += taken.len();
            if self.had < HEAD {
                return None;
            }
            self.frame = Frame::parse(&self.head);
            (self.left, self.had_code) = (self.frame.length, 0);
        }
        let taken = take(bytes, self.left);
        if self.frame.kind == RST_STREAM {
            for byte in taken.iter().take(CODE - self.had_code) {
                self.frame.code = self.frame.code << 8 | u32::from(*byte);
                self.had_code += 1;
            }
        }
        self.left -= taken.len();
        if self.left > 0 {
            return None;
        }
        self.had = 0;
        Some(self.frame)
    }

    /// Whether a frame of this kind is under way.
    pub(super) fn is_within(&self, kind: u8) -> bool {
        self.had == HEAD && self.frame.kind == kind
    }
}

/// Takes so many bytes from the front, or all there are.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let stream: &[u8] = &[
            b"preface".as_slice(),
            &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0],
            &[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0],
            &[0, 0, 3, HEADERS, END_STREAM, 0, 0, 0, 1, 7, 7, 7],
            &[0, 0, 2, CONTINUATION, END_HEADERS, 0, 0, 0, 1, 7, 7],
            &[0, 0, 4, RST_STREAM, 0, 0x80, 0, 1, 3, 0, 0, 0, 8],
            &[0, 0, 6, DATA, END_STREAM, 0, 0, 0, 5, 1, 2, 3, 4, 5, 6],
        ]
        .concat();
        for size in 1..=stream.len() {
            let mut follower = Follower::behind(7);
            let mut frames = Vec::new();
            for mut piece in stream.chunks(size) {
                while let Some(frame) = follower.next(&mut piece) {
                    frames.push(frame);
                }
                assert!(piece.is_empty(), "{size}");
            }
            let told: Vec<_> = frames
                .iter()
                .map(|frame| (frame.kind, frame.length, frame.stream, frame.code))
                .collect();
            let expected = [
                (SETTINGS, 0, 0, 0),
                (SETTINGS, 0, 0, 0),
                (HEADERS, 3, 1, 0),
                (CONTINUATION, 2, 1, 0),
                (RST_STREAM, 4, 0x103, 8),
                (DATA, 6, 5, 0),
            ];
            assert_eq!(told, expected, "{size}");
            let flags: Vec<_> = frames
                .iter()
                .map(|frame| {
                    (
                        frame.ends_stream(),
                        frame.leaves_head_open(),
                        frame.is_answer(),
                    )
                })
                .collect();
            let expected = [
                (false, false, false),
                (false, false, true),
                (true, true, false),
                (false, false, false),
                (false, false, false),
                (true, false, false),
            ];
            assert_eq!(flags, expected, "{size}");
        }
    }
}
