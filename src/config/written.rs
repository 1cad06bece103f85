//! A setting as written: absent, right or wrong.
//!
//! Reading a file never stops at the first mistake: each setting keeps its own. The sections in
//! `file` derive both ways of serde, `Deserialize` to read, and `Serialize` to tell what is wrong
//! at which path: a right setting serialises as nothing, a wrong one as the text that says why. So
//! the names of the keys stand once, at their fields.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::findings::Findings;

/// A setting as written; `null` counts as absent.
#[derive(Debug, Default)]
pub(super) enum Written<T> {
    /// Not in the file: the default applies.
    #[default]
    Absent,
    /// What was expected.
    Right(T),
    /// Something else.
    Wrong(Wrong),
}

/// Why a setting is wrong: what it is, and what was expected, with its unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong(pub(super) String);

/// What can stand at a key.
pub(super) trait Read: JsonSchema + Sized {
    /// Reads it from what stands in the file.
    ///
    /// # Errors
    ///
    /// When it is something else, or out of range.
    fn read(json: &Json) -> Result<Self, Wrong>;

    /// Serialises what is wrong inside: nothing, unless it has parts.
    fn tell<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<T> Written<T> {
    /// The setting, if it is there and right.
    pub(super) fn right(self) -> Option<T> {
        match self {
            Self::Right(setting) => Some(setting),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    /// The setting, if it is there and right.
    pub(super) fn as_ref(&self) -> Option<&T> {
        match self {
            Self::Right(setting) => Some(setting),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    /// Whether the file does not say anything here.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// This one, or the other one if this is absent.
    pub(super) fn or(self, other: Self) -> Self {
        if self.is_absent() { other } else { self }
    }
}

impl<'de, T: Read> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(json) = Option::<Json>::deserialize(deserializer)? else {
            return Ok(Self::Absent);
        };
        Ok(T::read(&json).map_or_else(Self::Wrong, Self::Right))
    }
}

impl<T: Read> Serialize for Written<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_unit(),
            Self::Right(setting) => setting.tell(serializer),
            Self::Wrong(Wrong(text)) => serializer.serialize_str(text),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Written<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Option::<T>::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// Adds an error for every wrong setting in the file.
pub(super) fn find_wrong(file: &impl Serialize, findings: &mut Findings) {
    match serde_json::to_value(file) {
        Ok(told) => collect(&told, String::new(), findings),
        Err(error) => findings.error("", error),
    }
}

fn collect(told: &Json, path: String, findings: &mut Findings) {
    match told {
        Json::String(text) => findings.error(path, text),
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{index}]"), findings);
            }
        }
        Json::Object(section) => {
            for (key, item) in section {
                collect(item, join(&path, key), findings);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// The path of a key within a section.
pub(super) fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// What stands in the file, for a message: short, and in the file's own spelling.
pub(super) struct Found<'a>(pub(super) &'a Json);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Json::Array(_) => f.write_str("an array"),
            Json::Object(_) => f.write_str("an object"),
            Json::String(text) if text.chars().count() > 60 => {
                write!(f, "\"{}…\"", text.chars().take(60).collect::<String>())
            }
            other => write!(f, "{other}"),
        }
    }
}

impl Wrong {
    /// `found` is no `expected`.
    pub(super) fn no(found: &Json, expected: &str) -> Self {
        Self(format!("{} is no {expected}", Found(found)))
    }
}
