//! How a message looks on the wire.
//!
//! Every message is one frame of the same shape, led by a version: after an upgrade in place the
//! master may speak with workers of the image before it. A name may stand at its end.

use std::fmt;
use std::io;

use super::Why;

/// Raised with every change that an older reader would misread.
pub(crate) const VERSION: u8 = 3;
/// Bytes of a frame: version, kind, reason, value.
pub(super) const FRAME: usize = 3 + size_of::<u64>();
/// Bytes of a name, at most: those of a name in DNS.
pub(crate) const MAX_NAME: usize = 253;

/// A message on the wire. What the fields mean is the kind's affair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) reason: u8,
    pub(super) value: u64,
    /// Empty in all kinds but one.
    pub(super) name: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Reopen = 1,
    Drain = 2,
    Adopt = 3,
    Release = 4,
    Lent = 5,
    Ready = 65,
    Stopped = 66,
    Drained = 67,
    WantsReplacement = 68,
    OnlyTunnels = 69,
    Borrow = 70,
}

/// Why a message could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Length(usize),
    Version(u8),
    Kind(u8),
    Reason(u8),
    Name,
    Direction,
    Descriptors(usize),
}

impl Frame {
    pub(super) fn plain(kind: Kind, value: u64) -> Self {
        Self {
            kind,
            reason: 0,
            value,
            name: Box::default(),
        }
    }

    pub(super) fn reasoned(kind: Kind, why: Why, value: u64) -> Self {
        Self {
            reason: why as u8,
            ..Self::plain(kind, value)
        }
    }

    pub(super) fn count(&self) -> usize {
        usize::try_from(self.value).unwrap_or(usize::MAX)
    }

    /// The bytes that every frame has; those of the name follow.
    pub(super) fn encode(&self) -> [u8; FRAME] {
        let mut bytes = [0; FRAME];
        bytes[0] = VERSION;
        bytes[1] = self.kind as u8;
        bytes[2] = self.reason;
        bytes[3..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let length = || Malformed::Length(bytes.len());
        let &[version, kind, reason, ref rest @ ..] = bytes else {
            return Err(length());
        };
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let (value, name) = rest.split_first_chunk().ok_or_else(length)?;
        let kind = Kind::decode(kind)?;
        let room = if kind == Kind::Borrow { MAX_NAME } else { 0 };
        if name.len() > room {
            return Err(length());
        }
        Ok(Self {
            kind,
            reason,
            value: u64::from_le_bytes(*value),
            name: str::from_utf8(name).map_err(|_| Malformed::Name)?.into(),
        })
    }
}

impl Kind {
    fn decode(byte: u8) -> Result<Self, Malformed> {
        let kinds = [
            Self::Reopen,
            Self::Drain,
            Self::Adopt,
            Self::Release,
            Self::Lent,
            Self::Ready,
            Self::Stopped,
            Self::Drained,
            Self::WantsReplacement,
            Self::OnlyTunnels,
            Self::Borrow,
        ];
        kinds
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(Malformed::Kind(byte))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => {
                write!(f, "a control message of {bytes} bytes, expected {FRAME}")
            }
            Self::Version(version) => write!(
                f,
                "a control message of version {version}, expected {VERSION}"
            ),
            Self::Kind(kind) => write!(f, "a control message of the unknown kind {kind}"),
            Self::Reason(reason) => write!(f, "a control message with the unknown reason {reason}"),
            Self::Name => f.write_str("a control message with a name that is no text"),
            Self::Direction => f.write_str("a control message meant for the other side"),
            Self::Descriptors(count) => {
                write!(
                    f,
                    "a control message with {count} descriptors, expected others"
                )
            }
        }
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_understood_is_refused_with_the_reason() {
        let whole = Frame::plain(Kind::Ready, 7).encode();
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.to_vec();
            bytes[at] = byte;
            bytes
        };
        let borrow = Frame {
            name: "a".repeat(MAX_NAME).into(),
            ..Frame::plain(Kind::Borrow, 7)
        };
        let named = |name: &[u8]| [&borrow.encode()[..], name].concat();
        assert_eq!(
            Frame::decode(&named(borrow.name.as_bytes())),
            Ok(borrow.clone())
        );
        let cases: [(&str, Vec<u8>, Malformed); 8] = [
            ("nothing", vec![], Malformed::Length(0)),
            (
                "cut short",
                whole[..FRAME - 1].to_vec(),
                Malformed::Length(FRAME - 1),
            ),
            (
                "too long",
                [&whole[..], &[0]].concat(),
                Malformed::Length(FRAME + 1),
            ),
            (
                "a name too long",
                named(&[b'a'; MAX_NAME + 1]),
                Malformed::Length(FRAME + MAX_NAME + 1),
            ),
            ("a name that is no text", named(&[0xff]), Malformed::Name),
            ("another version", with(0, 1), Malformed::Version(1)),
            ("kind 0", with(1, 0), Malformed::Kind(0)),
            ("a kind of the future", with(1, 200), Malformed::Kind(200)),
        ];
        for (case, bytes, expected) in cases {
            assert_eq!(Frame::decode(&bytes), Err(expected), "{case}");
        }
    }
}
