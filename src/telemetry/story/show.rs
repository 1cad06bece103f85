//! An event as a line: text for people, JSON for machines.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::super::access_log::Clock;
use super::super::stderr::LINE_BYTES;
use super::told::{Severity, Told, Value, first};

/// Bytes of a text in JSON; the first that lets the line be written in one piece counts.
const TEXT_BYTES: [usize; 4] = [4096, 1024, 256, 32];

/// `2026-11-22T05:01:23.123456Z  INFO 4711 text field=value`, the number being the process.
pub(super) fn text(told: &Told) -> String {
    let (time, severity, process) = (moment(told), told.severity.as_str(), told.process);
    let mut line = format!("{time} {severity:>5} {process} ");
    // Writing to a string never fails.
    if matches!(told.severity, Severity::Debug | Severity::Trace) {
        let _ = write!(line, "{}: ", told.target);
    }
    line.push_str(&told.text);
    for (key, value) in &told.fields {
        let _ = match value {
            Value::Text(text) => write!(line, " {key}={text:?}"),
            Value::Plain(text) => write!(line, " {key}={text}"),
            Value::Number(number) => write!(line, " {key}={number}"),
            Value::Flag(flag) => write!(line, " {key}={flag}"),
            Value::Seconds(seconds) => match Duration::try_from_secs_f64(*seconds) {
                Ok(time) => write!(line, " {key}={time:?}"),
                Err(_) => write!(line, " {key}={seconds}"),
            },
        };
    }
    let mut line = escaped(&line, |character, line| {
        line.extend(character.escape_default())
    });
    line.push('\n');
    line
}

/// One object with `time`, `level`, `process`, `event`, `message`, and the fields; what is no event
/// has a `target` in its place.
pub(super) fn json(told: &Told) -> String {
    // A line that is cut is no JSON: texts are, until it fits.
    let mut line = object(told, TEXT_BYTES[0]);
    for bytes in &TEXT_BYTES[1..] {
        if line.len() <= LINE_BYTES {
            break;
        }
        line = object(told, *bytes);
    }
    line
}

fn object(told: &Told, text_bytes: usize) -> String {
    let text = |text: &str| Json::from(first(text, text_bytes));
    let mut object = Map::new();
    let mut put = |key: &str, value: Json| {
        // Never one key twice: a field named as one of ours is told under another name.
        let key = match object.contains_key(key) {
            true => format!("field.{key}"),
            false => key.to_owned(),
        };
        object.insert(key, value);
    };
    put("time", moment(told).into());
    put("level", told.severity.as_str().into());
    put("process", told.process.into());
    match &told.name {
        Some(name) => put("event", name.as_ref().into()),
        None => put("target", told.target.as_ref().into()),
    }
    put("message", text(&told.text));
    for (key, value) in &told.fields {
        let value = match value {
            Value::Text(value) | Value::Plain(value) => text(value),
            Value::Number(number) => (*number).into(),
            Value::Seconds(seconds) => (*seconds).into(),
            Value::Flag(flag) => (*flag).into(),
        };
        put(key, value);
    }
    // What JSON lets through a terminal need not: such characters stand in its texts alone.
    let mut line = escaped(&Json::Object(object).to_string(), |character, line| {
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            let _ = write!(line, "\\u{unit:04x}");
        }
    });
    line.push('\n');
    line
}

fn moment(told: &Told) -> String {
    let since_epoch = told.time.duration_since(std::time::UNIX_EPOCH);
    let micros = since_epoch.unwrap_or_default().subsec_micros();
    let mut clock = Clock::new();
    let second = String::from_utf8_lossy(clock.iso(told.time)).into_owned();
    format!("{second}.{micros:06}Z")
}

/// The text with every control character escaped: whatever a peer sent, an event stays one line and
/// a terminal is told nothing.
fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut clean = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some(at) = rest.find(is_harmful) {
        let (before, after) = rest.split_at(at);
        clean.push_str(before);
        let mut characters = after.chars();
        if let Some(character) = characters.next() {
            escape(character, &mut clean);
        }
        rest = characters.as_str();
    }
    clean.push_str(rest);
    clean
}

/// Control characters, line and paragraph separators, and what turns the direction of writing.
pub(super) fn is_harmful(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
