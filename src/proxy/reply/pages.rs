//! Error pages: the operator's directory, or those built in.
//!
//! A page is read from disk when it is used, and looked at again after a second: an edit shows at
//! once, a flood of errors costs one `stat` a second for each page. What cannot be used (missing,
//! empty, a directory, too large) makes way for the next choice and never for a failed request.

use std::cell::RefCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use nix::libc::O_NONBLOCK;

use crate::telemetry::{Event, emit};

/// A larger page is not used: it stays in the memory of every worker.
const PAGE_BYTES: u64 = 1024 * 1024;
/// How long a page counts as seen.
const FRESH: Duration = Duration::from_secs(1);
/// The original says no more, and an operator's page may be in any character set.
const HTML: &str = "text/html";

/// A page as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Value of `Content-Type`.
    pub(crate) content_type: &'static str,
    /// The page itself.
    pub(crate) body: Bytes,
}

/// The pages of one worker. One entry for each status that is answered, so bounded by their number.
#[derive(Debug)]
pub(crate) struct Pages {
    directory: Option<PathBuf>,
    seen: RefCell<Vec<Seen>>,
}

/// A file as it was last seen.
#[derive(Debug)]
struct Seen {
    /// `None`: `error_default.html`.
    code: Option<u16>,
    path: PathBuf,
    at: Instant,
    version: Version,
    body: Option<Bytes>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Missing,
    /// It is there and cannot be used.
    Unusable(ErrorKind),
    /// Size, inode, and the nanoseconds of its last change.
    Found(u64, u64, i64, i64),
}

impl Pages {
    /// Pages of `server.staticDir`; `None`: those built in. Reads nothing yet.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            seen: RefCell::default(),
        }
    }

    /// The page for a status: its own, or the default one. `None`: the directory has neither.
    pub(crate) fn page(&self, status: StatusCode) -> Option<Page> {
        let code = status.as_u16();
        let body = match &self.directory {
            None => Some(Bytes::from_static(built_in(code))),
            Some(directory) => {
                let own = self.read(directory, Some(code));
                own.or_else(|| self.read(directory, None))
            }
        };
        body.map(|body| Page {
            content_type: HTML,
            body,
        })
    }

    /// A page of the directory, as it was seen within the last second.
    fn read(&self, directory: &Path, code: Option<u16>) -> Option<Bytes> {
        let now = Instant::now();
        let mut all = self.seen.borrow_mut();
        let Some(seen) = all.iter_mut().find(|seen| seen.code == code) else {
            let name = code.map_or("error_default.html".into(), |code| {
                format!("error_{code}.html")
            });
            let mut seen = Seen {
                code,
                path: directory.join(name),
                at: now,
                version: Version::Missing,
                body: None,
            };
            seen.refresh();
            let body = seen.body.clone();
            all.push(seen);
            return body;
        };
        if now.duration_since(seen.at) >= FRESH {
            seen.at = now;
            seen.refresh();
        }
        seen.body.clone()
    }
}

impl Seen {
    /// Looks at the file, and reads it if it is another than before.
    fn refresh(&mut self) {
        if let Ok(found) = std::fs::metadata(&self.path)
            && self.version == version_of(&found)
        {
            return;
        }
        let (version, body) = match load(&self.path) {
            Ok((version, body)) => (version, Some(body).filter(|body| !body.is_empty())),
            Err(error) if error.kind() == ErrorKind::NotFound => (Version::Missing, None),
            Err(error) => {
                self.complain(&error);
                (Version::Unusable(error.kind()), None)
            }
        };
        (self.version, self.body) = (version, body);
    }

    /// Tells once why a page is not used.
    fn complain(&self, error: &io::Error) {
        if self.version != Version::Unusable(error.kind()) {
            let path = self.path.display();
            emit(&Event::Problem {
                doing: "reading an error page",
                error: &format_args!("{path}: {error}; using the next choice"),
            });
        }
    }
}

/// Reads a page and what identifies it.
fn load(path: &Path) -> io::Result<(Version, Bytes)> {
    // A named pipe would block the worker until somebody writes to it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(path)?;
    // Before it is read: a change while it is read makes another version.
    let found = file.metadata()?;
    if found.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        let message = "not a regular file";
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    if found.len() > PAGE_BYTES {
        return Err(too_large());
    }
    Ok((version_of(&found), read_all(file)?))
}

