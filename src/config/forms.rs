//! The forms in which a setting may be written: alone or in an array, short or as an object.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::values::Address;
use super::written::{Read, Written, Wrong};

/// One, or an array of them.
#[derive(Debug)]
pub(super) enum OneOrMany<T> {
    /// One that stands alone, and is right.
    One(T),
    /// An array, each right or wrong by itself.
    Many(Vec<Written<T>>),
}

impl<T> OneOrMany<T> {
    /// Those that are right.
    pub(super) fn right(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many.into_iter().filter_map(Written::right).collect(),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        let item = generator.subschema_for::<Written<T>>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": item }] })
    }
}

impl<T: Read> Read for OneOrMany<T> {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let Json::Array(items) = json else {
            return T::read(json).map(Self::One);
        };
        let read = |item| match item {
            &Json::Null => Written::Absent,
            item => T::read(item).map_or_else(Written::Wrong, Written::Right),
        };
        Ok(Self::Many(items.iter().map(read).collect()))
    }

    fn tell<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(one) => one.tell(serializer),
            Self::Many(many) => many.serialize(serializer),
        }
    }
}

/// An address, or an object with one.
#[derive(Debug)]
pub(super) enum Bind<L> {
    /// An address alone.
    Address(Address),
    /// A listener with its own settings.
    Listener(Box<L>),
}

impl<L: JsonSchema> JsonSchema for Bind<L> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Bind_{}", L::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<Address>();
        json_schema!({ "anyOf": [address, generator.subschema_for::<L>()] })
    }
}

impl<L: Read> Read for Bind<L> {
    fn read(json: &Json) -> Result<Self, Wrong> {
        match json {
            Json::Object(_) => L::read(json).map(|listener| Self::Listener(Box::new(listener))),
            Json::String(_) => Address::read(json).map(Self::Address),
            other => Err(Wrong::no(other, "IP address, object or array of these")),
        }
    }

    fn tell<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Address(address) => address.tell(serializer),
            Self::Listener(listener) => listener.tell(serializer),
        }
    }
}
