//! A service manager, as far as it listens: sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Directory, SOON};

/// Its socket.
pub(crate) struct Notify {
    socket: UnixDatagram,
    directory: Directory,
}

/// One message: lines of `NAME=value`.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) text: String,
    pub(crate) at: Instant,
}

impl Notify {
    /// Listens at a path of its own.
    pub(crate) fn listen() -> Self {
        let directory = Directory::fresh();
        let socket = UnixDatagram::bind(directory.join("notify")).unwrap();
        Self { socket, directory }
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("notify")
    }

    /// The next message within the limit, if one comes.
    pub(crate) fn next(&self, limit: Duration) -> Option<Datagram> {
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let at = Instant::now();
        assert!(text.ends_with('\n') && text.lines().all(|line| line.contains('=')));
        Some(Datagram { text, at })
    }

    /// The next message with this line; those before it are given up.
    #[track_caller]
    pub(crate) fn wait_for(&self, line: &str) -> Datagram {
        let start = Instant::now();
        while start.elapsed() < SOON {
            let next = self.next(SOON);
            if let Some(datagram) = next.filter(|next| next.text.lines().any(|it| it == line)) {
                return datagram;
            }
        }
        panic!("{line} was not said within {SOON:?}");
    }
}

impl Datagram {
    /// The value of a variable.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}
