//! The thread that appends to the file: whole lines, counted losses.
//!
//! tracing-appender owns the thread and the bounded queue; [`LineWriter`] is what it writes to.
//! It hands over each batch in one `write_all` and forgets errors, so they are counted here: a line
//! is written when its line break was, and failed otherwise. No line is in both counts or in none.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::events::{Event, emit};
use super::syslog::{Daemon, Sent};
use crate::scoreboard::{LogCounter, LogSeat};

/// How long a pipe that takes nothing is waited for, in milliseconds, before the rest of a batch is
/// given up. The queue fills up meanwhile, and what it drops is counted by its owner.
const FULL_PIPE_MILLISECONDS: u16 = 5_000;
/// The cause of failing writes is told at most so often; the number of lines lost is told apart.
const PROBLEM_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread has done so far with the lines of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Lines whose line break was written.
    pub(super) written: u64,
    /// Lines lost to a write error.
    pub(super) failed: u64,
    /// Bytes of the batches taken from the queue, written or not.
    pub(super) taken_bytes: u64,
    /// Batches taken from the queue.
    pub(super) taken_batches: u64,
}

/// Shared by the log of a worker and its writer's thread.
#[derive(Debug, Default)]
pub(super) struct Shared {
    done: Mutex<Done>,
    moved: Condvar,
    next: Mutex<Option<OwnedFd>>,
    /// Whether `next` holds something: asked for each batch without taking the lock.
    has_next: AtomicBool,
}

impl Shared {
    /// What the thread has done so far.
    pub(super) fn done(&self) -> Done {
        *lock(&self.done)
    }

    /// Lets the thread go on in another file, from its next batch on.
    pub(super) fn replace(&self, target: OwnedFd) {
        *lock(&self.next) = Some(target);
        self.has_next.store(true, Ordering::Release);
    }

    /// Blocks until this holds of what was done, or the limit is over. Whether it holds.
    pub(super) fn wait_until(&self, limit: Duration, holds: impl Fn(&Done) -> bool) -> bool {
        let done = lock(&self.done);
        let result = self
            .moved
            .wait_timeout_while(done, limit, |done| !holds(done));
        let (done, _) = result.unwrap_or_else(PoisonError::into_inner);
        holds(&done)
    }
}

/// Locks; the data of both mutexes is whole at every moment, so that a poisoned one is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where batches go.
#[derive(Debug)]
pub(super) enum Way {
    /// To this descriptor.
    File(File),
    /// To a syslog daemon.
    Syslog(Daemon),
}

/// Appends batches of whole lines to a descriptor, or sends them line by line.
#[derive(Debug)]
pub(super) struct LineWriter {
    way: Way,
    /// The last byte that we wrote here is no line break: the rest of that line was lost.
    is_torn: bool,
    told: Option<Instant>,
    shared: Arc<Shared>,
    seat: LogSeat,
}

impl LineWriter {
    /// A writer that appends here until it is given another file.
    pub(super) fn new(way: Way, shared: Arc<Shared>, seat: LogSeat) -> Self {
        Self {
            way,
            is_torn: false,
            told: None,
            shared,
            seat,
        }
    }

    /// Goes on in the file of a reopen, if there is one. Stands between two batches, so that each
    /// line is whole in one of the files; the old one is closed.
    fn take_next(&mut self) {
        if !self.shared.has_next.swap(false, Ordering::Acquire) {
            return;
        }
        if let Some(target) = lock(&self.shared.next).take() {
            self.way = Way::File(File::from(target));
            self.is_torn = false;
        }
    }

