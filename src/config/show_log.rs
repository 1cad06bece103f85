//! Access logs in force, in the form of a configuration file.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::show::seconds;
use super::{AccessLog, Escape, NameSet, Names, Shape, Syslog, Target};

/// The value of `server.accessLog`, each log with an example of its lines.
pub(super) fn logs(logs: &[AccessLog], example: &dyn Fn(&AccessLog) -> String) -> Json {
    match logs {
        [] => json!(false),
        [one] if !one.place.ends_with(']') => log(one, example),
        many => many.iter().map(|one| log(one, example)).collect(),
    }
}

fn log(log: &AccessLog, example: &dyn Fn(&AccessLog) -> String) -> Json {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Json| shown.insert(key.to_owned(), value);
    put("target", target(&log.target));
    put("format", json!(log.format.written));
    // Only templates of the operator's own take an escape.
    if let Shape::Template(template) = &log.format.shape
        && log.format.written.contains('$')
    {
        let word = match template.escape {
            Escape::Default => "default",
            Escape::Json => "json",
            Escape::None => "none",
        };
        put("escape", json!(word));
    }
    let filter = &log.filter;
    put(
        "filter",
        json!({
            "status": filter.status.iter().map(range).collect::<Vec<_>>(),
            "minDuration": seconds(filter.min_duration),
            "end": filter.ends,
            "vhost": filter.vhosts,
            "errorsOnly": filter.errors_only,
        }),
    );
    put("sample", json!(log.sample));
    let mut mask = names(&log.masks.mask);
    mask.insert("credentials".to_owned(), json!(log.masks.credentials));
    put("mask", mask.into());
    put("drop", names(&log.masks.drop).into());
    let queue = if log.queue.wait == Duration::ZERO {
        json!({ "bytes": log.queue.bytes, "full": "drop" })
    } else {
        json!({ "bytes": log.queue.bytes, "full": "wait", "wait": seconds(log.queue.wait) })
    };
    put("queue", queue);
    put("example", json!(example(log)));
    shown.into()
}

fn target(target: &Target) -> Json {
    match target {
        Target::File(path) => json!(path),
        Target::Stdout => json!("stdout"),
        Target::Stderr => json!("stderr"),
        Target::Syslog(Syslog::Local(path)) => json!(format!("syslog:{}", path.display())),
        Target::Syslog(Syslog::Udp(host, port)) if host.contains(':') => {
            json!(format!("syslog://[{host}]:{port}"))
        }
        Target::Syslog(Syslog::Udp(host, port)) => json!(format!("syslog://{host}:{port}")),
    }
}

fn range(range: &RangeInclusive<u16>) -> String {
    format!("{}-{}", range.start(), range.end())
}

fn names(names: &Names) -> Map<String, Json> {
    [
        ("query", set(&names.query, String::as_str)),
        ("cookies", set(&names.cookies, String::as_str)),
        ("headers", set(&names.headers, http::HeaderName::as_str)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}

fn set<T>(names: &NameSet<T>, text: impl Fn(&T) -> &str) -> Json {
    match names {
        NameSet::All => json!(["*"]),
        NameSet::Some(names) => names.iter().map(text).collect(),
    }
}
