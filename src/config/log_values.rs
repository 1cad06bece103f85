//! What can stand at a key of an access log: targets, formats, ranges, names.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use http::HeaderName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

use super::access_log::{NameSet, Syslog, Target};
use super::log_format::{Escape, LogFormat};
use super::values::schema;
use super::written::{Found, Read, Wrong};
use crate::error::End;

/// The port of syslog (RFC 5426 §3.3).
const SYSLOG_PORT: u16 = 514;

/// Where access-log lines go; `None`: nowhere.
#[derive(Clone, Debug)]
pub(super) struct LogTarget(pub(super) Option<Target>);

schema!(LogTarget, "LogTarget", { "anyOf": [{ "type": "string" }, { "const": false }] });

impl Read for LogTarget {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let target = match json {
            Json::Bool(false) => None,
            Json::String(text) => match text.as_str() {
                "" | "off" => None,
                "-" | "stdout" => Some(Target::Stdout),
                "stderr" => Some(Target::Stderr),
                syslog if syslog.starts_with("syslog:") => Some(Target::Syslog(read_syslog(json)?)),
                path => Some(Target::File(path.into())),
            },
            other => {
                return Err(Wrong::no(
                    other,
                    "path, \"stdout\", \"stderr\", \"syslog:…\", \"off\" or false",
                ));
            }
        };
        Ok(Self(target))
    }
}

/// `syslog:`, `syslog:/path` or `syslog://host:port`.
fn read_syslog(json: &Json) -> Result<Syslog, Wrong> {
    let wrong = || {
        Wrong::no(
            json,
            "\"syslog:\", \"syslog:/path\" or \"syslog://host:port\"",
        )
    };
    let rest = json.as_str().and_then(|text| text.strip_prefix("syslog:"));
    let rest = rest.ok_or_else(wrong)?;
    let Some(authority) = rest.strip_prefix("//") else {
        return match rest {
            "" => Ok(Syslog::Local("/dev/log".into())),
            path if path.starts_with('/') => Ok(Syslog::Local(path.into())),
            _ => Err(wrong()),
        };
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (authority, SYSLOG_PORT),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if host.is_empty() || host.contains(['/', '[', ']']) || (host.contains(':') && bare.is_none()) {
        return Err(wrong());
    }
    Ok(Syslog::Udp(host.to_owned(), port))
}

/// A name of a format, or a template.
#[derive(Clone, Debug)]
pub(super) struct FormatText(pub(super) LogFormat);

schema!(FormatText, "Format", { "type": "string" });

impl Read for FormatText {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let text = json.as_str().ok_or_else(|| Wrong::no(json, "format"))?;
        LogFormat::compile(text).map(Self).map_err(Wrong)
    }
}

/// How values in a template are made harmless.
#[derive(Clone, Copy, Debug)]
pub(super) struct EscapeWord(pub(super) Escape);

schema!(EscapeWord, "Escape", { "enum": ["default", "json", "none"] });

impl Read for EscapeWord {
    fn read(json: &Json) -> Result<Self, Wrong> {
        match json.as_str() {
            Some("default") => Ok(Self(Escape::Default)),
            Some("json") => Ok(Self(Escape::Json)),
            Some("none") => Ok(Self(Escape::None)),
            _ => Err(Wrong::no(json, "\"default\", \"json\" or \"none\"")),
        }
    }
}

/// A status, a range of them, or a class: `404`, `"500-599"`, `"5xx"`.
#[derive(Clone, Debug)]
pub(super) struct StatusRange(pub(super) RangeInclusive<u16>);

schema!(StatusRange, "StatusRange", {
    "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 999 },
        { "type": "string", "pattern": "^([0-9]xx|[0-9]{1,3}(-[0-9]{1,3})?)$" },
    ],
});

impl Read for StatusRange {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let status = |text: &str| text.parse().ok().filter(|status| *status <= 999_u16);
        let range = match json {
            Json::Number(number) => status(&number.to_string()).map(|one| one..=one),
            Json::String(text) => match (text.strip_suffix("xx"), text.split_once('-')) {
                (Some(class), _) => class
                    .parse::<u16>()
                    .ok()
                    .filter(|class| *class <= 9)
                    .map(|class| class * 100..=class * 100 + 99),
                (None, Some((first, last))) => status(first)
                    .zip(status(last))
                    .map(|(first, last)| first..=last),
                (None, None) => status(text).map(|one| one..=one),
            },
            _ => None,
        };
        range
            .filter(|range| !range.is_empty())
            .map(Self)
            .ok_or_else(|| Wrong::no(json, "status, such as 404, \"500-599\" or \"5xx\""))
    }
}

/// How an exchange ended: a word of `error::End`.
#[derive(Clone, Debug)]
pub(super) struct EndWord(pub(super) String);

schema!(EndWord, "End", { "type": "string" });