    /// Writes as much of a batch as can be; the number of its bytes that were written.
    ///
    /// After a torn line the file must get a line break first, or the next line would be merged
    /// with it. Other workers append to the same file and do not know of our torn line: one that
    /// writes between our failure and this line break continues it with its own first line, and
    /// both are lost to a parser. What tears a line is a full disk, which fails their writes as
    /// well, so that this takes space to be freed and another worker to be first: one line a tear
    /// at most. To exclude it, each batch would have to take a lock that all workers share.
    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let target = match &mut self.way {
            Way::File(target) => target,
            Way::Syslog(daemon) => {
                let (sent, result) = daemon.send(batch);
                self.count(sent, batch.len());
                return result;
            }
        };
        let mut mended = 0;
        let (sent, result) = match mend(target, self.is_torn) {
            Ok(bytes) => {
                mended = bytes;
                send(target, batch)
            }
            Err(error) => (0, Err(error)),
        };
        self.is_torn &= mended == 0;
        let (sent, rest) = batch.split_at(sent);
        self.is_torn = match sent.last() {
            None => self.is_torn,
            Some(&last) => last != b'\n',
        };
        let of_batch = Sent {
            lines: lines_in(sent),
            bytes: (mended + sent.len()) as u64,
            failed: lines_in(rest),
        };
        self.count(of_batch, batch.len());
        result
    }

    /// Counts what became of a batch.
    fn count(&self, sent: Sent, taken: usize) {
        self.seat.add(LogCounter::Written, sent.lines);
        self.seat.add(LogCounter::Bytes, sent.bytes);
        if sent.failed > 0 {
            self.seat.add(LogCounter::Failed, sent.failed);
        }
        let mut done = lock(&self.shared.done);
        done.written += sent.lines;
        done.failed += sent.failed;
        done.taken_bytes += taken as u64;
        done.taken_batches += 1;
        self.shared.moved.notify_all();
    }

    /// Tells why lines are being lost.
    fn tell(&mut self, error: &io::Error) {
        let is_due = self
            .told
            .is_none_or(|told| told.elapsed() >= PROBLEM_INTERVAL);
        if is_due {
            self.told = Some(Instant::now());
            emit(&Event::Problem {
                doing: "writing the access log",
                error,
            });
        }
    }
}

impl Write for LineWriter {
    /// Takes a whole batch, as all else would break the counts. Never an error: the queue's thread
    /// would do nothing about it.
    fn write(&mut self, batch: &[u8]) -> io::Result<usize> {
        self.take_next();
        if let Err(error) = self.append(batch) {
            self.tell(&error);
        }
        Ok(batch.len())
    }

    /// Called when the queue is empty, and so after the nudge that follows a reopen: an empty batch,
    /// which never gets as far as `write`.
    fn flush(&mut self) -> io::Result<()> {
        self.take_next();
        Ok(())
    }
}

/// Ends a torn line; the number of bytes that it took.
fn mend(target: &mut File, is_torn: bool) -> io::Result<usize> {
    if !is_torn {
        return Ok(0);
    }
    send(target, b"\n").1.map(|()| 1)
}

/// Writes until all is written or an error says that it cannot be; the number of bytes written.
fn send(target: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut sent = 0;
    while sent < bytes.len() {
        match target.write(&bytes[sent..]) {
            Ok(0) => return (sent, Err(ErrorKind::WriteZero.into())),
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                // Standard output may be a pipe that somebody made non-blocking.
                if let Err(error) = wait_until_writable(target) {
                    return (sent, Err(error));
                }
            }
            Err(error) => return (sent, Err(error)),
        }
    }
    (sent, Ok(()))
}

/// Waits for a non-blocking descriptor to take more, at most the limit.
fn wait_until_writable(target: &impl AsFd) -> io::Result<()> {
    let mut asked = [PollFd::new(target.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut asked, PollTimeout::from(FULL_PIPE_MILLISECONDS)) {
        Ok(0) => Err(ErrorKind::TimedOut.into()),
        // Writable, or an error that the next write tells; after a signal that write asks again.
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The lines that end in these bytes.
fn lines_in(bytes: &[u8]) -> u64 {
    // In runs whose count fits a byte, so that the processor compares many bytes at a time.
    let runs = bytes.chunks(usize::from(u8::MAX));
    let ends_in = |run: &[u8]| run.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    runs.map(|run| u64::from(ends_in(run))).sum()
}

#[cfg(test)]
mod tests;
