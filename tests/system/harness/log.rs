//! The access log as an operator tails it.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Line, SOON, eventually};

/// A reader that goes on where it stopped.
pub(crate) struct Log {
    path: PathBuf,
    offset: u64,
}

impl Log {
    /// Reads this file from its beginning; it need not exist yet.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            offset: 0,
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next line; fails the test when none comes.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Line {
        let start = Instant::now();
        loop {
            if let Some(line) = self.take() {
                return Line::parse(&line);
            }
            assert!(start.elapsed() < SOON, "no access-log line within {SOON:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The next lines, in the order in which they were written.
    #[track_caller]
    pub(crate) fn take_lines(&mut self, count: usize) -> Vec<Line> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Every whole line of the file so far; what is torn at its end fails the test.
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "torn line at the end"
        );
        text.lines().map(Line::parse).collect()
    }

    /// Waits until the file has so many lines in all.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Line> {
        let what = format!("{count} lines in {}", self.path.display());
        eventually(&what, SOON, || {
            let text = std::fs::read_to_string(&self.path).unwrap_or_default();
            (text.matches('\n').count() >= count).then_some(())
        });
        self.all()
    }

    /// Fails when there is a line that was not taken.
    #[track_caller]
    pub(crate) fn expect_none(&mut self) {
        if let Some(line) = self.take() {
            panic!("unexpected access-log line {line:?}");
        }
    }

    fn take(&mut self) -> Option<String> {
        let mut file = std::fs::File::open(&self.path).ok()?;
        file.seek(SeekFrom::Start(self.offset)).ok()?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes).ok()?;
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        self.offset += end as u64 + 1;
        Some(String::from_utf8(bytes[..end].to_vec()).expect("the log is ASCII"))
    }
}
