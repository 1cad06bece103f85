//! What master and worker say to each other.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::frame::{Frame, Kind, Malformed};

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
    /// The answer to the request of this number.
    Lent { request: u64, what: Lent },
}

/// What a worker gets that asked for the files of a name.
#[derive(Debug)]
pub(crate) enum Lent {
    /// Those of the certificates and of the key, open for reading.
    Files([OwnedFd; 2]),
    /// There are none.
    Nothing,
    /// There may be some, but they are not given; the master has told why.
    Refused,
}

/// [`Lent::Refused`] on the wire.
const REFUSED: u8 = 1;

/// What a worker tells the master.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Asks for the files of this name in the directory of certificates, which it may not open
    /// itself.
    Borrow { request: u64, name: Box<str> },
}

impl ToWorker {
    /// The descriptors of the second part go along.
    pub(super) fn to_frame(&self) -> (Frame, Vec<BorrowedFd<'_>>) {
        let mut attached = Vec::new();
        let frame = match self {
            Self::Reopen(log, descriptor) => {
                attached.push(descriptor.as_fd());
                Frame::plain(Kind::Reopen, *log as u64)
            }
            Self::Drain { why, limit } => {
                let millis = limit.map(|limit| u64::try_from(limit.as_millis()));
                let millis = millis.map_or(NO_LIMIT, |millis| millis.unwrap_or(NO_LIMIT));
                Frame::reasoned(Kind::Drain, *why, millis)
            }
            Self::Adopt(slot) => Frame::plain(Kind::Adopt, *slot as u64),
            Self::Release(slot) => Frame::plain(Kind::Release, *slot as u64),
            Self::Lent { request, what } => {
                let mut frame = Frame::plain(Kind::Lent, *request);
                match what {
                    Lent::Files(files) => attached.extend(files.iter().map(AsFd::as_fd)),
                    Lent::Nothing => {}
                    Lent::Refused => frame.reason = REFUSED,
                }
                frame
            }
        };
        (frame, attached)
    }

    pub(super) fn from_frame(
        frame: &Frame,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Self, Malformed> {
        match frame.kind {
            Kind::Reopen => match (descriptors.len(), descriptors.pop()) {
                (1, Some(descriptor)) => Ok(Self::Reopen(frame.count(), descriptor)),
                (count, _) => Err(Malformed::Descriptors(count)),
            },
            Kind::Lent => {
                let what = match (frame.reason, descriptors.len()) {
                    (0, 0) => Lent::Nothing,
                    (0, _) => Lent::Files(
                        descriptors
                            .try_into()
                            .map_err(|those: Vec<OwnedFd>| Malformed::Descriptors(those.len()))?,
                    ),
                    _ => Lent::Refused,
                };
                let request = frame.value;
                Ok(Self::Lent { request, what })
            }
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
    pub(super) fn to_frame(&self) -> Frame {
        match self {
            Self::Ready => Frame::plain(Kind::Ready, 0),
            Self::WantsReplacement(why) => Frame::reasoned(Kind::WantsReplacement, *why, 0),
            Self::Stopped => Frame::plain(Kind::Stopped, 0),
            Self::OnlyTunnels => Frame::plain(Kind::OnlyTunnels, 0),
            Self::Drained { forced } => Frame::plain(Kind::Drained, *forced as u64),
            Self::Borrow { request, name } => Frame {
                name: name.clone(),
                ..Frame::plain(Kind::Borrow, *request)
            },
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
            Kind::Borrow => Ok(Self::Borrow {
                request: frame.value,
                name: frame.name,
            }),
            _ => Err(Malformed::Direction),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_needs_a_reason_that_is_known() {
        let mut frame = Frame::reasoned(Kind::Drain, Why::Memory, NO_LIMIT);
        for why in Why::ALL {
            frame.reason = why as u8;
            let Ok(ToWorker::Drain { why: told, limit }) = ToWorker::from_frame(&frame, Vec::new())
            else {
                panic!("no drain for {why:?}");
            };
            assert_eq!((told, limit), (why, None));
        }
        for reason in [0, 8, 255] {
            frame.reason = reason;
            let error = ToWorker::from_frame(&frame, Vec::new()).unwrap_err();
            assert_eq!(error, Malformed::Reason(reason));
        }
    }

    #[test]
    fn a_message_for_the_other_side_is_refused() {
        let (adopt, _) = ToWorker::Adopt(1).to_frame();
        assert_eq!(ToMaster::from_frame(adopt), Err(Malformed::Direction));
        let ready = ToMaster::Ready.to_frame();
        assert_eq!(
            ToWorker::from_frame(&ready, Vec::new()).unwrap_err(),
            Malformed::Direction
        );
    }

    #[test]
    fn a_message_without_its_descriptors_is_refused() {
        let some = |count| (0..count).map(|_| std::io::stdin().as_fd().try_clone_to_owned());
        for (kind, count) in [(Kind::Reopen, 0), (Kind::Lent, 1), (Kind::Lent, 3)] {
            let descriptors: Vec<OwnedFd> = some(count).collect::<Result<_, _>>().unwrap();
            assert_eq!(
                ToWorker::from_frame(&Frame::plain(kind, 0), descriptors).unwrap_err(),
                Malformed::Descriptors(count),
            );
        }
    }
}
