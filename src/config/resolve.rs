//! From what was written to what is in force: defaults, inheritance, rules between settings.
//!
//! No I/O but the system's lists of users and groups, and those only when started as root. A
//! setting that is wrong was told before; here its default stands in, so that the rest is checked.

use std::time::Duration;

use super::driver_url::DriverUrl;
use super::file::{File, LruCache as WrittenLru, Server as WrittenServer};
use super::findings::Findings;
use super::forms::OneOrMany;
use super::legacy::OldRedis;
use super::values::Seconds;
use super::written::Written;
use super::{Config, Driver, LruCache, RedisDriver, RedisServer, Server, Timeouts};
use super::{backend_tls, https, identity, legacy, listeners, log_file, memory, telemetry};
use crate::cgroup;

/// What the machine and the way of starting contribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Started as root: a user to become is needed.
    pub(super) is_root: bool,
    /// The default number of workers.
    pub(super) cores: usize,
    /// Bytes that the system lets this process use, if that can be known.
    pub(super) memory: Option<u64>,
    /// Reads a variable of the environment.
    pub(super) env: fn(&str) -> Option<String>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn here() -> Self {
        Self {
            is_root: nix::unistd::geteuid().is_root(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: cgroup::usable_bytes(),
            env: |name| std::env::var(name).ok(),
        }
    }
}

/// Turns the file into the configuration in force.
pub(super) fn resolve(mut file: File, around: Surroundings, findings: &mut Findings) -> Config {
    legacy::modernise(&mut file, findings);
    let mut written = file.server.right().unwrap_or_default();
    let mut section = file.https.right().unwrap_or_default();
    let certificates = std::mem::take(&mut section.certificates);
    let public_port = std::mem::take(&mut section.public_port);
    let old_redis = [file.redis, std::mem::take(&mut written.redis)];
    Config {
        server: server(written, around, findings),
        http: listeners::http(file.http.right().unwrap_or_default(), findings),
        admin: listeners::admin(file.admin.right().unwrap_or_default(), findings),
        https: https::resolve(section, findings),
        https_public_port: https::public_port(public_port, findings),
        certificates: certificates.right().map(|path| path.0),
        driver: driver(file.driver, old_redis, findings),
        telemetry: telemetry::resolve(
            file.telemetry.right().unwrap_or_default(),
            around.env,
            findings,
        ),
        identity: around
            .is_root
            .then(|| identity::resolve(file.user.right(), file.group.right(), findings))
            .flatten(),
    }
}

/// What a file without a word means: the defaults of `server`.
pub(super) fn server_default(around: Surroundings) -> Server {
    server(WrittenServer::default(), around, &mut Findings::default())
}

fn server(written: WrittenServer, around: Surroundings, findings: &mut Findings) -> Server {
    let timeouts = timeouts(&written);
    let workers = written.workers.right();
    let workers = workers.map_or(around.cores, |count| count.0 as usize);
    Server {
        timeouts,
        debug: written.debug.right().unwrap_or(false),
        workers,
        memory: memory::resolve(written.memory, workers, around, findings),
        max_sockets: written
            .max_sockets
            .right()
            .map_or(100, |count| count.0 as usize),
        graceful_wait: written
            .graceful_wait
            .right()
            .map_or(Duration::from_secs(30), |s| s.0),
        drain_wait: written.drain_wait.as_ref().and_then(|s| s.limit()),
        heartbeat_timeout: written
            .heartbeat_timeout
            .as_ref()
            .map_or(Some(Duration::from_secs(10)), |s| s.limit()),
        drain_idle: written
            .drain_idle
            .right()
            .map_or(Duration::from_secs(5), |s| s.0),
        core_dumps: written.core_dumps.right().unwrap_or(false),
        dead_backend_ttl: written
            .dead_backend_ttl
            .right()
            .map_or(Duration::from_secs(30), |s| s.0),
        retry_on_error: written.retry_on_error.right().map_or(3, |number| number.0),
        access_logs: log_file::resolve(written.access_log, findings),
        http_keep_alive: written.http_keep_alive.right().unwrap_or(true),
        dead_backend_on_500: written.dead_backend_on_500.right().unwrap_or(true),
        backend_tls: backend_tls::resolve(written.backend_ca, &written.backend_verify, findings),
        static_dir: written.static_dir.right().map(|path| path.0),
        lru_cache: written
            .lru_cache
            .right()
            .and_then(|lru| lru_cache(lru, findings)),
    }
}

fn timeouts(written: &WrittenServer) -> Timeouts {
    let default = written
        .tcp_timeout
        .as_ref()
        .map_or(Some(Duration::from_secs(30)), |s| s.limit());
    let or_default = |timeout: &Written<Seconds>| timeout.as_ref().map_or(default, |s| s.limit());
    Timeouts {
        request_head: or_default(&written.request_head_timeout),
        keep_alive: or_default(&written.keep_alive_timeout),
        connect: or_default(&written.connect_timeout),
        first_byte: or_default(&written.first_byte_timeout),
        idle_body: or_default(&written.idle_body_timeout),
        tunnel: written.tunnel_timeout.as_ref().and_then(|s| s.limit()),
    }
}

fn lru_cache(written: WrittenLru, findings: &mut Findings) -> Option<LruCache> {
    let ttl = written.ttl.right().map_or(Duration::from_secs(10), |s| s.0);
    if ttl.is_zero() {
        findings.error(
            "server.lruCache.ttl",
            "0 is no age in seconds, more than 0 is needed",
        );
        return None;
    }
    let size = written
        .size
        .right()
        .map_or(10_000, |count| count.0 as usize);
    Some(LruCache { size, ttl })
}

fn driver(
    written: Written<OneOrMany<DriverUrl>>,
    old: [OldRedis; 2],
    findings: &mut Findings,
) -> Driver {
    let Some(urls) = written.right() else {
        let redis = old.into_iter().find_map(OldRedis::driver);
        return Driver::Redis(redis.unwrap_or_else(default_redis));
    };
    let count = match &urls {
        OneOrMany::One(_) => 1,
        OneOrMany::Many(many) => many.len(),
    };
    let mut urls = urls.right().into_iter();
    match (count, urls.next(), urls.next()) {
        (1, Some(DriverUrl::File(path)), None) => Driver::File(path),
        (1, Some(DriverUrl::Redis(read, prefix)), None) => Driver::Redis(RedisDriver {
            read,
            write: None,
            prefix,
        }),
        (2, Some(DriverUrl::Redis(read, prefix)), Some(DriverUrl::Redis(write, _))) => {
            Driver::Redis(RedisDriver {
                read,
                write: Some(write),
                prefix,
            })
        }
        (2, Some(_), Some(_)) => {
            findings.error(
                "driver",
                "two URLs must both be of a Redis, one to read from and one to write to",
            );
            Driver::Redis(default_redis())
        }
        (1 | 2, ..) => Driver::Redis(default_redis()),
        (count, ..) => {
            findings.error(
                "driver",
                format_args!("{count} URLs, expected one, or two: to read from and to write to"),
            );
            Driver::Redis(default_redis())
        }
    }
}

/// `redis:`
fn default_redis() -> RedisDriver {
    RedisDriver {
        read: RedisServer::default(),
        write: None,
        prefix: String::new(),
    }
}

#[cfg(test)]
mod tests;
