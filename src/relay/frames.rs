//! The frames of one direction of a WebSocket (RFC 6455 §5.2), followed from head to head to see the one
//! that says goodbye.
//!
//! Nothing is kept of a message and nothing is judged: what breaks the rules is for the two ends, and what
//! is no WebSocket at all costs a wrong guess.

/// The longest head of a frame, with the status of a Close frame behind it.
const HEAD_BYTES: usize = 2 + 8 + 4 + STATUS_BYTES;
const STATUS_BYTES: usize = 2;
const CLOSE: u8 = 0x8;
/// RFC 6455 §7.1.5: the status of a Close frame that tells none.
const NO_STATUS: u16 = 1005;

/// Where the reading of one direction stands.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    filled: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
}

impl Frames {
    /// Follows what passes by; the status of a Close frame that is in it.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Option<u16> {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let passed = self.left.min(bytes.len() as u64);
                self.left -= passed;
                bytes = &bytes[passed as usize..];
                continue;
            }
            self.head[self.filled] = *first;
            self.filled += 1;
            bytes = rest;
            let Some(head) = Head::of(&self.head[..self.filled]) else {
                continue;
            };
            self.filled = 0;
            if head.is_close {
                return Some(head.status);
            }
            self.left = head.length;
        }
        None
    }
}

/// The head of one frame.
struct Head {
    is_close: bool,
    length: u64,
    status: u16,
}

impl Head {
    /// `None` until there is enough of it.
    fn of(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else {
            return None;
        };
        let (length, rest) = match second & 0x7F {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(short), rest),
        };
        let (mask, rest) = match second & 0x80 {
            0 => ([0; 4], rest),
            _ => rest.split_first_chunk().map(|(mask, rest)| (*mask, rest))?,
        };
        let is_close = first & 0x0F == CLOSE;
        let status = match is_close && length >= STATUS_BYTES as u64 {
            true => {
                let (told, _) = rest.split_first_chunk()?;
                u16::from_be_bytes(*told) ^ u16::from_be_bytes([mask[0], mask[1]])
            }
            false => NO_STATUS,
        };
        Some(Self {
            is_close,
            length,
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let flag = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = match payload.len() {
            short @ ..126 => vec![first, flag | short as u8],
            long @ ..0x1_0000 => [&[first, flag | 126][..], &(long as u16).to_be_bytes()].concat(),
            long => [&[first, flag | 127][..], &(long as u64).to_be_bytes()].concat(),
        };
        frame.extend(mask.iter().flatten());
        let mask = mask.unwrap_or_default();
        let masked = payload.iter().zip(mask.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn a_close_frame_is_found_behind_frames_of_every_length_however_they_are_cut() {
        let mask = Some([0x1B, 0xF0, 0x88, 0x08]);
        // The content looks like Close frames.
        let before = [0, 1, 125, 126, 65_535, 65_536].map(|size| vec![0x88; size]);
        let cases = [
            (vec![0x03, 0xE8], 1000),
            (b"\x03\xE9going away".to_vec(), 1001),
            (vec![], 1005),
            (vec![0x03], 1005),
        ];
        for mask in [None, mask] {
            for (payload, expected) in &cases {
                for step in [1, 2, 3, 7, 200_000] {
                    let mut bytes: Vec<u8> = before
                        .iter()
                        .flat_map(|content| frame(0x82, mask, content))
                        .chain(frame(0x89, mask, b"ping"))
                        .collect();
                    let mut frames = Frames::default();
                    assert_eq!(frames.follow(&bytes), None);
                    bytes = frame(0x88, mask, payload);
                    let found = bytes.chunks(step).find_map(|part| frames.follow(part));
                    assert_eq!(found, Some(*expected), "{payload:?} {mask:?} {step}");
                }
            }
        }
    }

    #[test]
    fn pieces_of_any_size_are_followed_alike() {
        let bytes = [
            frame(0x02, Some([9; 4]), &vec![0x88; 70_000]),
            frame(0x80, Some([8; 4]), &[0x88; 300]),
        ]
        .concat();
        for step in [1, 5, 16_384] {
            let mut frames = Frames::default();
            let found = bytes.chunks(step).find_map(|part| frames.follow(part));
            assert_eq!((found, frames.left, frames.filled), (None, 0, 0), "{step}");
        }
    }
}
