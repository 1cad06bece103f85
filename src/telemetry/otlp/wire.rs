//! Protocol Buffers, as far as spans need them: varints, fixed widths, and nested lengths.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Appends fields to a message.
pub(in super::super) struct Writer<'a>(pub(in super::super) &'a mut Vec<u8>);

impl Writer<'_> {
    fn key(&mut self, field: u8, wire_type: u64) {
        self.raw_varint(u64::from(field) << 3 | wire_type);
    }

    /// A key and a varint. Nearly always a byte each: then one look at the room is enough.
    fn pair(&mut self, field: u8, wire_type: u64, value: u64) {
        let key = u64::from(field) << 3 | wire_type;
        if key | value > 127 {
            self.raw_varint(key);
            self.raw_varint(value);
        } else {
            self.0.extend_from_slice(&[key as u8, value as u8]);
        }
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value > 127 {
            self.0.push((value & 127) as u8 | 128);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number of any integer type but `sint`.
    pub(super) fn number(&mut self, field: u8, value: u64) {
        self.pair(field, VARINT, value);
    }

    /// A `fixed64`, or the bits of a `double`.
    pub(super) fn fixed64(&mut self, field: u8, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// An item of a packed field of `fixed64` or `double`.
    pub(super) fn raw_fixed64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A `fixed32`.
    pub(super) fn fixed32(&mut self, field: u8, value: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Bytes, or a string, which must be UTF-8.
    pub(in super::super) fn bytes(&mut self, field: u8, value: &[u8]) {
        self.length(field, value.len());
        self.0.extend_from_slice(value);
    }

    /// The beginning of a field of so many bytes.
    pub(super) fn length(&mut self, field: u8, bytes: usize) {
        self.pair(field, BYTES, bytes as u64);
    }

    /// A message. Its length is known only afterwards: one byte is left for it, and what is longer
    /// than 127 is moved up.
    pub(super) fn nested<T>(&mut self, field: u8, fill: impl FnOnce(&mut Self) -> T) -> T {
        self.key(field, BYTES);
        let at = self.0.len();
        self.0.push(0);
        let filled = fill(self);
        let end = self.0.len();
        let length = end - at - 1;
        let more = varint_bytes(length) - 1;
        if more > 0 {
            self.0.resize(end + more, 0);
            self.0.copy_within(at + 1..end, at + 1 + more);
        }
        let mut rest = length;
        for byte in &mut self.0[at..at + more] {
            *byte = (rest & 127) as u8 | 128;
            rest >>= 7;
        }
        self.0[at + more] = rest as u8;
        filled
    }
}

/// Bytes of a varint.
pub(super) fn varint_bytes(value: usize) -> usize {
    match value {
        0..128 => 1,
        128..16_384 => 2,
        _ => 1 + varint_bytes(value >> 7),
    }
}

/// The fields of a message; stops at what is malformed.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let key = take_varint(&mut message)?;
        let value = match key & 7 {
            VARINT => Value::Number(take_varint(&mut message)?),
            BYTES => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                Value::Bytes(take(&mut message, length)?)
            }
            FIXED64 => Value::Bytes(take(&mut message, 8)?),
            FIXED32 => Value::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

/// A field that was read.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(message, 1)?.first()?;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_width_are_written_and_read() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = vec![7];
            Writer(&mut out).nested(3, |inner| inner.0.resize(inner.0.len() + length, 9));
            let mut plain = vec![7];
            Writer(&mut plain).bytes(3, &vec![9; length]);
            assert!(out == plain, "{length}");
            let read: Vec<_> = fields(&out[1..]).collect();
            assert_eq!(read, [(3, Value::Bytes(&vec![9; length][..]))], "{length}");
        }
    }

    #[test]
    fn malformed_messages_end_the_reading() {
        let cases: [(&[u8], usize); 6] = [
            (&[], 0),
            (&[0x08], 0),
            (&[0x08, 1, 0x12, 200, 1], 1),
            (&[0x0b, 1], 0),
            (
                &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
                0,
            ),
            (&[0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x0d, 1, 2, 3, 4], 2),
        ];
        for (message, count) in cases {
            assert_eq!(fields(message).count(), count, "{message:?}");
        }
    }
}
