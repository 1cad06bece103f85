//! Lines as datagrams to a syslog daemon: RFC 5424 over a UNIX socket or UDP (RFC 5426).
//!
//! A line carries its header already. Used by the thread of its log only, which may block for a
//! while; a daemon that went away is connected to again at the next batch, or line by line if it
//! takes that.

use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use crate::config::Syslog;

/// How long a daemon that takes nothing is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of the lines of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) failed: u64,
}

/// The way to a daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    place: Syslog,
    socket: Option<Socket>,
}

#[derive(Debug)]
enum Socket {
    Local(UnixDatagram),
    Udp(UdpSocket),
}

impl Daemon {
    /// The daemon at this place; connected to when there is something to say.
    pub(super) fn new(place: Syslog) -> Self {
        Self {
            place,
            socket: None,
        }
    }

    /// Sends each line of a batch, and tells the first reason why one was lost.
    pub(super) fn send(&mut self, batch: &[u8]) -> (Sent, io::Result<()>) {
        let mut sent = Sent::default();
        let mut result = Ok(());
        let mut is_gone = false;
        for line in batch.split_inclusive(|&byte| byte == b'\n') {
            let message = line.strip_suffix(b"\n").unwrap_or(line);
            // Once it is gone it is so for the rest of the batch: no waiting for each line.
            let outcome = match is_gone {
                true => Err(None),
                false => self.send_one(message).map_err(Some),
            };
            match outcome {
                Ok(()) => {
                    sent.lines += 1;
                    sent.bytes += line.len() as u64;
                }
                Err(error) => {
                    sent.failed += 1;
                    is_gone |= self.socket.is_none();
                    if let (Some(error), Ok(())) = (error, &result) {
                        result = Err(error);
                    }
                }
            }
        }
        (sent, result)
    }

    /// Sends a message, over a new socket if the one at hand does not work any more: a daemon that
    /// was restarted has a new socket at its path, and a refusal of an earlier datagram is told here.
    fn send_one(&mut self, message: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match socket.send(message) {
                Ok(()) => return Ok(()),
                // Too long for a datagram: no fault of the socket.
                Err(error) if is_too_long(&error) => return Err(error),
                // Full for so long: not to be waited for again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket = None;
                    return Err(error);
                }
                Err(_) => self.socket = None,
            }
        }
        let socket = Socket::connect(&self.place)?;
        let outcome = socket.send(message);
        if outcome.as_ref().map_or_else(is_too_long, |()| true) {
            self.socket = Some(socket);
        }
        outcome
    }
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32)
}

impl Socket {
    fn connect(place: &Syslog) -> io::Result<Self> {
        match place {
            Syslog::Local(path) => Self::connect_local(path),
            Syslog::Udp(host, port) => Self::connect_udp(host, *port),
        }
    }

    fn connect_local(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::Local(socket))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "on the thread of the log, which may wait for the resolver"
    )]
    fn connect_udp(host: &str, port: u16) -> io::Result<Self> {
        let mut last = io::ErrorKind::NotFound.into();
        for address in std::net::ToSocketAddrs::to_socket_addrs(&(host, port))? {
            let unspecified = if address.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let connected = UdpSocket::bind(unspecified).and_then(|socket| {
                socket.connect(address)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(socket)
            });
            match connected {
                Ok(socket) => return Ok(Self::Udp(socket)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Local(socket) => socket.send(message),
            Self::Udp(socket) => socket.send(message),
        }
        .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_datagram_and_a_restarted_daemon_gets_the_next() {
        let name = format!("hipache-syslog-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let mut daemon = Daemon::new(Syslog::Local(path.clone()));
        let (sent, result) = daemon.send(b"lost\nlost\n");
        assert_eq!((sent.lines, sent.failed), (0, 2));
        assert!(result.is_err());
        for _ in 0..2 {
            let server = UnixDatagram::bind(&path).unwrap();
            let (sent, result) = daemon.send(b"one\ntwo\n");
            assert_eq!(
                sent,
                Sent {
                    lines: 2,
                    bytes: 8,
                    failed: 0
                }
            );
            result.unwrap();
            let mut bytes = [0; 100];
            for expected in ["one", "two"] {
                let length = server.recv(&mut bytes).unwrap();
                assert_eq!(&bytes[..length], expected.as_bytes());
            }
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_line_too_long_for_a_datagram_fails_alone() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let mut daemon = Daemon::new(Syslog::Udp("localhost".to_owned(), port));
        let long = [&b"one\n"[..], &[b'x'; 70_000], b"\ntwo\n"].concat();
        let (sent, result) = daemon.send(&long);
        assert_eq!(
            sent,
            Sent {
                lines: 2,
                bytes: 8,
                failed: 1
            }
        );
        assert!(is_too_long(&result.unwrap_err()));
    }
}
