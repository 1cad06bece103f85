//! The keys of an access log, as an operator wrote them, and what they mean.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value as Json;

use super::access_log::{
    AccessLog, Filter, MAX_LOGS, Masks, NameSet, Names, QUEUE_WAIT, Queue, Target,
};
use super::findings::Findings;
use super::forms::OneOrMany;
use super::log_values::{
    EndWord, EscapeWord, FormatText, Full, HeaderText, LogTarget, NameText, QueueBytes,
    StatusRange, name_set,
};
use super::values::{Count, Seconds};
use super::written::{Read, Written, Wrong, join};

/// An access log.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Log {
    /// Path, `stdout`, `stderr`, `syslog:`, `syslog:/path`, `syslog://host:port`, or `off`.
    /// Default `/var/log/hipache/access.log`.
    pub(super) target: Written<LogTarget>,
    /// `hipache`, `planb`, `combined`, `json`, or a template as of nginx's `log_format`.
    /// Default `hipache`.
    pub(super) format: Written<FormatText>,
    /// How values in a template are escaped. Default `default`.
    pub(super) escape: Written<EscapeWord>,
    /// Which lines are written. Default: all.
    pub(super) filter: Written<LogFilter>,
    /// Of normal lines, one of so many is written; errors always are. Default 1.
    pub(super) sample: Written<Count>,
    /// Names whose values are replaced by `REDACTED`.
    pub(super) mask: Written<LogMask>,
    /// Names that are left out with their values. Default: none.
    pub(super) drop: Written<LogNames>,
    /// How much may wait for the writer.
    pub(super) queue: Written<LogQueue>,
    /// A line as it looks, printed by `--dry`. Not read.
    pub(super) example: Written<String>,
}

/// Which lines are written: those that every key lets pass.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogFilter {
    /// Status: `404`, `"500-599"`, `"5xx"`, or an array of these.
    pub(super) status: Written<OneOrMany<StatusRange>>,
    /// At least so long. Default 0.
    pub(super) min_duration: Written<Seconds>,
    /// The word for the end of the request, or an array of them.
    pub(super) end: Written<OneOrMany<EndWord>>,
    /// Identifier of the frontend, or an array of them.
    pub(super) vhost: Written<OneOrMany<NameText>>,
    /// Only status 400 and above, or an end other than `ok`. Default false.
    pub(super) errors_only: Written<bool>,
}

/// What is masked. Each list replaces its default.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogMask {
    /// Query parameters. Default: those of signed URLs.
    pub(super) query: Written<OneOrMany<NameText>>,
    /// Cookies. Default: none by name, as the header is masked.
    pub(super) cookies: Written<OneOrMany<NameText>>,
    /// Headers. Default: Authorization, Proxy-Authorization, Cookie, Set-Cookie.
    pub(super) headers: Written<OneOrMany<HeaderText>>,
    /// User and password in URLs. Default true.
    pub(super) credentials: Written<bool>,
}

/// What is left out.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogNames {
    /// Query parameters.
    pub(super) query: Written<OneOrMany<NameText>>,
    /// Cookies.
    pub(super) cookies: Written<OneOrMany<NameText>>,
    /// Headers.
    pub(super) headers: Written<OneOrMany<HeaderText>>,
}

/// How much may wait for the writer, and what a worker does beyond.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogQueue {
    /// Bytes that may wait. Default 16777216.
    pub(super) bytes: Written<QueueBytes>,
    /// Drop lines, or wait for room first. Default `drop`.
    pub(super) full: Written<Full>,
    /// How long `full: "wait"` waits, during which the worker does nothing else. Default 0.1.
    pub(super) wait: Written<Seconds>,
}

/// A log: its target alone, or an object.
#[derive(Debug)]
pub(super) enum LogEntry {
    /// Where lines go; the rest is the default.
    Target(LogTarget),
    /// With settings of its own.
    Log(Box<Log>),
}

impl JsonSchema for LogEntry {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LogEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let target = generator.subschema_for::<LogTarget>();
        json_schema!({ "anyOf": [target, generator.subschema_for::<Log>()] })
    }
}

impl Read for LogEntry {
    fn read(json: &Json) -> Result<Self, Wrong> {
        match json {
            Json::Object(_) => Log::read(json).map(|log| Self::Log(Box::new(log))),
            other => LogTarget::read(other).map(Self::Target),
        }
    }

    fn tell<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Target(target) => target.tell(serializer),
            Self::Log(log) => log.tell(serializer),
        }
    }
}

