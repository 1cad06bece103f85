//! What can stand at a key: numbers with their units and ranges, names, paths, addresses.
//!
//! Each type says three things that belong together: how it is read, what its mistakes are told
//! as, and what the schema allows, which is never less than what is read.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value as Json;

use super::written::{Found, Read, Wrong};

/// Implements [`JsonSchema`] by a literal, in place of a reference to a definition.
macro_rules! schema {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}
pub(super) use schema;

impl Read for bool {
    fn read(json: &Json) -> Result<Self, Wrong> {
        json.as_bool()
            .ok_or_else(|| Wrong(format!("{} is neither true nor false", Found(json))))
    }
}

impl Read for String {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let text = json.as_str().ok_or_else(|| Wrong::no(json, "text"))?;
        Ok(text.to_owned())
    }
}

/// A whole number of at least 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) u32);

schema!(Count, "Count", { "type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32 });

impl Read for Count {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let number = whole(json).ok_or_else(|| Wrong::no(json, "whole number"))?;
        match u32::try_from(number) {
            Ok(count @ 1..) => Ok(Self(count)),
            _ => Err(Wrong(format!(
                "{number} is not in 1–{}, at least 1 is needed",
                u32::MAX
            ))),
        }
    }
}

/// A whole number, from 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole(pub(super) u32);

schema!(Whole, "Whole", { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 });

impl Read for Whole {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let number = whole(json).ok_or_else(|| Wrong::no(json, "whole number"))?;
        u32::try_from(number)
            .map(Self)
            .map_err(|_| Wrong(format!("{number} is not in 0–{}", u32::MAX)))
    }
}

/// A TCP port; 0 lets the system choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port(pub(super) u16);

schema!(Port, "Port", { "type": "integer", "minimum": 0, "maximum": 65535 });

impl Read for Port {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let number = whole(json).ok_or_else(|| Wrong::no(json, "port number"))?;
        u16::try_from(number)
            .map(Self)
            .map_err(|_| Wrong(format!("port {number} is not in 0–65535")))
    }
}

/// The longest time that can be written, about 31 years: every clock can still count it.
const LONGEST_SECONDS: f64 = 1e9;

/// A time in seconds, fractions allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

schema!(Seconds, "Seconds", { "type": "number", "minimum": 0, "maximum": 1_000_000_000 });

impl Read for Seconds {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let seconds = json
            .as_f64()
            .ok_or_else(|| Wrong::no(json, "number of seconds"))?;
        if (0.0..=LONGEST_SECONDS).contains(&seconds) {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err(Wrong(format!(
                "{json} is not in 0–{LONGEST_SECONDS} seconds"
            )))
        }
    }
}

impl Seconds {
    /// As a limit of waiting, where 0 is none.
    pub(super) fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

/// A time in whole seconds, as Redis counts the life of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeSeconds(pub(super) Duration);

schema!(WholeSeconds, "WholeSeconds", { "type": "integer", "minimum": 0, "maximum": 1_000_000_000 });

impl Read for WholeSeconds {
    fn read(json: &Json) -> Result<Self, Wrong> {
        if json.is_number() && whole(json).is_none() {
            return Err(Wrong::no(json, "whole number of seconds"));
        }
        Seconds::read(json).map(|seconds| Self(seconds.0))
    }
}

/// A whole number, also when written as `30.0`.
fn whole(json: &Json) -> Option<i128> {
    let number = json.as_number()?;
    number.as_i128().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "saturates, and then is out of any range"
        )]
        Some(float as i128)
    })
}

/// A text that no message shows.
#[derive(Clone, Debug)]
pub(super) struct Hidden(pub(super) super::Secret);

schema!(Hidden, "Hidden", { "type": "string" });

impl Read for Hidden {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let text = json
            .as_str()
            .ok_or_else(|| Wrong("this is no text".to_owned()))?;
        Ok(Self(super::Secret(text.to_owned())))
    }
}

/// A user or group: its name, or its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Its name; digits alone are a number, too.
    Name(String),
    /// Its number.
    Id(u32),
}

schema!(Account, "Account", { "type": ["string", "integer"], "minimum": 0, "maximum": 4_294_967_294_u32 });

impl Read for Account {
    fn read(json: &Json) -> Result<Self, Wrong> {
        if let Some(name) = json.as_str() {
            return Ok(name
                .parse()
                .map_or_else(|_| Self::Name(name.to_owned()), Self::Id));
        }
        let number = whole(json).ok_or_else(|| Wrong::no(json, "name or number"))?;
        // The highest number means "leave as it is" to setuid and is no user.
        match u32::try_from(number) {
            Ok(id) if id < u32::MAX => Ok(Self::Id(id)),
            _ => Err(Wrong(format!("{number} is not in 0–{}", u32::MAX - 1))),
        }
    }
}

/// A path, absolute or from the working directory.
#[derive(Clone, Debug)]
pub(super) struct PathText(pub(super) PathBuf);

schema!(PathText, "Path", { "type": "string", "minLength": 1 });

impl Read for PathText {
    fn read(json: &Json) -> Result<Self, Wrong> {
        match json.as_str() {
            Some(path) if !path.is_empty() => Ok(Self(path.into())),
            _ => Err(Wrong::no(json, "path")),
        }
    }
}

/// An address to listen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address(pub(super) IpAddr);

schema!(Address, "Address", { "type": "string" });

impl Read for Address {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let text = json.as_str().ok_or_else(|| Wrong::no(json, "IP address"))?;
        if text == "localhost" {
            return Ok(Self(Ipv4Addr::LOCALHOST.into()));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = bare.unwrap_or(text).parse();
        address.map(Self).map_err(|_| Wrong::no(json, "IP address"))
    }
}

/// A range of addresses, or one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range(pub(super) IpNet);

schema!(Range, "Range", { "type": "string" });

impl Read for Range {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let range = json.as_str().and_then(|text| {
            let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse().ok().or_else(one)
        });
        range
            .map(Self)
            .ok_or_else(|| Wrong::no(json, "IP address or range such as 10.0.0.0/8"))
    }
}
