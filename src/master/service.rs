//! What the service manager is told: that we serve, reload or stop, and that the master still turns.
//!
//! The protocol is sd_notify(3): datagrams of `NAME=value` lines to the socket that the environment
//! names. Without one nothing is said. Sending never waits: a manager that does not read must not
//! stop the master. The variables stay in the environment, for an image that takes over in place;
//! the workers lose them with their privileges.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::problem;
use crate::scoreboard::{Scoreboard, State};

/// After which pause a message is said again that must arrive.
const RETRY: Duration = Duration::from_secs(1);
/// A worker whose runtime has not turned for so long is not counted as serving; it beats every
/// second. A longer watchdog interval allows as much.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);
/// What a stop takes beyond the drain: to kill, to reap, to flush.
const STOP_MARGIN: Duration = Duration::from_secs(15);

/// The service manager, if one started us.
#[derive(Debug)]
pub(super) struct Service {
    manager: Option<Manager>,
    phase: Phase,
    watchdog: Option<Watchdog>,
    /// The number of serving workers that was told last.
    told: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Readiness is due as soon as a worker serves, but not tried before this time.
    Unready(Option<Instant>),
    Ready,
    Reloading,
    Stopping,
}

/// The manager's socket.
#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// So that a manager that is gone is complained about once.
    is_reached: bool,
}

/// The pings that the manager waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watchdog {
    interval: Duration,
    due: Instant,
    is_withheld: bool,
}

impl Service {
    /// The one that the environment names.
    pub(super) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let manager = variable("NOTIFY_SOCKET").and_then(|name| {
            Manager::at(&name)
                .map_err(|error| problem("reaching the service manager", &error))
                .ok()
        });
        Self {
            phase: Phase::Unready(None),
            watchdog: watchdog(variable, std::process::id(), Instant::now()),
            manager,
            told: 0,
        }
    }

    /// Says what is due: readiness once a worker serves, how many do, and the watchdog's ping, which
    /// is withheld when none does. To be called each time that the master's loop turns.
    pub(super) fn tick(&mut self, board: &Scoreboard) {
        if self.manager.is_none() {
            return;
        }
        let limit = self
            .watchdog
            .map_or(HEARTBEAT_LIMIT, |it| it.interval.max(HEARTBEAT_LIMIT));
        let lives = board.living().map(|(_, seat)| seat.life());
        let serving = lives
            .filter(|life| life.state == State::Serving && life.heartbeat_age < limit)
            .count();
        let now = Instant::now();
        self.tell_readiness(serving, now);
        self.ping(serving, now);
    }

    fn tell_readiness(&mut self, serving: usize, now: Instant) {
        let status = format!("STATUS=workers that serve: {serving}\n");
        match self.phase {
            Phase::Unready(not_before) if serving > 0 && not_before.is_none_or(|at| at <= now) => {
                let is_told = self.say(&format!("READY=1\n{status}"));
                self.phase = if is_told {
                    Phase::Ready
                } else {
                    Phase::Unready(Some(now + RETRY))
                };
            }
            Phase::Ready if serving != self.told => {
                self.say(&status);
            }
            _ => return,
        }
        self.told = serving;
    }

    fn ping(&mut self, serving: usize, now: Instant) {
        let is_alive = match self.phase {
            Phase::Ready | Phase::Reloading => serving > 0,
            Phase::Unready(_) | Phase::Stopping => true,
        };
        let Some(watchdog) = self.watchdog.as_mut().filter(|it| it.due <= now) else {
            return;
        };
        watchdog.due = now + watchdog.interval / 2;
        let was_withheld = std::mem::replace(&mut watchdog.is_withheld, !is_alive);
        if is_alive {
            self.say("WATCHDOG=1\n");
        } else if !was_withheld {
            let text = "no worker serves; the service manager will restart all";
            problem("pinging the watchdog", &text);
        }
    }

    /// Says that the configuration is read again.
    pub(super) fn reloading(&mut self) {
        if self.phase == Phase::Stopping {
            return;
        }
        // Cannot fail for a clock that every Linux has.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let now = now.as_micros();
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading\n"
        ));
        self.phase = Phase::Reloading;
    }

    /// The reload is over, well or not: readiness is due again.
    pub(super) fn reloaded(&mut self) {
        if self.phase == Phase::Reloading {
            self.phase = Phase::Unready(None);
        }
    }

    /// Says that we stop, and asks for the time that a drain may take.
    pub(super) fn stopping(&mut self, graceful_wait: Duration) {
        let time = graceful_wait.saturating_add(STOP_MARGIN).as_micros();
        self.say(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={time}\nSTATUS=finishing what is in flight\n"
        ));
        self.phase = Phase::Stopping;
    }

    /// When [`Service::tick`] has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.manager.as_ref()?;
        let retry = match self.phase {
            Phase::Unready(not_before) => not_before,
            Phase::Ready | Phase::Reloading | Phase::Stopping => None,
        };
        let ping = self.watchdog.map(|watchdog| watchdog.due);
        [retry, ping].into_iter().flatten().min()
    }

    fn say(&mut self, text: &str) -> bool {
        self.manager
            .as_mut()
            .is_some_and(|manager| manager.say(text))
    }
}

impl Manager {
    fn at(name: &str) -> io::Result<Self> {
        let address = match (name.strip_prefix('@'), name.starts_with('/')) {
            (Some(name), _) => SocketAddr::from_abstract_name(name)?,
            (None, true) => SocketAddr::from_pathname(name)?,
            (None, false) => {
                let text = format!("NOTIFY_SOCKET is {name:?}, expected /PATH or @NAME");
                return Err(io::Error::other(text));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address,
            is_reached: true,
        })
    }

    fn say(&mut self, text: &str) -> bool {
        let sent = self.socket.send_to_addr(text.as_bytes(), &self.address);
        if let (Err(error), true) = (&sent, self.is_reached) {
            problem("telling the service manager", error);
        }
        self.is_reached = sent.is_ok();
        self.is_reached
    }
}

/// sd_watchdog_enabled(3). Pings come twice in each interval, as it advises.
fn watchdog(
    variable: impl Fn(&str) -> Option<String>,
    own_pid: u32,
    now: Instant,
) -> Option<Watchdog> {
    let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own_pid));
    let micros = variable("WATCHDOG_USEC").and_then(|micros| micros.parse().ok());
    let interval = micros.filter(|micros| is_ours && *micros > 0)?;
    Some(Watchdog {
        interval: Duration::from_micros(interval),
        due: now,
        is_withheld: false,
    })
}

#[cfg(test)]
mod tests;
