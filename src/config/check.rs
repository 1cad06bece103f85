//! What can be checked of a configuration without serving: the files that it names.

use std::fmt::Display;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use serde_json::Value as Json;

use super::findings::Findings;
use super::telemetry::check_files;
use super::tls_files::{check_authorities, check_listener};
use super::{Config, Driver, Target};

/// Adds an error for every file or directory that could not be used. Creates and changes nothing.
pub(crate) fn check(config: &Config, findings: &mut Findings) {
    for log in &config.server.access_logs {
        if let Target::File(path) = &log.target {
            check_access_log(&log.place, path, findings);
        }
    }
    if let Some(path) = config
        .server
        .static_dir
        .as_deref()
        .filter(|path| !path.is_dir())
    {
        findings.error("server.staticDir", Named(path, "no such directory"));
    }
    if let Driver::File(path) = &config.driver {
        check_routes(path, findings);
    }
    for ca in &config.server.backend_tls.ca {
        check_authorities("server.backendCa", ca, findings);
    }
    for bind in &config.https {
        check_listener(bind, findings);
    }
    let traces = config
        .telemetry
        .traces
        .iter()
        .map(|traces| &traces.exporter);
    let metrics = config.telemetry.metrics.iter().map(|push| &push.exporter);
    for exporter in traces.chain(metrics) {
        check_files(exporter, findings);
    }
    if let Some(logs) = &config.telemetry.logs {
        check_files(&logs.exporter, findings);
    }
}

/// A log must exist and be writable, or its directory must allow to create it.
fn check_access_log(place: &str, path: &Path, findings: &mut Findings) {
    let target = match path.parent() {
        _ if path.exists() => path,
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    if path.is_dir() {
        findings.error(place, Named(path, "a directory, expected a file"));
    } else if let Err(error) = access(target, AccessFlags::W_OK) {
        findings.error(
            place,
            Named(target, format_args!("not writable: {}", error.desc())),
        );
    }
}

fn check_routes(path: &Path, findings: &mut Findings) {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => return findings.error("driver", Named(path, error)),
    };
    match serde_json::from_slice::<Json>(&text) {
        Ok(Json::Object(_)) => {}
        Ok(_) => findings.error(
            "driver",
            Named(path, "no JSON object of hosts and backends"),
        ),
        Err(error) => findings.error("driver", Named(path, format_args!("no JSON: {error}"))),
    }
}

/// A path and what is said about it.
pub(super) struct Named<'a, T>(pub(super) &'a Path, pub(super) T);

impl<T: Display> Display for Named<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.display(), self.1)
    }
}

#[cfg(test)]
mod tests;
