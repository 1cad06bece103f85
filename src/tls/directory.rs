//! A directory of certificates: `NAME.crt` and `NAME.key`, and `*.PARENT.crt` for all below a name.
//!
//! As planb keeps them. Looked at with every handshake, which costs a look at the two files. Where
//! only root may look, as below `/etc/letsencrypt`, the master opens the two files instead, and this
//! worker reads them: it is asked with every handshake, too, so a change is seen as soon.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::loans::Loans;
use crate::control::Lent;
use crate::credentials::Credentials;
use crate::telemetry::OnceAMinute;

/// A chain is a few KiB, and so is a key.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The directory, as this worker sees it.
pub(super) struct CertificateDirectory {
    path: PathBuf,
    /// For what only root may open; `None` where the master may not either.
    loans: Option<Rc<Loans>>,
    unreadable: OnceAMinute,
}

/// What the directory has for a name.
pub(super) enum Fetched {
    Nothing,
    /// What is known already.
    Same,
    New(Stamp, Result<Credentials, String>),
    /// It cannot be found out, which was told.
    Unknown,
}

/// Which version of its files a name has: of the certificates and of the key.
pub(super) type Stamp = [Version; 2];

/// Tells a file from its next version, whether it was written to or replaced.
type Version = (u64, u64, u64, i64, i64);

impl CertificateDirectory {
    pub(super) fn new(path: PathBuf, loans: Option<Rc<Loans>>) -> Self {
        Self {
            path,
            loans,
            unreadable: OnceAMinute::default(),
        }
    }

    /// Looks for the files of a name, and reads them unless they are those that are known.
    pub(super) async fn fetch(&self, name: &str, known: Option<Stamp>) -> Fetched {
        let denied = match self.look(name, known) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => error,
            Err(error) => return self.give_up(name, &error),
            Ok(found) => return found,
        };
        let Some(loans) = &self.loans else {
            return self.give_up(name, &denied);
        };
        match loans.borrow(name).await {
            Lent::Nothing => Fetched::Nothing,
            Lent::Refused => Fetched::Unknown,
            Lent::Files(files) => match read(files.map(File::from), known) {
                Ok(found) => found,
                Err(error) => self.give_up(name, &error),
            },
        }
    }

    /// With the rights of this process.
    fn look(&self, name: &str, known: Option<Stamp>) -> io::Result<Fetched> {
        for stem in stems(name) {
            let paths = ["crt", "key"].map(|kind| self.path.join(format!("{stem}.{kind}")));
            let [Some(chain), Some(key)] = [version(&paths[0])?, version(&paths[1])?] else {
                continue;
            };
            if known == Some([chain, key]) {
                return Ok(Fetched::Same);
            }
            return read([File::open(&paths[0])?, File::open(&paths[1])?], known);
        }
        Ok(Fetched::Nothing)
    }

    fn give_up(&self, name: &str, error: &io::Error) -> Fetched {
        let place = self.path.display();
        let error = format_args!("{name} in {place}: {error}");
        self.unreadable.tell("reading a certificate", &error);
        Fetched::Unknown
    }
}

/// The names that the files of a host may have, without their ends.
pub(super) fn stems(name: &str) -> impl Iterator<Item = String> {
    // A name that could leave the directory has no file in it.
    let is_plain = !name.contains(['/', '\0']) && !name.starts_with('.');
    let wildcard = name
        .split_once('.')
        .map(|(_, parent)| format!("*.{parent}"));
    let stems = std::iter::once(name.to_owned()).chain(wildcard);
    stems.filter(move |_| is_plain)
}

fn read(files: [File; 2], known: Option<Stamp>) -> io::Result<Fetched> {
    let [chain, key] = files;
    let stamp = [version_of(&chain.metadata()?), version_of(&key.metadata()?)];
    if known == Some(stamp) {
        return Ok(Fetched::Same);
    }
    let (chain, key) = (read_whole(&chain)?, read_whole(&key)?);
    let credentials = Credentials::parse(&chain, &key, None);
    Ok(Fetched::New(
        stamp,
        credentials.map_err(|error| error.to_string()),
    ))
}

fn read_whole(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(too_large()));
    }
    Ok(bytes)
}

/// What is told of what is not even looked into.
pub(super) fn too_large() -> String {
    format!("larger than {MAX_BYTES} bytes, which no certificate is")
}

/// `None` where there is no such file.
fn version(path: &Path) -> io::Result<Option<Version>> {
    match fs::metadata(path) {
        Ok(file) => Ok(file.is_file().then(|| version_of(&file))),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => Ok(None),
            _ => Err(error),
        },
    }
}

fn version_of(file: &Metadata) -> Version {
    (
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
    )
}
