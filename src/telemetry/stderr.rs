//! The log of the process on standard error: one write a line, usable before and after a fork.
//!
//! Starts no thread and holds no lock across a fork: the master logs from its only thread. A
//! reader of standard error that hangs costs lines, which are counted, and never the process.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::events::{Event, emit};

/// The environment variable with a filter in `tracing`'s syntax, such as `hipache=trace,hyper=debug`.
const FILTER: &str = "HIPACHE_LOG";
/// How long a full pipe is waited for, in milliseconds; not at all once a line was lost.
const PATIENCE_MILLISECONDS: u16 = 100;
/// A longer line is cut: a pipe takes so much in one piece (`PIPE_BUF`), or nothing.
const LINE_BYTES: usize = 4096;
/// Lines lost because standard error could not be written, and not yet told.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Sets up the log of the process on standard error. Starts no thread. A second call does nothing.
pub(crate) fn init(debug: bool) {
    let (filter, problem) = filter(debug, std::env::var(FILTER).ok());
    let is_new = tracing_subscriber::fmt()
        // The library would tell of a failed write by `eprintln!`, which panics when that fails, too.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .event_format(Line)
        .with_writer(Stderr)
        .try_init()
        .is_ok();
    if let Some(problem) = problem.filter(|_| is_new) {
        emit(&Event::Problem {
            doing: "reading HIPACHE_LOG",
            error: &problem,
        });
    }
}

/// The filter in force, and what is wrong with the one that was asked for.
fn filter(debug: bool, asked: Option<String>) -> (EnvFilter, Option<String>) {
    // Libraries speak up only when something is wrong; their chatter is for who asks for it.
    let default = if debug {
        "warn,hipache=debug"
    } else {
        "warn,hipache=info"
    };
    let asked = asked.filter(|text| !text.trim().is_empty());
    match asked.map(|text| EnvFilter::try_new(&text)) {
        None => (EnvFilter::new(default), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (
            EnvFilter::new(default),
            Some(format!("{error}; using {default} instead")),
        ),
    }
}

/// `2026-11-22T05:01:23.123456Z  INFO 4711 text field=value`, the number being the process.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let level = event.metadata().level();
        // Asked for each time: the same subscriber serves the master and, after the fork, a worker.
        write!(writer, " {level:>5} {} ", std::process::id())?;
        if *level >= Level::DEBUG {
            write!(writer, "{}: ", event.metadata().target())?;
        }
        context.format_fields(Writer::new(&mut Escaping(&mut writer)), event)?;
        writer.write_char('\n')
    }
}

/// Passes text on with every control character escaped: whatever a peer sent, an event stays one
/// line and a terminal is told nothing.
struct Escaping<'a, 'b>(&'a mut Writer<'b>);

impl std::fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_harmful) {
            let (clean, harmful) = rest.split_at(at);
            self.0.write_str(clean)?;
            let mut characters = harmful.chars();
            if let Some(character) = characters.next() {
                write!(self.0, "{}", character.escape_default())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Control characters, line and paragraph separators, and what turns the direction of writing.
fn is_harmful(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Standard error, written at once and never waited for long.
struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut target = io::stderr().lock();
        let lost = LOST.swap(0, Relaxed);
        if lost > 0 {
            // Without a time of its own: it belongs to the line that follows.
            let notice = format!("{lost} lines of this log were lost: standard error was full\n");
            if !put(&mut target, notice.as_bytes(), false) {
                LOST.fetch_add(lost + 1, Relaxed);
                return Ok(line.len());
            }
        }
        if !put(&mut target, &shortened(line), lost == 0) {
            LOST.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What each write of the log holds while `tell` runs.
    pub(in crate::telemetry) fn writes(
        debug: bool,
        asked: Option<&str>,
        tell: impl FnOnce(),
    ) -> Vec<String> {
        let memory = Memory::default();
        let target = memory.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(debug, asked.map(str::to_owned)).0)
            .event_format(Line)
            .with_writer(move || target.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, tell);
        let writes = memory.0.lock().unwrap();
        writes
            .iter()
            .map(|bytes| String::from_utf8(bytes.clone()).unwrap())
            .collect()
    }

    #[test]
    fn a_line_has_time_level_process_and_text_in_one_write() {
        let address = "127.0.0.1:8080".parse().unwrap();
        let writes = writes(false, None, || emit(&Event::Listening { address }));
        assert_eq!(writes.len(), 1, "{writes:?}");
        let (time, rest) = writes[0].split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        let expected = format!(
            " INFO {} listening address=127.0.0.1:8080\n",
            std::process::id()
        );
        assert_eq!(rest, expected);
    }

    #[test]
    fn control_characters_of_peers_are_escaped() {
        let error = "bad \r\n2026 ERROR forged\x1b[2J\u{7f}\u{85}\u{202e}ü";
        let lines = writes(false, None, || {
            emit(&Event::Problem {
                doing: "a\nb",
                error: &error,
            });
            tracing::warn!(target: "hipache", text = %error, "raw");
        });
        assert_eq!(lines.len(), 2);
        for line in &lines {
            let inner = line.strip_suffix('\n').unwrap();
            assert!(!inner.chars().any(is_harmful), "{line:?}");
            assert!(inner.contains("ü") || inner.contains("\\u{fc}"), "{line:?}");
        }
        assert!(lines[1].contains("bad \\r\\n2026"), "{}", lines[1]);
    }

    #[test]
    fn the_filter_quiets_libraries_and_can_be_asked_for() {
        let tell = || {
            tracing::info!(target: "hyper", "library info");
            tracing::warn!(target: "hyper", "library warning");
            tracing::info!(target: "hipache::proxy", "own info");
            tracing::debug!(target: "hipache::proxy", "own debug");
        };
        let cases: [(bool, Option<&str>, &[&str]); 5] = [
            (false, None, &["library warning", "own info"]),
            (true, None, &["library warning", "own info", "own debug"]),
            (
                true,
                Some(" "),
                &["library warning", "own info", "own debug"],
            ),
            (
                true,
                Some("hyper=info"),
                &["library info", "library warning"],
            ),
            (false, Some("=,=["), &["library warning", "own info"]),
        ];
        for (debug, asked, expected) in cases {
            let lines = writes(debug, asked, tell);
            assert_eq!(lines.len(), expected.len(), "{asked:?}: {lines:?}");
            for (line, text) in lines.iter().zip(expected) {
                assert!(line.contains(text), "{asked:?}: {line}");
            }
        }
        assert!(filter(false, Some("=,=[".into())).1.is_some());
    }

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
