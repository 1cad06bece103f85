//! Standard error, where the process tells its story: one write a line, usable before and after a
//! fork.
//!
//! Starts no thread and holds no lock across a fork: the master logs from its only thread. A
//! reader of standard error that hangs costs lines, which are counted, and never the process.

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a full pipe is waited for, in milliseconds; not at all once a line was lost.
const PATIENCE_MILLISECONDS: u16 = 100;
/// A longer line is cut: a pipe takes so much in one piece (`PIPE_BUF`), or nothing.
pub(super) const LINE_BYTES: usize = 4096;
/// Lines lost because standard error could not be written, and not yet told.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes a line at once, and never waits for long.
pub(super) fn write(line: &[u8]) {
    let mut target = io::stderr().lock();
    let lost = LOST.swap(0, Relaxed);
    if lost > 0 {
        let notice = notice(lost, line.first() == Some(&b'{'));
        if !put(&mut target, notice.as_bytes(), false) {
            LOST.fetch_add(lost + 1, Relaxed);
            return;
        }
    }
    if !put(&mut target, &shortened(line), lost == 0) {
        LOST.fetch_add(1, Relaxed);
    }
}

/// What tells of lost lines. Without a time of its own: it belongs to the line that follows.
fn notice(lost: u64, is_json: bool) -> String {
    let text = format!("{lost} lines of this log were lost: standard error was full");
    match is_json {
        true => format!("{{\"level\":\"WARN\",\"message\":\"{text}\",\"lost\":{lost}}}\n"),
        false => format!("{text}\n"),
    }
}

/// The line, cut to what a pipe that says that it is writable takes without blocking.
fn shortened(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= LINE_BYTES {
        return Cow::Borrowed(line);
    }
    let kept = String::from_utf8_lossy(&line[..LINE_BYTES - 8]);
    // A character that was cut in two is dropped.
    let kept = kept.trim_end_matches(char::REPLACEMENT_CHARACTER);
    Cow::Owned(format!("{kept}...\n").into_bytes())
}

/// Writes a line unless nobody reads; whether it was written.
fn put(target: &mut (impl Write + AsFd), line: &[u8], is_patient: bool) -> bool {
    is_writable(target, is_patient) && target.write_all(line).is_ok()
}

/// Whether a write would go through now, or within the patience.
fn is_writable(target: &impl AsFd, is_patient: bool) -> bool {
    let limit = if is_patient { PATIENCE_MILLISECONDS } else { 0 };
    let mut asked = [PollFd::new(target.as_fd(), PollFlags::POLLOUT)];
    // A descriptor that cannot be polled is tried: the write itself then tells.
    !matches!(poll(&mut asked, PollTimeout::from(limit)), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_is_not_waited_for_once_a_line_was_lost() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(is_writable(&writer, true));
        nix::fcntl::fcntl(
            &writer,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .unwrap();
        while (&writer).write(&[0; 4096]).is_ok() {}
        let start = std::time::Instant::now();
        assert!(!is_writable(&writer, false));
        assert!(start.elapsed().as_millis() < u128::from(PATIENCE_MILLISECONDS));
        drop(reader);
        assert!(is_writable(&writer, false), "an error is told by the write");
    }

    #[test]
    fn a_long_line_is_cut_and_stays_a_line() {
        let long = format!("{}\n", "ü".repeat(LINE_BYTES));
        let cut = shortened(long.as_bytes());
        assert!(cut.len() <= LINE_BYTES && cut.len() > LINE_BYTES - 16);
        assert!(std::str::from_utf8(&cut).unwrap().ends_with("ü...\n"));
        assert_eq!(&*shortened(b"short\n"), b"short\n");
    }
}
