//! An object of settings, read by its type.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::written::Wrong;

/// A section: what is wrong in it is told by its parts.
macro_rules! section {
    ($($section:ty),*) => {$(
        impl crate::config::written::Read for $section {
            fn read(json: &serde_json::Value) -> Result<Self, crate::config::written::Wrong> {
                crate::config::section::read(json)
            }

            fn tell<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(self, serializer)
            }
        }
    )*};
}
pub(super) use section;

/// Reads a section.
pub(super) fn read<T: DeserializeOwned>(json: &Json) -> Result<T, Wrong> {
    // Serde would read an array as a section, too, by the order of its fields.
    if !json.is_object() {
        return Err(Wrong::no(json, "object of settings"));
    }
    T::deserialize(json).map_err(|error| Wrong(error.to_string()))
}
