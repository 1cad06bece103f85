//! Each event's name, level, text and fields.
//!
//! A name is for machines and stays; texts are for people. Times are numbers of seconds. An event
//! that ends something names in `span` what it ended, and in `took` how long that lasted: it is
//! exported as a span, too.

use std::time::Duration;

use tracing::{error, info, warn};

use super::{Event, lifecycle, memory};

/// Something was too frequent to be told in full.
pub(super) const TOO_MANY: &str = "hipache.events.too_many";
/// How much of it was not told.
pub(super) const HELD_BACK: &str = "hipache.events.held_back";

/// Tells an event.
pub(super) fn tell(event: &Event<'_>) {
    match event {
        Event::Started { .. }
        | Event::Listening { .. }
        | Event::AdminListening { .. }
        | Event::Stopping { .. }
        | Event::Stopped { .. }
        | Event::Reopened { .. }
        | Event::RoutesReloaded { .. }
        | Event::ConfigurationNotice { .. } => tell_process(event),
        Event::Lifecycle(event) => lifecycle::tell(event),
        Event::Draining { why, limit } => lifecycle::tell_draining(why, *limit),
        Event::Drained(closing) => lifecycle::tell_closing(closing),
        Event::Memory(event) => memory::tell(event),
        _ => tell_surroundings(event),
    }
}

/// The life of the whole.
fn tell_process(event: &Event<'_>) {
    match event {
        Event::Listening { address } => {
            info!(name: "hipache.listening", %address, "listening");
        }
        Event::AdminListening { address } => {
            info!(name: "hipache.admin.listening", %address, "admin listens");
        }
        Event::Started { pid, workers } => {
            info!(name: "hipache.started", pid, workers, "started");
        }
        Event::Stopping { signal } => info!(name: "hipache.stopping", signal, "stopping"),
        Event::Stopped { uptime } => {
            info!(name: "hipache.stopped", uptime = milliseconds(*uptime), "stopped");
        }
        Event::Reopened { path } => {
            let path = path.display().to_string();
            info!(name: "hipache.log.reopened", path, "access log reopened");
        }
        Event::RoutesReloaded { path, hosts } => {
            let path = path.display().to_string();
            info!(name: "hipache.routes.reloaded", path, hosts, "routes reloaded");
        }
        Event::ConfigurationNotice { finding } => {
            let finding = finding.to_string();
            warn!(name: "hipache.configuration.notice", finding, "configuration notice");
        }
        _ => {}
    }
}

/// What the process depends on: files, Redis, backends.
fn tell_surroundings(event: &Event<'_>) {
    match event {
        Event::RedisLost { server, error } => {
            let error = error.to_string();
            warn!(name: "hipache.redis.lost", server, error, "redis does not answer");
        }
        Event::RedisBack { server, after } => {
            let took = milliseconds(*after);
            info!(name: "hipache.redis.back", span = "redis outage", server, took, "redis answers again");
        }
        Event::MarkedDead {
            host,
            backend,
            id,
            announced_only,
        } => {
            warn!(
                name: "hipache.backend.marked_dead",
                host,
                backend,
                id,
                announced_only,
                "backend marked dead"
            );
        }
        Event::AttemptFailed {
            host,
            backend,
            id,
            end,
            detail,
        } => {
            let detail = detail.to_string();
            info!(
                name: "hipache.attempt.failed",
                host,
                backend,
                id,
                end,
                detail,
                "attempt failed"
            );
        }
        Event::LogLosses {
            log,
            dropped,
            failed,
        } => {
            warn!(name: "hipache.log.lost", log, dropped, failed, "access-log lines were lost");
        }
        Event::Problem { doing, error } => {
            let error = error.to_string();
            error!(name: "hipache.problem", doing, error, "problem");
        }
        _ => {}
    }
}

/// Nobody reads nanoseconds in a log.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    Duration::new(duration.as_secs(), duration.subsec_millis() * 1_000_000).as_secs_f64()
}