impl Read for EndWord {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let words = End::ALL.map(End::as_str);
        match json.as_str() {
            Some(word) if words.contains(&word) => Ok(Self(word.to_owned())),
            _ => Err(Wrong(format!(
                "{} is no end of a request: expected {}",
                Found(json),
                words.join(", ")
            ))),
        }
    }
}

/// What a worker does when the queue of a log is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Drops lines.
    Drop,
    /// Waits for room first.
    Wait,
}

schema!(Full, "Full", { "enum": ["drop", "wait"] });

impl Read for Full {
    fn read(json: &Json) -> Result<Self, Wrong> {
        match json.as_str() {
            Some("drop") => Ok(Self::Drop),
            Some("wait") => Ok(Self::Wait),
            _ => Err(Wrong::no(json, "\"drop\" or \"wait\"")),
        }
    }
}

/// A number of bytes that may wait: below a batch of lines or so nothing would work.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueBytes(pub(super) u64);

const LEAST: u64 = 64 * 1024;
const MOST: u64 = 1024 * 1024 * 1024;

schema!(QueueBytes, "QueueBytes", { "type": "integer", "minimum": 65_536, "maximum": 1_073_741_824 });

impl Read for QueueBytes {
    fn read(json: &Json) -> Result<Self, Wrong> {
        json.as_u64()
            .filter(|bytes| (LEAST..=MOST).contains(bytes))
            .map(Self)
            .ok_or_else(|| Wrong::no(json, "number of bytes in 65536–1073741824"))
    }
}

/// A name, or `*` for every one.
#[derive(Clone, Debug)]
pub(super) struct NameText(pub(super) String);

schema!(NameText, "Name", { "type": "string", "minLength": 1 });

impl Read for NameText {
    fn read(json: &Json) -> Result<Self, Wrong> {
        match json.as_str() {
            Some(name) if !name.is_empty() => Ok(Self(name.to_owned())),
            _ => Err(Wrong::no(json, "name")),
        }
    }
}

/// The name of a header, or `*` for every one.
#[derive(Clone, Debug)]
pub(super) struct HeaderText(pub(super) Option<HeaderName>);

schema!(HeaderText, "Header", { "type": "string", "minLength": 1 });

impl Read for HeaderText {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let wrong = || Wrong::no(json, "name of a header");
        match json.as_str().ok_or_else(wrong)? {
            "*" => Ok(Self(None)),
            name => name
                .parse()
                .map(|name| Self(Some(name)))
                .map_err(|_| wrong()),
        }
    }
}

/// A set of names in which `None` stands for all.
pub(super) fn name_set<T>(names: impl IntoIterator<Item = Option<T>>) -> NameSet<T> {
    let names: Option<Vec<T>> = names.into_iter().collect();
    names.map_or(NameSet::All, NameSet::Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_are_read_and_what_is_none_is_told() {
        let udp = |host: &str, port| Some(Target::Syslog(Syslog::Udp(host.to_owned(), port)));
        let local = |path: &str| Some(Target::Syslog(Syslog::Local(path.into())));
        let table = [
            (json!("off"), None),
            (json!(""), None),
            (json!(false), None),
            (json!("-"), Some(Target::Stdout)),
            (json!("stdout"), Some(Target::Stdout)),
            (json!("stderr"), Some(Target::Stderr)),
            (json!("./stdout"), Some(Target::File("./stdout".into()))),
            (json!("syslog:"), local("/dev/log")),
            (json!("syslog:/run/log"), local("/run/log")),
            (json!("syslog://log.test"), udp("log.test", 514)),
            (json!("syslog://10.0.0.1:5514"), udp("10.0.0.1", 5514)),
            (json!("syslog://[::1]:5514"), udp("::1", 5514)),
            (json!("syslog://[::1]"), udp("::1", 514)),
        ];
        for (written, expected) in table {
            assert_eq!(LogTarget::read(&written).unwrap().0, expected, "{written}");
        }
        for wrong in [
            "syslog:x",
            "syslog://",
            "syslog://a:b",
            "syslog://::1",
            "syslog://a/b",
        ] {
            let told = LogTarget::read(&json!(wrong)).unwrap_err().0;
            assert!(told.contains("syslog://host:port"), "{wrong}: {told}");
        }
    }

    #[test]
    fn statuses_are_numbers_ranges_and_classes() {
        let table = [
            (json!(404), Some(404..=404)),
            (json!("404"), Some(404..=404)),
            (json!("5xx"), Some(500..=599)),
            (json!("500-504"), Some(500..=504)),
            (json!(0), Some(0..=0)),
            (json!("504-500"), None),
            (json!(1000), None),
            (json!("xx"), None),
            (json!("65xx"), None),
            (json!(true), None),
        ];
        for (written, expected) in table {
            let found = StatusRange::read(&written).ok().map(|range| range.0);
            assert_eq!(found, expected, "{written}");
        }
    }
}
