//! One event as it was told: the same for standard error, for the master's queue and for a
//! collector.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

/// A longer text is cut.
const TEXT_BYTES: usize = 4096;
/// The names of events begin so; what is only a line for debugging has none.
const PREFIX: &str = "hipache.";
/// The field that says what the event ended; for a span, not for people.
const SPAN: &str = "span";
/// The field that says how long that lasted.
const TOOK: &str = "took";

/// An event with its fields.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Told {
    pub(super) time: SystemTime,
    /// Who tells it.
    pub(super) process: u32,
    pub(super) severity: Severity,
    /// `None`: a line for debugging, or of a library.
    pub(super) name: Option<Cow<'static, str>>,
    pub(super) target: Cow<'static, str>,
    pub(super) text: String,
    pub(super) fields: Vec<(Cow<'static, str>, Value)>,
    /// What it ended, as the name of a span.
    pub(super) span: Option<String>,
}

/// How loud it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) enum Severity {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The value of a field.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Value {
    Text(String),
    /// A text that needs no quotes.
    Plain(String),
    Number(i64),
    Seconds(f64),
    Flag(bool),
}

impl Told {
    /// What this event of `tracing` tells, now.
    pub(super) fn of(event: &tracing::Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut told = Self {
            time: SystemTime::now(),
            process: std::process::id(),
            severity: Severity::of(metadata),
            name: name_of(metadata),
            target: Cow::Borrowed(metadata.target()),
            text: String::new(),
            fields: Vec::new(),
            span: None,
        };
        event.record(&mut told);
        told
    }

    /// What it ended and how long that lasted, in seconds.
    pub(super) fn ended(&self) -> Option<(&str, f64)> {
        let (_, took) = self.fields.iter().find(|(name, _)| name == TOOK)?;
        match took {
            Value::Seconds(seconds) => Some((self.span.as_deref()?, *seconds)),
            _ => None,
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Plain(text)) => self.text = text,
            (SPAN, Value::Text(name)) => self.span = Some(name),
            (name, value) => self.fields.push((Cow::Borrowed(name), value)),
        }
    }
}

/// The name that `tell` gave it.
fn name_of(metadata: &'static Metadata<'static>) -> Option<Cow<'static, str>> {
    let name = metadata.name();
    name.starts_with(PREFIX).then_some(Cow::Borrowed(name))
}

impl Severity {
    fn of(metadata: &Metadata<'_>) -> Self {
        match *metadata.level() {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }

    /// The word for people, and `severity_text` for a collector.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(shortened(value).to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        self.put(field, Value::Plain(shortened(&value).to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Number(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(
            field,
            Value::Number(i64::try_from(value).unwrap_or(i64::MAX)),
        );
    }

    /// Every number with a fraction is a time.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::Seconds(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Flag(value));
    }
}

/// As much of a text as is told.
fn shortened(text: &str) -> &str {
    first(text, TEXT_BYTES)
}

/// The beginning of a text, whole characters only.
pub(super) fn first(text: &str, bytes: usize) -> &str {
    let is_end = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=bytes.min(text.len())).rev().find(is_end);
    &text[..end.unwrap_or(0)]
}
