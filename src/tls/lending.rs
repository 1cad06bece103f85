//! The master's part in certificate files that only root may open: it opens them, and never reads.
//!
//! A worker could be in the hands of an attacker, so it names a host and never a path, and gets
//! nothing but files for certificates of the one directory that the configuration names. Links in
//! it are followed, as Let's Encrypt has them; therefore the directory must be one in which nobody
//! but the master's user can make any.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::geteuid;

use super::directory::stems;

/// What others than the owner may not have: the right to write.
const OTHERS_WRITE: Mode = Mode::S_IWGRP.union(Mode::S_IWOTH);

/// Opens the files of certificates and key for a host, its own or those of the wildcard; `None`: it
/// has none.
///
/// # Errors
///
/// The directory or a file in it cannot be opened, or not safely.
pub(crate) fn lend(directory: &Path, host: &str) -> io::Result<Option<[OwnedFd; 2]>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    require_safe(&fstat(&directory)?)?;
    for stem in stems(host) {
        let open = |kind| open_file(&directory, &format!("{stem}.{kind}"));
        if let (Some(chain), Some(key)) = (open("crt")?, open("key")?) {
            return Ok(Some([chain, key]));
        }
    }
    Ok(None)
}

fn require_safe(directory: &FileStat) -> io::Result<()> {
    let owner = geteuid().as_raw();
    let mode = Mode::from_bits_truncate(directory.st_mode);
    if directory.st_uid != owner || mode.intersects(OTHERS_WRITE) {
        return Err(io::Error::other(format!(
            "files in it that the workers may not read are not opened for them: the directory belongs \
             to uid {} with mode {:o}, expected uid {owner} and nobody else with the right to write",
            directory.st_uid,
            mode.bits()
        )));
    }
    Ok(())
}

/// `None` where there is no such file.
fn open_file(directory: &impl AsFd, name: &str) -> io::Result<Option<OwnedFd>> {
    // One that is a pipe must not make us wait.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ENAMETOOLONG) => return Ok(None),
        opened => opened.map_err(|error| about(name, error.into()))?,
    };
    let kind = SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT;
    Ok((kind == SFlag::S_IFREG).then_some(file))
}

fn about(name: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn directory(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("hipache-lend-{name}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir_all(path.join("inside")).unwrap();
        path
    }

    #[test]
    fn only_files_for_certificates_of_the_directory_are_lent() {
        let outer = directory("names");
        let inner = outer.join("inside");
        for name in ["a.test", "*.wild.test", "half.test"] {
            fs::write(inner.join(format!("{name}.crt")), name).unwrap();
        }
        for name in ["a.test", "*.wild.test"] {
            fs::write(inner.join(format!("{name}.key")), name).unwrap();
        }
        for kind in ["crt", "key"] {
            fs::write(outer.join(format!("outside.{kind}")), "x").unwrap();
            fs::create_dir(inner.join(format!("folder.{kind}"))).unwrap();
            let target = outer.join(format!("outside.{kind}"));
            symlink(target, inner.join(format!("linked.test.{kind}"))).unwrap();
        }
        let cases = [
            ("a.test", Some("a.test")),
            ("x.wild.test", Some("*.wild.test")),
            // A link is the operator's.
            ("linked.test", Some("x")),
            ("none.test", None),
            ("half.test", None),
            ("folder", None),
            ("../outside", None),
            ("./a.test", None),
            ("..", None),
            ("", None),
            ("x\0", None),
            ("inside/../a.test", None),
        ];
        for (host, expected) in cases {
            let lent = lend(&inner, host).expect(host);
            let read = |mut file: File| {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                text
            };
            let texts = lent.map(|files| files.map(|file| read(file.into())));
            let expected = expected.map(|text| [text.to_owned(), text.to_owned()]);
            assert_eq!(texts, expected, "{host}");
        }
        fs::remove_dir_all(outer).unwrap();
    }

    #[test]
    fn nothing_is_lent_of_a_directory_that_others_may_write_to() {
        let outer = directory("modes");
        for kind in ["crt", "key"] {
            fs::write(outer.join(format!("a.test.{kind}")), "x").unwrap();
        }
        for (mode, is_safe) in [(0o700, true), (0o755, true), (0o775, false), (0o702, false)] {
            fs::set_permissions(&outer, Permissions::from_mode(mode)).unwrap();
            assert_eq!(lend(&outer, "a.test").is_ok(), is_safe, "{mode:o}");
        }
        fs::set_permissions(&outer, Permissions::from_mode(0o700)).unwrap();
        fs::remove_dir_all(outer).unwrap();
    }
}
