//! An `/etc` of the proxy's own, in a mount namespace that ends with it.

use std::process::{Command, Stdio};

use super::{Directory, binary, is_root};

/// What the system's own lookups need to go on working.
const KEPT: [&str; 4] = ["passwd", "group", "hosts", "nsswitch.conf"];

/// A directory that the proxy will see as `/etc`.
pub(crate) struct PrivateEtc {
    directory: Directory,
}

impl PrivateEtc {
    /// The accounts and hosts of this system and nothing else; `None`, and why, where mounts are
    /// not allowed.
    pub(crate) fn new() -> Option<Self> {
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "true"]).stderr(Stdio::null());
        if !is_root() || !probe.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: needs root and a mount namespace");
            return None;
        }
        let directory = Directory::fresh();
        for name in KEPT {
            if let Ok(text) = std::fs::read(format!("/etc/{name}")) {
                directory.write(name, text);
            }
        }
        Some(Self { directory })
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.directory.write(name, text);
    }

    /// Removes a file of it.
    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.directory.join(name)).unwrap();
    }

    /// The proxy, to be given its arguments; its process id is that of the command.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc && exec \"$@\"")
            .arg(self.directory.path())
            .arg(binary());
        command
    }
}
