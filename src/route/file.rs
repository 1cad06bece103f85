//! The `file:` driver: a JSON object that maps hosts to backends, reread when it changes.
//!
//! ```json
//! { "a.test": ["my-app", "http://10.0.0.1:8080", "http://10.0.0.2:8080"],
//!   "*.b.test": "http://10.0.0.3" }
//! ```
//!
//! Invariant: a file that is missing or wrong changes nothing; it is told once, and the routes of
//! the last good one go on serving.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde_json::Value;

use super::table::{KeyError, LocalMarks, Table};
use super::task::Task;
use super::{Asked, DeadReport, Lookup, Marked, RouteError, RouteStore, Source, Suspect};
use crate::telemetry::{self, Event};
use crate::vhost::Host;

/// How often the file is looked at.
const POLL: Duration = Duration::from_millis(500);
/// A file larger than this is not read.
const LIMIT_BYTES: u64 = 256 << 20;
/// Frontends made without letting others run.
const BATCH: usize = 200;

/// Routes of a file, and the task that watches it.
pub(super) struct FileStore {
    state: Rc<RefCell<State>>,
    marks: LocalMarks,
    _watch: Task<()>,
}

/// What the last good file said.
enum State {
    Good(Table),
    /// There was none yet; this is what is wrong.
    Missing(Rc<str>),
}

impl State {
    fn missing(path: &Path, error: &FileError) -> Self {
        Self::Missing(format!("{}: {error}", path.display()).into())
    }
}

/// The list of each host, still as text: what can be handed from one thread to another.
type Lists = Vec<(String, Vec<String>)>;

impl FileStore {
    /// Reads the file and watches it from then on.
    pub(super) fn start(path: PathBuf, ttl: Duration) -> Self {
        let (stamp, read) = read(&path);
        let state = match read.and_then(|lists| make_table(&lists)) {
            Ok(table) => State::Good(table),
            Err(error) => {
                tell(&path, &error);
                State::missing(&path, &error)
            }
        };
        let state = Rc::new(RefCell::new(state));
        let watch = Task::spawn(watch(path, stamp, Rc::downgrade(&state)));
        Self {
            state,
            marks: LocalMarks::new(ttl),
            _watch: watch,
        }
    }
}

impl RouteStore for FileStore {
    fn lookup<'a>(&'a self, host: &'a Host, _: &'a Cell<Option<Asked>>) -> Lookup<'a> {
        Lookup::Ready(match &*self.state.borrow() {
            State::Good(table) => self.marks.answer(host, table.find(host), Source::File),
            State::Missing(cause) => Err(RouteError::Unavailable {
                cause: Rc::clone(cause),
            }),
        })
    }

    fn mark_dead(&self, host: &Host, suspect: &Suspect<'_>) -> Marked {
        self.marks.mark(host, suspect)
    }

    fn is_checked(&self) -> bool {
        false
    }

    fn readiness(&self) -> Result<(), Rc<str>> {
        match &*self.state.borrow() {
            State::Good(_) => Ok(()),
            State::Missing(cause) => Err(Rc::clone(cause)),
        }
    }

    fn dead(&self, limit: usize) -> Vec<DeadReport> {
        self.marks.dead(limit)
    }
}

/// What is compared to see that a file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Why a file of routes cannot be used.
#[derive(Debug)]
enum FileError {
    Io(io::Error),
    TooLarge,
    Json(serde_json::Error),
    NotAnObject,
    /// The value of this host is neither a text nor an array of texts.
    NotAList(String),
    Key(String, KeyError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooLarge => write!(f, "larger than {LIMIT_BYTES} bytes"),
            Self::Json(error) => write!(f, "not JSON: {error}"),
            Self::NotAnObject => f.write_str("expected an object that maps hosts to backends"),
            Self::NotAList(host) => write!(f, "{host:?}: expected a URL or an array of texts"),
            Self::Key(host, error) => write!(f, "{host:?}: {error}"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Key(_, error) => Some(error),
            Self::TooLarge | Self::NotAnObject | Self::NotAList(_) => None,
        }
    }
}

