//! A directory of certificates: `NAME.crt` and `NAME.key`, and `*.PARENT.crt` for all below a name.
//!
//! As planb keeps them. Looked at with every handshake, which costs a look at the two files.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::credentials::Credentials;

/// Which files a name has, and which version of them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    stem: String,
    chain: Version,
    key: Version,
}

/// Tells a file from its next version, whether it was written to or replaced.
type Version = (u64, u64, i64, i64);

/// The files of a name, its own or those of the wildcard; `None`: it has none.
pub(super) fn stamp(directory: &Path, name: &str) -> Option<Stamp> {
    // A name that could leave the directory has no file in it.
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let wildcard = name
        .split_once('.')
        .map(|(_, parent)| format!("*.{parent}"));
    let stems = std::iter::once(name.to_owned()).chain(wildcard);
    stems.into_iter().find_map(|stem| {
        let version = |kind| version(&directory.join(format!("{stem}.{kind}")));
        let (chain, key) = (version("crt")?, version("key")?);
        Some(Stamp { stem, chain, key })
    })
}

/// Reads the files of a name.
pub(super) fn read(directory: &Path, stamp: &Stamp) -> Result<Credentials, String> {
    let read = |kind| {
        let path = directory.join(format!("{}.{kind}", stamp.stem));
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Credentials::parse(&read("crt")?, &read("key")?, None).map_err(|error| error.to_string())
}

fn version(path: &Path) -> Option<Version> {
    let of = |file: Metadata| (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
    fs::metadata(path).ok().filter(Metadata::is_file).map(of)
}
