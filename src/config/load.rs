//! From a path to the configuration in force, with everything there is to say about it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value as Json;

use super::Config;
use super::file::File;
use super::findings::Findings;
use super::keys::find_keys;
use super::resolve::{Surroundings, resolve};
use super::written::{Found, find_wrong};

/// Reads the file.
pub(super) fn read(path: &Path, findings: &mut Findings) -> Option<String> {
    std::fs::read_to_string(path)
        .map_err(|error| {
            let text = format_args!("the configuration file cannot be read: {error}");
            findings.error("", text);
        })
        .ok()
}

/// `None` when the text is no JSON object; a configuration that comes with errors is for further
/// checks only, with defaults where the file is wrong.
pub(super) fn parse(text: &[u8], around: Surroundings, findings: &mut Findings) -> Option<Config> {
    if text.trim_ascii().is_empty() {
        findings.error("", "the file is empty, a JSON object is expected");
        return None;
    }
    let json: Json = serde_json::from_slice(text)
        .map_err(|error| findings.error("", format_args!("this is no JSON: {error}")))
        .ok()?;
    if !json.is_object() {
        findings.error(
            "",
            format_args!("{} is no JSON object of settings", Found(&json)),
        );
        return None;
    }
    let file = File::deserialize(&json)
        .map_err(|error| findings.error("", error))
        .ok()?;
    find_keys(&json, findings);
    find_wrong(&file, findings);
    Some(resolve(file, around, findings))
}

/// Finds the configuration file where none is named. `flavour` is `SETTINGS_FLAVOR`, which makes it
/// `config_<flavour>.json` as in the original.
///
/// # Errors
///
/// The paths that were tried, when none exists.
pub(crate) fn find(flavour: Option<&str>) -> Result<PathBuf, Vec<PathBuf>> {
    let candidates = candidates(flavour);
    let found = candidates.iter().find(|path| path.exists());
    found.cloned().ok_or(candidates)
}

fn candidates(flavour: Option<&str>) -> Vec<PathBuf> {
    let Some(flavour) = flavour.filter(|flavour| !flavour.is_empty()) else {
        let paths = [
            "./config/config.json",
            "/etc/hipache/config.json",
            "/etc/hipache.json",
        ];
        return paths.map(PathBuf::from).to_vec();
    };
    let name = format!("config_{flavour}.json");
    vec![
        Path::new("./config").join(&name),
        Path::new("/etc/hipache").join(&name),
    ]
}

#[cfg(test)]
mod tests;
