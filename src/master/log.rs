//! Opening the access log as the user who started the proxy, on behalf of the workers.
//!
//! The master keeps its privileges, so the log may stand in a directory that only root may write
//! to. It opens and passes on; it never writes a line.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::config::{AccessLog, Config, Identity, Target};

const MODE: u32 = 0o644;

/// Opens every log, in the order of the configuration.
pub(super) fn open_all(config: &Config) -> io::Result<Vec<Option<OwnedFd>>> {
    let logs = config.server.access_logs.iter();
    logs.map(|log| open(log, config.identity.as_ref()))
        .collect()
}

/// Opens the target of a log; `None` when it needs no descriptor.
pub(super) fn open(log: &AccessLog, owner: Option<&Identity>) -> io::Result<Option<OwnedFd>> {
    match &log.target {
        Target::File(path) => open_file(path, owner).map(Some).map_err(|cause| {
            let text = format!(
                "the access log {} cannot be opened: {cause}",
                path.display()
            );
            io::Error::new(cause.kind(), text)
        }),
        Target::Stdout => io::stdout().as_fd().try_clone_to_owned().map(Some),
        Target::Stderr => io::stderr().as_fd().try_clone_to_owned().map(Some),
        Target::Syslog(_) => Ok(None),
    }
}

fn open_file(path: &Path, owner: Option<&Identity>) -> io::Result<OwnedFd> {
    let file = match options().open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => create(path, owner)?,
        opened => opened?,
    };
    // Waiting again from here on: a pipe whose reader is slow must not lose half a line.
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file.into())
}

/// Only a file that we made ourselves changes its owner; one that was there belongs to somebody.
fn create(path: &Path, owner: Option<&Identity>) -> io::Result<File> {
    let file = match options().create_new(true).mode(MODE).open(path) {
        // Made by somebody else in between.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return options().open(path),
        created => created?,
    };
    if let Some(owner) = owner {
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    Ok(file)
}

/// Without waiting: a named pipe that nobody reads is an error, not a master that hangs.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    options.append(true).custom_flags(flags.bits());
    options
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::config::Syslog;

    fn scratch(name: &str) -> std::path::PathBuf {
        let name = format!("hipache-log-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    #[test]
    fn a_file_is_made_once_and_then_appended_to() {
        let directory = scratch("append");
        let log = AccessLog::plain(Target::File(directory.join("access.log")));
        for line in ["one\n", "two\n"] {
            let descriptor = open(&log, None).unwrap().unwrap();
            let flags = fcntl(&descriptor, FcntlArg::F_GETFL).unwrap();
            let flags = OFlag::from_bits_retain(flags);
            assert!(flags.contains(OFlag::O_APPEND), "{flags:?}");
            assert!(!flags.contains(OFlag::O_NONBLOCK), "{flags:?}");
            File::from(descriptor).write_all(line.as_bytes()).unwrap();
        }
        let path = directory.join("access.log");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o133, 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_cannot_be_opened_is_named_and_nothing_waits() {
        let directory = scratch("errors");
        let pipe = directory.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let missing = directory.join("missing/access.log");
        for path in [missing, directory.clone(), pipe] {
            let text = format!("the access log {} cannot be opened: ", path.display());
            let log = AccessLog::plain(Target::File(path));
            let error = open(&log, None).unwrap_err().to_string();
            assert!(error.starts_with(&text), "{error}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn only_a_daemon_has_no_descriptor() {
        let syslog = Target::Syslog(Syslog::Local("/dev/log".into()));
        for (target, expected) in [
            (syslog, false),
            (Target::Stdout, true),
            (Target::Stderr, true),
        ] {
            let opened = open(&AccessLog::plain(target), None).unwrap();
            assert_eq!(opened.is_some(), expected);
        }
    }
}
