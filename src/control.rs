//! The channel between master and worker: messages and descriptors.
//!
//! One pair of `SOCK_SEQPACKET` sockets a worker, made before its fork: whole messages, in order,
//! with descriptors attached (`SCM_RIGHTS`). Both ends are non-blocking: the master never waits for
//! a worker that does not read, and end-of-file tells each side that the other is gone.

mod frame;
mod message;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use frame::{FRAME, Frame};
pub(crate) use frame::{MAX_NAME, VERSION};
pub(crate) use message::{Lent, ToMaster, ToWorker, Why};

/// Messages kept for a worker whose socket is full. The kernel holds some hundred before that, so a
/// worker that fills this, too, has not read for a very long time.
const MAX_WAITING: usize = 16;
/// Descriptors with a message, at most.
const MAX_DESCRIPTORS: usize = 2;

/// The master's end of a channel.
#[derive(Debug)]
pub(crate) struct MasterEnd {
    socket: OwnedFd,
    waiting: VecDeque<ToWorker>,
}

/// The worker's end of a channel, on its runtime.
#[derive(Debug)]
pub(crate) struct WorkerEnd {
    socket: AsyncFd<OwnedFd>,
}

/// What the master heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Message(ToMaster),
    /// Nothing more for now.
    Nothing,
    /// The worker has closed its end.
    Gone,
}

/// Makes a channel; the second half goes to the worker, which wraps it in a [`WorkerEnd`].
pub(crate) fn pair() -> io::Result<(MasterEnd, OwnedFd)> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (master, worker) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let master = MasterEnd {
        socket: master,
        waiting: VecDeque::new(),
    };
    Ok((master, worker))
}

impl MasterEnd {
    /// Goes on with a channel of the image before this one.
    pub(crate) fn resume(socket: OwnedFd) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
        }
    }

    /// Sends a message, or keeps it until the worker reads. An error means that it is lost: the
    /// worker is gone, or has left too many unread.
    pub(crate) fn tell(&mut self, message: ToWorker) -> io::Result<()> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(io::Error::other(format!(
                "{MAX_WAITING} messages wait unread, no room for another"
            )));
        }
        self.waiting.push_back(message);
        self.flush()
    }

    /// Sends what was kept, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(message) = self.waiting.front() {
            let (frame, descriptors) = message.to_frame();
            match send(&self.socket, &frame, &descriptors) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                outcome => {
                    self.waiting.pop_front();
                    outcome?;
                }
            }
        }
        Ok(())
    }

    /// Whether messages are kept, so that the master polls for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next message. An error is a message that could not be understood; it is consumed.
    pub(crate) fn hear(&mut self) -> io::Result<Heard> {
        match receive(&self.socket) {
            Ok(Some((frame, _))) => Ok(Heard::Message(ToMaster::from_frame(frame)?)),
            Ok(None) => Ok(Heard::Gone),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for MasterEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl WorkerEnd {
    /// Puts the worker's half of a pair on the current runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: crate::sys::watch_descriptor(socket)?,
        })
    }

    /// The next message; `None` when the master is gone. An error is a message that could not be
    /// understood; it is consumed. Cancel safe.
    pub(crate) async fn hear(&self) -> io::Result<Option<ToWorker>> {
        let received = self.socket.async_io(Interest::READABLE, receive);
        match received.await? {
            Some((frame, descriptors)) => Ok(Some(ToWorker::from_frame(&frame, descriptors)?)),
            None => Ok(None),
        }
    }

    /// Sends a report; waits while the master does not read, and not at all when it is gone.
    pub(crate) async fn tell(&self, message: &ToMaster) -> io::Result<()> {
        let frame = message.to_frame();
        self.socket
            .async_io(Interest::WRITABLE, |socket| send(socket, &frame, &[]))
            .await
    }
}

fn send(socket: &OwnedFd, frame: &Frame, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = frame.encode();
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let attached = if raw.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&bytes), IoSlice::new(frame.name.as_bytes())],
        attached,
        flags,
        None,
    )?;
    Ok(())
}

/// One message and its descriptors; `None` at the end.
fn receive(socket: &OwnedFd) -> io::Result<Option<(Frame, Vec<OwnedFd>)>> {
    // One byte more than the longest frame, so that a longer message is noticed and not cut to fit.
    let mut bytes = [0; FRAME + MAX_NAME + 1];
    let mut space = cmsg_space!([std::os::fd::RawFd; MAX_DESCRIPTORS]);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (length, descriptors) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)
        {
            // What a socket says whose peer closed it with messages unread.
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            received => received?,
        };
        let mut descriptors = Vec::new();
        for part in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                descriptors.extend(raw.into_iter().map(crate::sys::own_received));
            }
        }
        (received.bytes, descriptors)
    };
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((Frame::decode(&bytes[..length])?, descriptors)))
}

#[cfg(test)]
mod tests;
