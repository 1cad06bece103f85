//! Going on with what another image of this program has handed over.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use super::deployment::{self, Deployment, Unprepared};
use super::handover::{Era, Handover};
use super::reload::Past;
use super::service::Service;
use super::signals::Signals;
use super::supervisor::{Event, Resumed, Supervisor, Terms};
use super::upgrade::Upgrade;
use super::workers::Workers;
use super::{Master, log};
use crate::config::{Findings, Loaded, Origin};
use crate::control::Why;
use crate::listener::Listeners;
use crate::scoreboard::{Reload, Scoreboard};
use crate::telemetry::{self, Lifecycle, OnceAMinute, emit};
use crate::tls::{Terminations, TicketMemory};

impl Master {
    /// Takes over; the first events say what follows: a new image starts a generation of its own, one
    /// that is back goes on as it was.
    pub(super) fn resume(
        loaded: Loaded,
        origin: Origin,
        handover: &Handover,
    ) -> Result<(Self, VecDeque<Event>), Unprepared> {
        let signals = Signals::block().map_err(Unprepared::when("blocking signals"))?;
        let state = &handover.state;
        let failure = state.failure.as_deref();
        let (board, is_old) = board(handover, &loaded)?;
        let current = current(handover, &loaded, &origin)?;
        let is_back = failure.is_some();
        let resumed = Resumed {
            generation: current.number,
            terms: Terms {
                // Those of the image before are not replaced by ours: all of them will be.
                workers: if is_back { current.terms().workers } else { 0 },
                ..current.terms()
            },
            slots: current.listeners.slots(),
            has_pulses: is_old,
            standings: state.workers.iter().map(|worker| worker.standing).collect(),
        };
        let supervisor = Supervisor::resume(board.seats(), resumed, Instant::now());
        let workers = Workers::resume(handover, is_old.then_some(board))
            .map_err(Unprepared::when("taking over workers"))?;
        let former = match is_back {
            true => None,
            false => Some(handover.former().map_err(Unprepared::when(TAKING))?),
        };
        let past = state.past.iter();
        let past = past.filter_map(|era| read(era, &origin));
        let uptime = SystemTime::now().duration_since(board.started());
        let now = Instant::now();
        let mut master = Self {
            supervisor,
            workers,
            past: past.collect(),
            origin,
            current,
            next: None,
            wants_reload: false,
            generations: state.generations,
            scoreboard: board,
            signals,
            service: Service::of_environment(),
            upgrade: Upgrade::new(former),
            started: now.checked_sub(uptime.unwrap_or_default()).unwrap_or(now),
            unlent: OnceAMinute::default(),
            is_stopping: false,
        };
        let mut events = VecDeque::from([Event::Start]);
        match failure {
            Some(reason) => master.scoreboard_of_return(reason),
            None => events.push_back(master.begin_generation(loaded)?),
        }
        Ok((master, events))
    }

    fn scoreboard_of_return(&self, reason: &str) {
        self.scoreboard.count_upgrade(Reload::Abandoned);
        emit(&telemetry::Event::Lifecycle(Lifecycle::UpgradeFailed {
            result: Reload::Abandoned.as_str(),
            reason: &reason,
        }));
    }

    /// Prepares the generation with which this image takes over.
    fn begin_generation(&mut self, mut loaded: Loaded) -> Result<Event, Unprepared> {
        self.keep_what_cannot_change(&mut loaded.config);
        let fits = self.fits(&loaded.config).map_err(std::io::Error::other);
        fits.map_err(Unprepared::when(TAKING))?;
        let next = self.current.next(self.generations + 1, loaded)?;
        self.generations = next.number;
        emit(&telemetry::Event::Lifecycle(Lifecycle::TookOver {
            version: env!("CARGO_PKG_VERSION"),
            generation: next.number,
            workers: self.workers.seats().len(),
        }));
        let event = Event::Renew {
            number: next.number,
            why: Why::Upgrade,
            terms: next.terms(),
        };
        self.next = Some(next);
        Ok(event)
    }
}

const TAKING: &str = "taking over from the former program";

/// The board that was handed over, or a new one where that is of another layout: the workers of the
/// former image keep theirs.
fn board(handover: &Handover, loaded: &Loaded) -> Result<(Scoreboard, bool), Unprepared> {
    let failed = || Unprepared::when("mapping the scoreboard");
    let old = match handover.state.board {
        Some(number) => {
            let memory = handover.copy(number).map_err(failed())?;
            Scoreboard::take_over(memory).map_err(failed())?
        }
        None => None,
    };
    if let Some(old) = old {
        return Ok((old, true));
    }
    let finding = "the scoreboard has another layout than before: counts begin anew, and workers of \
                   the former program are not shown";
    emit(&telemetry::Event::ConfigurationNotice { finding: &finding });
    let config = &loaded.config;
    let new = Scoreboard::create(config.server.workers, config.admin.vhosts).map_err(failed())?;
    new.begin_generation(handover.state.current.number);
    Ok((new, false))
}

/// The keys that were handed over, so that sessions go on; new ones where there are none, or where
/// they are of another layout, which costs each client one handshake in full.
fn tickets(handover: &Handover) -> Result<TicketMemory, Unprepared> {
    let failed = || Unprepared::when("taking over the keys of session tickets");
    if let Some(number) = handover.state.tickets {
        let memory = handover.copy(number).map_err(failed())?;
        if let Some(old) = TicketMemory::take_over(memory).map_err(failed())? {
            return Ok(old);
        }
    }
    TicketMemory::create().map_err(failed())
}

/// What is in force until a new generation is.
fn current(
    handover: &Handover,
    loaded: &Loaded,
    origin: &Origin,
) -> Result<Deployment, Unprepared> {
    let state = &handover.state;
    let take_over = |sockets| Listeners::take_over(sockets, |number| handover.copy(number));
    // What the former image understood and this one does not is of no use here, and needed only to
    // reopen logs and to judge its workers.
    let was = origin.load_text(state.current.text.clone(), &mut Findings::default());
    let was = was.unwrap_or_else(|| loaded.clone());
    let tickets = tickets(handover)?;
    // A new image forks no worker with these two: what serves by them is the former image.
    let (logs, terminations) = match state.failure {
        Some(_) => (
            log::open_all(&was.config).map_err(Unprepared::when("opening the access log"))?,
            deployment::terminations(&was.config, &tickets)?,
        ),
        None => (
            was.config.server.access_logs.iter().map(|_| None).collect(),
            Terminations::default(),
        ),
    };
    Ok(Deployment {
        number: state.current.number,
        config: was.config,
        text: was.text,
        listeners: take_over(&state.listeners).map_err(Unprepared::when(TAKING))?,
        terminations,
        tickets,
        admin: take_over(&state.admin).map_err(Unprepared::when(TAKING))?,
        logs,
    })
}

fn read(era: &Era, origin: &Origin) -> Option<Past> {
    let loaded = origin.load_text(era.text.clone(), &mut Findings::default())?;
    Some(Past {
        number: era.number,
        config: loaded.config,
        text: loaded.text,
    })
}

/// How long a worker has lived already.
pub(super) fn born(lived_millis: u64, now: Instant) -> Instant {
    let lived = Duration::from_millis(lived_millis);
    now.checked_sub(lived).unwrap_or(now)
}