/// What is told about a page beyond the limit.
fn too_large() -> io::Error {
    let message = format!("larger than {PAGE_BYTES} bytes");
    io::Error::new(ErrorKind::FileTooLarge, message)
}

/// The whole file, if it is not too large: it may have grown since it was looked at.
fn read_all(file: File) -> io::Result<Bytes> {
    let mut body = Vec::new();
    file.take(PAGE_BYTES + 1).read_to_end(&mut body)?;
    if body.len() as u64 > PAGE_BYTES {
        return Err(too_large());
    }
    Ok(body.into())
}

/// What identifies this state of a file. The time of change (not that of modification, which an
/// editor may set back) moves with every write.
fn version_of(found: &Metadata) -> Version {
    Version::Found(found.len(), found.ino(), found.ctime(), found.ctime_nsec())
}

/// The page that is built in for a status.
fn built_in(code: u16) -> &'static [u8] {
    match code {
        400 => include_bytes!("../pages/error_400.html"),
        502 => include_bytes!("../pages/error_502.html"),
        503 => include_bytes!("../pages/error_503.html"),
        504 => include_bytes!("../pages/error_504.html"),
        _ => include_bytes!("../pages/error_default.html"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A directory of its own, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("hipache-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn put(&self, name: &str, body: &[u8]) {
            fs::write(self.0.join(name), body).unwrap();
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn body(pages: &Pages, code: u16) -> Option<Bytes> {
        let page = pages.page(StatusCode::from_u16(code).unwrap())?;
        assert_eq!(page.content_type, "text/html");
        Some(page.body)
    }

    #[test]
    fn built_in_pages_serve_every_status() {
        let pages = Pages::new(None);
        let cases = [
            (400, "No Application Configured"),
            (502, "Bad Gateway"),
            (503, "Service Unavailable"),
            (504, "Gateway Timeout"),
            (431, "Something Went Wrong"),
        ];
        for (code, title) in cases {
            let page = body(&pages, code).unwrap();
            let text = std::str::from_utf8(&page).unwrap();
            assert!(text.contains(&format!("<h1>{title}</h1>")), "{code}");
            assert!(text.is_ascii(), "{code}: true in every character set");
        }
    }

    #[test]
    fn what_cannot_be_used_makes_way_for_the_next_choice() {
        let directory = Directory::new("pages");
        let pages = || Pages::new(Some(directory.0.clone()));
        assert_eq!(body(&pages(), 502), None);
        directory.put("error_default.html", b"default");
        directory.put("error_502.html", b"own");
        directory.put("error_503.html", b"");
        directory.put("error_504.html", &vec![b'x'; 1024 * 1024 + 1]);
        fs::create_dir(directory.0.join("error_400.html")).unwrap();
        let fifo = directory.0.join("error_431.html");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let cases = [
            (502, "own"),
            (503, "default"),
            (504, "default"),
            (400, "default"),
            (431, "default"),
            (408, "default"),
        ];
        let pages = pages();
        for (code, expected) in cases {
            assert_eq!(body(&pages, code).unwrap(), expected, "{code}");
        }
    }

    #[test]
    fn an_edit_shows_when_the_page_is_no_longer_fresh() {
        let directory = Directory::new("edit");
        directory.put("error_502.html", b"one");
        let pages = Pages::new(Some(directory.0.clone()));
        let age = || {
            for seen in pages.seen.borrow_mut().iter_mut() {
                seen.at -= FRESH;
            }
        };
        assert_eq!(body(&pages, 502).unwrap(), "one");
        directory.put("error_502.html", b"another");
        assert_eq!(body(&pages, 502).unwrap(), "one", "within the second");
        age();
        assert_eq!(body(&pages, 502).unwrap(), "another");
        fs::remove_file(directory.0.join("error_502.html")).unwrap();
        directory.put("error_default.html", b"default");
        age();
        assert_eq!(body(&pages, 502).unwrap(), "default");
        directory.put("error_502.html", b"back");
        age();
        assert_eq!(body(&pages, 502).unwrap(), "back");
    }
}