/// The logs in force. What is wrong was told before, and is no log.
pub(super) fn resolve(
    written: Written<OneOrMany<LogEntry>>,
    findings: &mut Findings,
) -> Vec<AccessLog> {
    const PLACE: &str = "server.accessLog";
    let logs: Vec<_> = match written {
        Written::Absent => vec![AccessLog::plain(default_target())],
        Written::Wrong(_) => Vec::new(),
        Written::Right(OneOrMany::One(entry)) => log(entry, PLACE, findings).into_iter().collect(),
        Written::Right(OneOrMany::Many(entries)) => entries
            .into_iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                log(entry.right()?, &format!("{PLACE}[{index}]"), findings)
            })
            .collect(),
    };
    if logs.len() > MAX_LOGS {
        let text = format_args!("{} logs, at most {MAX_LOGS} were expected", logs.len());
        findings.error(PLACE, text);
    }
    logs
}

fn default_target() -> Target {
    Target::File("/var/log/hipache/access.log".into())
}

/// One log; `None` when it is off.
fn log(entry: LogEntry, place: &str, findings: &mut Findings) -> Option<AccessLog> {
    let written = match entry {
        LogEntry::Target(target) => {
            let place = place.to_owned();
            return target.0.map(|target| AccessLog {
                place,
                ..AccessLog::plain(target)
            });
        }
        LogEntry::Log(written) => *written,
    };
    let target = written
        .target
        .right()
        .map_or_else(|| Some(default_target()), |target| target.0)?;
    let mut format = written
        .format
        .right()
        .map(|format| format.0)
        .unwrap_or_default();
    if let Some(EscapeWord(escape)) = written.escape.right()
        && !format.escape_as(escape)
    {
        let text = "only a template can be told how to escape";
        findings.error(join(place, "escape"), text);
    }
    Some(AccessLog {
        place: place.to_owned(),
        target,
        format,
        filter: filter(written.filter.right().unwrap_or_default()),
        sample: written.sample.right().map_or(1, |count| count.0),
        masks: masks(
            written.mask.right().unwrap_or_default(),
            written.drop.right().unwrap_or_default(),
        ),
        queue: queue(&written.queue.right().unwrap_or_default()),
    })
}

fn filter(written: LogFilter) -> Filter {
    Filter {
        status: list(written.status)
            .into_iter()
            .map(|range| range.0)
            .collect(),
        min_duration: written.min_duration.right().map_or(Duration::ZERO, |s| s.0),
        ends: list(written.end).into_iter().map(|end| end.0).collect(),
        vhosts: list(written.vhost).into_iter().map(|name| name.0).collect(),
        errors_only: written.errors_only.right().unwrap_or(false),
    }
}

fn masks(mask: LogMask, drop: LogNames) -> Masks {
    let default = Masks::default();
    Masks {
        mask: Names {
            query: names(mask.query).unwrap_or(default.mask.query),
            cookies: names(mask.cookies).unwrap_or(default.mask.cookies),
            headers: headers(mask.headers).unwrap_or(default.mask.headers),
        },
        drop: Names {
            query: names(drop.query).unwrap_or_default(),
            cookies: names(drop.cookies).unwrap_or_default(),
            headers: headers(drop.headers).unwrap_or_default(),
        },
        credentials: mask.credentials.right().unwrap_or(default.credentials),
    }
}

fn queue(written: &LogQueue) -> Queue {
    let default = Queue::default();
    let wait = written.wait.as_ref().map_or(QUEUE_WAIT, |wait| wait.0);
    Queue {
        bytes: written
            .bytes
            .as_ref()
            .map_or(default.bytes, |bytes| bytes.0),
        wait: match written.full.as_ref() {
            Some(Full::Wait) => wait,
            Some(Full::Drop) | None => default.wait,
        },
    }
}

fn list<T>(written: Written<OneOrMany<T>>) -> Vec<T> {
    written.right().map(OneOrMany::right).unwrap_or_default()
}

fn names(written: Written<OneOrMany<NameText>>) -> Option<NameSet<String>> {
    let names = written.right()?.right().into_iter();
    Some(name_set(
        names.map(|name| (name.0 != "*").then_some(name.0)),
    ))
}

fn headers(written: Written<OneOrMany<HeaderText>>) -> Option<NameSet<http::HeaderName>> {
    let names = written.right()?.right().into_iter();
    Some(name_set(names.map(|name| name.0)))
}