/// Looks at the file until the store is gone. A disk may hang, so all of it that touches one is
/// done on another thread.
async fn watch(path: PathBuf, mut stamp: Option<Stamp>, state: Weak<RefCell<State>>) {
    loop {
        tokio::time::sleep(POLL).await;
        let (target, last) = (path.clone(), stamp);
        let look = tokio::task::spawn_blocking(move || read_if_changed(&target, last));
        let Ok(Some((new_stamp, read))) = look.await else {
            continue;
        };
        stamp = new_stamp;
        let table = match read {
            Ok(lists) => make_table_in_batches(&lists).await,
            Err(error) => Err(error),
        };
        let Some(state) = state.upgrade() else { return };
        match table {
            Ok(table) => {
                let hosts = table.len();
                *state.borrow_mut() = State::Good(table);
                let path = &path;
                telemetry::emit(&Event::RoutesReloaded { path, hosts });
            }
            Err(error) => {
                tell(&path, &error);
                let mut state = state.borrow_mut();
                if matches!(*state, State::Missing(_)) {
                    *state = State::missing(&path, &error);
                }
            }
        }
    }
}

fn tell(path: &Path, error: &FileError) {
    telemetry::emit(&Event::Problem {
        doing: "reading routes",
        error: &format_args!("{}: {error}; routes stay as they were", path.display()),
    });
}

type Reading = (Option<Stamp>, Result<Lists, FileError>);

fn read_if_changed(path: &Path, last: Option<Stamp>) -> Option<Reading> {
    let stamp = fs::metadata(path).ok().as_ref().map(Stamp::of);
    (stamp != last).then(|| read(path))
}

/// Reads the file; the stamp is of what was opened, taken before the first byte, so a change
/// meanwhile is seen at the next look.
fn read(path: &Path) -> Reading {
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, Stamp::of(&metadata)))
    });
    match opened {
        Ok((file, stamp)) => (Some(stamp), read_lists(file)),
        Err(error) => (None, Err(FileError::Io(error))),
    }
}

fn read_lists(file: File) -> Result<Lists, FileError> {
    let mut text = Vec::new();
    file.take(LIMIT_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(FileError::Io)?;
    if text.len() as u64 > LIMIT_BYTES {
        return Err(FileError::TooLarge);
    }
    parse(&text)
}

fn parse(text: &[u8]) -> Result<Lists, FileError> {
    let Value::Object(object) = serde_json::from_slice(text).map_err(FileError::Json)? else {
        return Err(FileError::NotAnObject);
    };
    object
        .into_iter()
        .map(|(host, value)| match parse_list(&host, value) {
            Some(list) => Ok((host, list)),
            None => Err(FileError::NotAList(host)),
        })
        .collect()
}

/// The list as it would stand in Redis: its first element is the identifier unless it is a URL,
/// then the identifier is the host.
fn parse_list(host: &str, value: Value) -> Option<Vec<String>> {
    let elements = match value {
        Value::String(url) => return Some(vec![host.to_owned(), url]),
        Value::Array(elements) => elements,
        _ => return None,
    };
    let mut list = Vec::with_capacity(elements.len() + 1);
    for element in elements {
        let Value::String(text) = element else {
            return None;
        };
        if list.is_empty() && text.contains("://") {
            list.push(host.to_owned());
        }
        list.push(text);
    }
    Some(list)
}

fn make_table(lists: &[(String, Vec<String>)]) -> Result<Table, FileError> {
    let mut table = Table::default();
    add_all(&mut table, lists)?;
    Ok(table)
}

/// Tens of thousands of frontends take longer than a request may wait: others run in between.
async fn make_table_in_batches(lists: &[(String, Vec<String>)]) -> Result<Table, FileError> {
    let mut table = Table::default();
    for batch in lists.chunks(BATCH) {
        add_all(&mut table, batch)?;
        tokio::task::yield_now().await;
    }
    Ok(table)
}

fn add_all(table: &mut Table, lists: &[(String, Vec<String>)]) -> Result<(), FileError> {
    for (host, list) in lists {
        table
            .add(host, list.iter().map(String::as_str))
            .map_err(|error| FileError::Key(host.clone(), error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
