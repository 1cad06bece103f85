//! What master and worker say to each other, and how it looks on the wire.
//!
//! Every message is one frame of the same shape, led by a version: after an upgrade in place the
//! master may speak with workers of the image before it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Raised with every change that an older reader would misread.
pub(crate) const VERSION: u8 = 3;
/// Bytes of a frame: version, kind, reason, value.
pub(super) const FRAME: usize = 3 + size_of::<u64>();
/// A limit that is none.
const NO_LIMIT: u64 = u64::MAX;

/// Why a worker is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Why {
    /// The service ends.
    Stop = 1,
    /// The master is gone: each worker tells itself.
    Orphaned = 2,
    /// It takes too much memory; its successor serves.
    Memory = 3,
    /// A new configuration is in force; workers that have it serve.
    Reload = 4,
    /// The program was replaced in place; workers of the new one serve.
    Upgrade = 5,
    /// It drains already, and too many others of its slot do so, too.
    Crowded = 6,
    /// The reload that it was made for came to nothing.
    Abandoned = 7,
}

impl Why {
    const ALL: [Self; 7] = [
        Self::Stop,
        Self::Orphaned,
        Self::Memory,
        Self::Reload,
        Self::Upgrade,
        Self::Crowded,
        Self::Abandoned,
    ];

    /// Nobody takes over: the accept queues are emptied first, then the sockets closed.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Stop | Self::Orphaned)
    }

    /// The word for people and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Orphaned => "orphaned",
            Self::Memory => "memory",
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
            Self::Crowded => "crowded",
            Self::Abandoned => "abandoned",
        }
    }

    fn decode(byte: u8) -> Result<Self, Malformed> {
        let found = Self::ALL.into_iter().find(|why| *why as u8 == byte);
        found.ok_or(Malformed::Reason(byte))
    }
}

/// What the master tells a worker.
#[derive(Debug)]
pub(crate) enum ToWorker {
    /// Go on writing the access log of this place in the configuration into this descriptor.
    Reopen(usize, OwnedFd),
    /// Stop accepting, finish within the limit, leave. One that drains already obeys a limit that
    /// ends earlier.
    Drain {
        why: Why,
        /// How long to wait for what is in flight; `None`: as long as that takes.
        limit: Option<Duration>,
    },
    /// Accept for this slot as well: it has no worker.
    Adopt(usize),
    /// Stop accepting for this slot: it has a worker again.
    Release(usize),
}

/// What a worker tells the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToMaster {
    /// Accepting.
    Ready,
    /// Asks for a successor, and to leave when that serves.
    WantsReplacement(Why),
    /// Not accepting any more; going on with what it has.
    Stopped,
    /// Draining, and nothing is left but tunnels, which may last.
    OnlyTunnels,
    /// Finished, about to exit.
    Drained {
        /// Connections that the limit cut.
        forced: usize,
    },
}

/// A message on the wire. What the two fields mean is the kind's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    kind: Kind,
    reason: u8,
    value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Reopen = 1,
    Drain = 2,
    Adopt = 3,
    Release = 4,
    Ready = 65,
    Stopped = 66,
    Drained = 67,
    WantsReplacement = 68,
    OnlyTunnels = 69,
}

/// Why a message could not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Length(usize),
    Version(u8),
    Kind(u8),
    Reason(u8),
    Direction,
    NoDescriptor,
}

impl ToWorker {
    pub(super) fn to_frame(&self) -> (Frame, Option<BorrowedFd<'_>>) {
        match self {
            Self::Reopen(log, descriptor) => (
                Frame::plain(Kind::Reopen, *log as u64),
                Some(descriptor.as_fd()),
            ),
            Self::Drain { why, limit } => {
                let millis = limit.map(|limit| u64::try_from(limit.as_millis()));
                let millis = millis.map_or(NO_LIMIT, |millis| millis.unwrap_or(NO_LIMIT));
                (Frame::reasoned(Kind::Drain, *why, millis), None)
            }
            Self::Adopt(slot) => (Frame::plain(Kind::Adopt, *slot as u64), None),
            Self::Release(slot) => (Frame::plain(Kind::Release, *slot as u64), None),
        }
    }

    pub(super) fn from_frame(frame: Frame, descriptor: Option<OwnedFd>) -> Result<Self, Malformed> {
        match frame.kind {
            Kind::Reopen => descriptor
                .map(|descriptor| Self::Reopen(frame.count(), descriptor))
                .ok_or(Malformed::NoDescriptor),
            Kind::Drain => Ok(Self::Drain {
                why: Why::decode(frame.reason)?,
                limit: (frame.value != NO_LIMIT).then(|| Duration::from_millis(frame.value)),
            }),
            Kind::Adopt => Ok(Self::Adopt(frame.count())),
            Kind::Release => Ok(Self::Release(frame.count())),
            _ => Err(Malformed::Direction),
        }
    }
}

