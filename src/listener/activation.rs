//! Listening sockets that the service manager opened for us: sd_listen_fds(3).
//!
//! They stand open from descriptor 3 on, as many as the environment says, and are claimed by the
//! configured address that is theirs. They are lent: the manager keeps them open when this program
//! ends and lends them to the next, so nobody is refused in between, and what waits in their queues
//! is not ours to end.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Listener;
use crate::sys;

const FIRST: RawFd = 3;
/// More than any unit has.
const MOST: u32 = 1024;
const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";

/// The sockets that were handed over and not claimed yet.
#[derive(Debug, Default)]
pub(crate) struct Activated {
    sockets: Vec<Lent>,
}

/// One of them.
#[derive(Debug)]
struct Lent {
    listener: Listener,
    name: String,
}

/// A socket that no configured address wanted.
#[derive(Debug)]
pub(crate) struct Unclaimed(Lent);

impl Activated {
    /// Takes what was handed to this process, once, before anything else listens. The variables are
    /// removed: neither a child nor an image that takes over in place finds these sockets at their
    /// old numbers.
    pub(crate) fn take() -> io::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let names = handed_over(variable, std::process::id())?;
        let sockets = names.into_iter().zip(FIRST..).map(|(name, descriptor)| {
            open(descriptor, &name).map_err(|cause| {
                let text = format!("{name} (descriptor {descriptor}): {cause}");
                io::Error::new(cause.kind(), text)
            })
        });
        let sockets = sockets.collect::<io::Result<_>>()?;
        if variable(COUNT).is_some() {
            sys::unset_variables(&[PID, COUNT, NAMES])?;
        }
        Ok(Self { sockets })
    }

    /// Gives the sockets with this address, at most so many.
    pub(super) fn claim(&mut self, address: SocketAddr, most: usize) -> Vec<Listener> {
        let mut claimed = Vec::new();
        while let Some(at) = self.sockets.iter().position(|lent| lent.is_at(address))
            && claimed.len() < most
        {
            claimed.push(self.sockets.remove(at).listener);
        }
        claimed
    }

    /// Says which socket is left over: clients would queue there, and nobody would accept.
    pub(crate) fn expect_none_left(mut self) -> Result<(), Unclaimed> {
        self.sockets
            .pop()
            .map_or(Ok(()), |lent| Err(Unclaimed(lent)))
    }
}

impl Lent {
    fn is_at(&self, address: SocketAddr) -> bool {
        let own = self.listener.address;
        (own.ip(), own.port()) == (address.ip(), address.port())
    }
}

/// The names of the sockets that are for this process, in the order of their descriptors.
fn handed_over(variable: impl Fn(&str) -> Option<String>, own_pid: u32) -> io::Result<Vec<String>> {
    let number = |name: &str| {
        let Some(text) = variable(name) else {
            return Ok(None);
        };
        let number = text.parse::<u32>().map(Some);
        number.map_err(|_| io::Error::other(format!("{name} is {text:?}, expected a number")))
    };
    // Meant for the process that started us, and not removed by it.
    if number(PID)? != Some(own_pid) {
        return Ok(Vec::new());
    }
    let count = number(COUNT)?.unwrap_or(0);
    if count > MOST {
        let text = format!("{COUNT} is {count}, expected at most {MOST}");
        return Err(io::Error::other(text));
    }
    let names = variable(NAMES).unwrap_or_default();
    let names = names.split(':').filter(|name| !name.is_empty());
    // As the manager calls one without a name.
    let names = names.chain(std::iter::repeat("unknown"));
    Ok(names.take(count as usize).map(str::to_owned).collect())
}

fn open(descriptor: RawFd, name: &str) -> io::Result<Lent> {
    const EXPECTED: &str = "expected a listening TCP socket (ListenStream=, Accept=no)";
    let wrong = |error: &dyn fmt::Display| io::Error::other(format!("{error}, {EXPECTED}"));
    let owned = sys::own_inherited_listener(descriptor).map_err(|error| wrong(&error))?;
    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let socket = TcpListener::from(owned);
    socket.set_nonblocking(true)?;
    // Fails for another family, such as a Unix socket.
    let address = socket.local_addr().map_err(|error| wrong(&error))?;
    Ok(Lent {
        listener: Listener::lent(socket, address)?,
        name: name.to_owned(),
    })
}

impl fmt::Display for Unclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lent { listener, name } = &self.0;
        let address = listener.address;
        write!(
            f,
            "{name} is on {address}: expected an address of http.bind or admin.bind, and no more \
             sockets for it than workers (for admin.bind: one)"
        )
    }
}

impl std::error::Error for Unclaimed {}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables = &'static [(&'static str, &'static str)];

    fn names(pairs: Variables) -> Result<Vec<String>, String> {
        let variable = |name: &str| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        handed_over(variable, 77).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_is_for_this_process_is_taken() {
        let table: [(Variables, &[&str]); 6] = [
            (&[], &[]),
            (&[(COUNT, "2")], &[]),
            (&[(PID, "76"), (COUNT, "2")], &[]),
            (&[(PID, "77"), (COUNT, "2")], &["unknown", "unknown"]),
            (
                &[(PID, "77"), (COUNT, "2"), (NAMES, "web:admin")],
                &["web", "admin"],
            ),
            (
                &[(PID, "77"), (COUNT, "2"), (NAMES, "web")],
                &["web", "unknown"],
            ),
        ];
        for (pairs, expected) in table {
            assert_eq!(names(pairs).unwrap(), expected, "{pairs:?}");
        }
        for pairs in [
            &[(PID, "x"), (COUNT, "1")][..],
            &[(PID, "77"), (COUNT, "-1")],
            &[(PID, "77"), (COUNT, "4000000000")],
        ] {
            let error = names(pairs).unwrap_err();
            assert!(error.contains(", expected a"), "{error}");
        }
    }

    #[test]
    fn a_number_that_is_no_listening_socket_is_refused_and_stays_open() {
        let stream = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&stream);
        let error = open(number, "web").unwrap_err().to_string();
        assert!(error.contains("expected a listening TCP socket"), "{error}");
        stream.local_addr().expect("its owner still has it");
        assert!(open(RawFd::MAX, "web").is_err());
    }
}
