//! Random ids, drawn without a system call and never the same in two workers.
//!
//! xoshiro256++ (Blackman, Vigna): 256 bits of state, seeded from the system's randomness in each
//! worker after its fork. Not for secrets: an id tells nobody anything.

use std::cell::Cell;
use std::fmt;
use std::io;

use rustls::crypto::aws_lc_rs::default_provider;

/// The id of a trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

/// The id of a span; never zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(pub(crate) [u8; 8]);

impl TraceId {
    /// As hexadecimal digits.
    pub(crate) fn hex(&self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&self.0, &mut text);
        text
    }
}

impl SpanId {
    /// As hexadecimal digits.
    pub(crate) fn hex(&self) -> [u8; 16] {
        let mut text = [0; 16];
        write_hex(&self.0, &mut text);
        text
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hex()
            .iter()
            .try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hex()
            .iter()
            .try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair.copy_from_slice(&HEX[usize::from(*byte)]);
    }
}

/// All bytes as hexadecimal digits.
pub(super) static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut all = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    all
};

/// Bytes from exactly twice as many hexadecimal digits; capitals only where they are allowed.
pub(super) fn parse_hex<const N: usize>(text: &[u8], with_capitals: bool) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' if with_capitals => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The generator of one worker.
pub(super) struct Generator {
    state: Cell<[u64; 4]>,
}

impl Generator {
    /// A generator with a state of its own.
    ///
    /// # Errors
    ///
    /// When the system gives no randomness.
    pub(super) fn seeded() -> io::Result<Self> {
        let mut seed = [0; 32];
        default_provider()
            .secure_random
            .fill(&mut seed)
            .map_err(|_| io::Error::other("the system gives no randomness for ids"))?;
        Ok(Self::from_seed(&seed))
    }

    fn from_seed(seed: &[u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        // The one state that it would never leave.
        state[0] |= u64::from(state == [0; 4]);
        Self {
            state: Cell::new(state),
        }
    }

    fn next(&self) -> u64 {
        let [a, b, c, d] = self.state.get();
        let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state
            .set([a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)]);
        drawn
    }

    /// A new trace.
    pub(super) fn trace(&self) -> TraceId {
        let number = u128::from(self.next()) << 64 | u128::from(self.next().max(1));
        TraceId(number.to_be_bytes())
    }

    /// A new span.
    pub(super) fn span(&self) -> SpanId {
        SpanId(self.next().max(1).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation with the state 1, 2, 3, 4.
    #[test]
    fn numbers_are_those_of_the_reference() {
        let generator = Generator {
            state: Cell::new([1, 2, 3, 4]),
        };
        let drawn = [(); 4].map(|()| generator.next());
        assert_eq!(
            drawn,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn two_generators_differ_and_zero_is_no_state() {
        let [one, other] = [(); 2].map(|()| Generator::seeded().unwrap());
        assert_ne!(one.trace(), other.trace());
        assert_ne!(one.span(), one.span());
        assert_ne!(Generator::from_seed(&[0; 32]).state.get(), [0; 4]);
    }

    #[test]
    fn digits_are_read_as_they_are_written() {
        let generator = Generator::seeded().unwrap();
        let (trace, span) = (generator.trace(), generator.span());
        assert_eq!(parse_hex(&trace.hex(), false), Some(trace.0));
        assert_eq!(parse_hex(&span.hex(), false), Some(span.0));
        type Case = (&'static [u8], bool, Option<[u8; 2]>);
        let cases: [Case; 5] = [
            (b"0aF1", true, Some([0x0a, 0xf1])),
            (b"0aF1", false, None),
            (b"0a", false, None),
            (b"0a1g", true, None),
            (b"0a1ff", true, None),
        ];
        for (text, with_capitals, expected) in cases {
            assert_eq!(parse_hex::<2>(text, with_capitals), expected, "{text:?}");
        }
    }
}