impl ToMaster {
    pub(super) fn to_frame(self) -> Frame {
        match self {
            Self::Ready => Frame::plain(Kind::Ready, 0),
            Self::WantsReplacement(why) => Frame::reasoned(Kind::WantsReplacement, why, 0),
            Self::Stopped => Frame::plain(Kind::Stopped, 0),
            Self::OnlyTunnels => Frame::plain(Kind::OnlyTunnels, 0),
            Self::Drained { forced } => Frame::plain(Kind::Drained, forced as u64),
        }
    }

    pub(super) fn from_frame(frame: Frame) -> Result<Self, Malformed> {
        match frame.kind {
            Kind::Ready => Ok(Self::Ready),
            Kind::WantsReplacement => Ok(Self::WantsReplacement(Why::decode(frame.reason)?)),
            Kind::Stopped => Ok(Self::Stopped),
            Kind::OnlyTunnels => Ok(Self::OnlyTunnels),
            Kind::Drained => Ok(Self::Drained {
                forced: frame.count(),
            }),
            _ => Err(Malformed::Direction),
        }
    }
}

impl Frame {
    fn plain(kind: Kind, value: u64) -> Self {
        Self {
            kind,
            reason: 0,
            value,
        }
    }

    fn reasoned(kind: Kind, why: Why, value: u64) -> Self {
        Self {
            kind,
            reason: why as u8,
            value,
        }
    }

    fn count(self) -> usize {
        usize::try_from(self.value).unwrap_or(usize::MAX)
    }

    pub(super) fn encode(self) -> [u8; FRAME] {
        let mut bytes = [0; FRAME];
        bytes[0] = VERSION;
        bytes[1] = self.kind as u8;
        bytes[2] = self.reason;
        bytes[3..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let &[version, kind, reason, ref value @ ..] = bytes else {
            return Err(Malformed::Length(bytes.len()));
        };
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let value = <[u8; 8]>::try_from(value).map_err(|_| Malformed::Length(bytes.len()))?;
        Ok(Self {
            kind: Kind::decode(kind)?,
            reason,
            value: u64::from_le_bytes(value),
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
            Self::Ready,
            Self::Stopped,
            Self::Drained,
            Self::WantsReplacement,
            Self::OnlyTunnels,
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
            Self::Direction => f.write_str("a control message meant for the other side"),
            Self::NoDescriptor => f.write_str("a control message without its descriptor"),
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
        let cases: [(&str, Vec<u8>, Malformed); 6] = [
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
            ("another version", with(0, 1), Malformed::Version(1)),
            ("kind 0", with(1, 0), Malformed::Kind(0)),
            ("a kind of the future", with(1, 200), Malformed::Kind(200)),
        ];
        for (case, bytes, expected) in cases {
            assert_eq!(Frame::decode(&bytes), Err(expected), "{case}");
        }
    }

    #[test]
    fn a_drain_needs_a_reason_that_is_known() {
        let mut frame = Frame::reasoned(Kind::Drain, Why::Memory, NO_LIMIT);
        for why in Why::ALL {
            frame.reason = why as u8;
            let Ok(ToWorker::Drain { why: told, limit }) = ToWorker::from_frame(frame, None) else {
                panic!("no drain for {why:?}");
            };
            assert_eq!((told, limit), (why, None));
        }
        for reason in [0, 8, 255] {
            frame.reason = reason;
            let error = ToWorker::from_frame(frame, None).unwrap_err();
            assert_eq!(error, Malformed::Reason(reason));
        }
    }

    #[test]
    fn a_message_for_the_other_side_is_refused() {
        let (adopt, _) = ToWorker::Adopt(1).to_frame();
        assert_eq!(ToMaster::from_frame(adopt), Err(Malformed::Direction));
        let ready = ToMaster::Ready.to_frame();
        assert_eq!(
            ToWorker::from_frame(ready, None).unwrap_err(),
            Malformed::Direction
        );
    }

    #[test]
    fn a_reopen_without_a_descriptor_is_refused() {
        let frame = Frame::plain(Kind::Reopen, 0);
        assert_eq!(
            ToWorker::from_frame(frame, None).unwrap_err(),
            Malformed::NoDescriptor
        );
    }
}
