//! Reload: the configuration is read again, and a new generation of workers takes over.
//!
//! Nothing changes before all of it is prepared; nobody old leaves before all the new ones serve.

use std::collections::VecDeque;
use std::fmt::Display;

use super::deployment::Deployment;
use super::supervisor::{Event, Failure};
use super::{Master, problem};
use crate::config::{self, Config, Findings, Loaded, Origin};
use crate::control::Why;
use crate::listener::Listeners;
use crate::scoreboard::{Reload, SEATS_PER_SLOT};
use crate::telemetry::{self, Lifecycle, emit};

/// A former generation, while workers of it live: what it takes to reopen their logs.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) number: u64,
    pub(super) config: Config,
    pub(super) text: String,
}

impl Master {
    /// Prepares a new generation, or says why not. One that is asked for while another starts comes
    /// after it, once.
    pub(super) fn reload(&mut self, events: &mut VecDeque<Event>) {
        if self.is_stopping {
            return;
        }
        if self.next.is_some() {
            self.wants_reload = true;
            tracing::debug!("a reload is under way; the next one follows it");
            return;
        }
        self.service.reloading();
        match self.prepare() {
            Ok(next) => {
                self.generations = next.number;
                tell(&Lifecycle::Reloading {
                    generation: next.number,
                    workers: next.config.server.workers,
                });
                events.push_back(Event::Renew {
                    number: next.number,
                    why: Why::Reload,
                    terms: next.terms(),
                });
                self.next = Some(next);
            }
            Err(reason) => {
                self.service.reloaded();
                self.scoreboard.count_reload(Reload::Refused);
                tell(&Lifecycle::ReloadFailed {
                    result: Reload::Refused.as_str(),
                    reason: &reason,
                });
            }
        }
    }

    fn prepare(&self) -> Result<Deployment, String> {
        if let Origin::CommandLine { .. } = self.origin {
            return Err("started without a file, there is nothing to read again".to_owned());
        }
        let mut loaded = self.read()?;
        self.keep_what_cannot_change(&mut loaded.config);
        self.fits(&loaded.config)?;
        let next = self.current.next(self.generations + 1, loaded);
        next.map_err(|error| format!("{}: {}", error.doing, error.cause))
    }

    /// Whether there is room for its workers.
    pub(super) fn fits(&self, config: &Config) -> Result<(), String> {
        let room = self.scoreboard.seats() / SEATS_PER_SLOT;
        let workers = config.server.workers;
        if workers <= room {
            return Ok(());
        }
        Err(format!(
            "server.workers: {workers} workers, the scoreboard made at the start has room for \
             {room}; restart to have more"
        ))
    }

    /// Tells all that is found.
    fn read(&self) -> Result<Loaded, String> {
        let mut findings = Findings::default();
        let loaded = self.origin.load(&mut findings);
        // What is in force goes on, so nothing is gained by an expired certificate in its place.
        findings.be_punctual();
        let mut errors = 0;
        for finding in findings.iter() {
            if finding.is_error() {
                errors += 1;
                problem("reading the configuration again", finding);
            } else {
                emit(&telemetry::Event::ConfigurationNotice { finding });
            }
        }
        loaded
            .filter(|_| errors == 0)
            .ok_or_else(|| format!("problems found in the configuration: {errors}"))
    }

    /// What was made before the first fork stays as it is.
    pub(super) fn keep_what_cannot_change(&self, config: &mut Config) {
        let current = &self.current.config;
        if config.admin.vhosts != current.admin.vhosts {
            notice("admin.vhosts", &current.admin.vhosts);
            config.admin.vhosts = current.admin.vhosts;
        }
        if config.server.debug != current.server.debug {
            notice("server.debug", &current.server.debug);
            config.server.debug = current.server.debug;
        }
    }

    /// The new generation serves.
    pub(super) fn commit(&mut self, events: &mut VecDeque<Event>) {
        let Some(next) = self.next.take() else {
            return;
        };
        let old = std::mem::replace(&mut self.current, next);
        let new = &self.current;
        retire(&old.listeners.without(&new.listeners));
        let known: Vec<_> = old.listeners.addresses().collect();
        let fresh = new.listeners.addresses();
        for address in fresh.filter(|address| !known.contains(address)) {
            emit(&telemetry::Event::Listening { address });
        }
        let known: Vec<_> = old.admin.addresses().collect();
        let fresh = new.admin.addresses();
        for address in fresh.filter(|address| !known.contains(address)) {
            emit(&telemetry::Event::AdminListening { address });
        }
        self.past.push(Past {
            number: old.number,
            config: old.config,
            text: old.text,
        });
        self.service.reloaded();
        self.scoreboard.begin_generation(new.number);
        let (generation, configuration) = (new.number, &*config::hash(&new.config));
        if self.upgrade.former.take().is_some() {
            self.scoreboard.count_upgrade(Reload::Done);
            tell(&Lifecycle::Upgraded {
                version: env!("CARGO_PKG_VERSION"),
                generation,
                configuration,
            });
        } else {
            self.scoreboard.count_reload(Reload::Done);
            tell(&Lifecycle::Reloaded {
                generation,
                configuration,
            });
        }
        self.reload_if_wanted(events);
    }

    /// The new generation does not come.
    pub(super) fn abandon(&mut self, failure: Failure, events: &mut VecDeque<Event>) {
        let Some(next) = self.next.take() else {
            return;
        };
        retire(&next.listeners.without(&self.current.listeners));
        self.past.push(Past {
            number: next.number,
            config: next.config,
            text: next.text,
        });
        self.service.reloaded();
        let reason = match failure {
            Failure::CouldNotStart => "a worker could not start with it",
            Failure::TooSlow => "its workers did not all serve in time",
            Failure::Stopped => "the service stops",
        };
        if self.upgrade.former.is_some() {
            // What follows is for the former program to do and to tell.
            return self.upgrade.plan_return(reason);
        }
        self.scoreboard.count_reload(Reload::Abandoned);
        tell(&Lifecycle::ReloadFailed {
            result: Reload::Abandoned.as_str(),
            reason: &reason,
        });
        self.reload_if_wanted(events);
    }

    /// Does what was asked for meanwhile.
    pub(super) fn reload_if_wanted(&mut self, events: &mut VecDeque<Event>) {
        if std::mem::take(&mut self.wants_reload) {
            self.reload(events);
        }
        if std::mem::take(&mut self.upgrade.is_wanted) {
            self.upgrade();
        }
    }

    /// Forgets generations that have no worker any more.
    pub(super) fn forget_past(&mut self) {
        let workers = &self.workers;
        self.past.retain(|past| {
            !workers
                .of_generation(|other| other == past.number)
                .is_empty()
        });
    }
}

/// Nobody accepts from these sockets once their workers have drained: newcomers are refused from here
/// on, and those workers see that and empty the queues.
fn retire(sockets: &Listeners) {
    if let Err(error) = sockets.refuse_newcomers() {
        problem(
            "refusing new connections on sockets that are given up",
            &error,
        );
    }
}

fn notice(key: &str, value: &dyn Display) {
    let finding = format!("{key}: a reload cannot change it, {value} stays until a restart");
    emit(&telemetry::Event::ConfigurationNotice { finding: &finding });
}

fn tell(event: &Lifecycle<'_>) {
    emit(&telemetry::Event::Lifecycle(*event));
}
