//! `server.memoryLimit` and the keys beside it: how large a worker may grow.
//!
//! A limit is written as bytes, as a number with a unit, or as a share of what the system lets the
//! process use; in force are the bytes of one worker.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Memory;
use super::findings::Findings;
use super::resolve::Surroundings;
use super::values::{Seconds, schema};
use super::written::{Found, Read, Written, Wrong};

/// The default is never less for each worker: what the original allowed.
const LEAST_BY_DEFAULT: u64 = 200 << 20;
/// The default share of the memory that the process may use.
const DEFAULT_SHARE: f64 = 0.5;
/// Below this a limit is a mistake of units.
const LEAST: u64 = 1_000_000;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_MIN_AGE: Duration = Duration::from_secs(60);

/// The keys of `server` about the size of workers.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenMemory {
    /// Memory of a worker: bytes, an amount such as `"200 MB"` or `"1 GiB"`, or a share of what the
    /// process may use, divided by the workers (`"50%"`); 0 or `"off"` is no limit.
    /// Default `"50%"`, but at least 200 MiB each.
    pub(super) memory_limit: Written<Amount>,
    /// Between two looks at it, more than 0. Default 10.
    pub(super) memory_check_interval: Written<Seconds>,
    /// Age that a worker must have reached to be replaced for its memory. Default 60.
    pub(super) memory_min_age: Written<Seconds>,
}

/// A limit of memory as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Amount {
    /// No limit.
    Off,
    /// For each worker.
    Bytes(u64),
    /// Of all that the process may use, for all workers; from 0 to 1.
    Share(f64),
}

schema!(Amount, "Amount", { "type": ["number", "string"], "minimum": 0 });

/// The units of amounts, in lower case.
const UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl Read for Amount {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let expected =
            "amount of memory, such as \"200 MB\", \"50%\", a number of bytes or \"off\"";
        let amount = match json {
            Json::Number(number) => number.as_f64().map(|number| Self::of_bytes(json, number)),
            Json::String(text) => Self::of_text(json, text.trim()),
            _ => None,
        };
        amount.unwrap_or_else(|| Err(Wrong::no(json, expected)))
    }
}

impl Amount {
    /// `None` when the text does not begin with a number.
    fn of_text(json: &Json, text: &str) -> Option<Result<Self, Wrong>> {
        if text.eq_ignore_ascii_case("off") {
            return Some(Ok(Self::Off));
        }
        let is_unit = |c: char| !c.is_ascii_digit() && c != '.';
        let (number, unit) = text.split_at(text.find(is_unit).unwrap_or(text.len()));
        let number: f64 = number.parse().ok()?;
        let unit = unit.trim();
        Some(match unit {
            "" => Self::of_bytes(json, number),
            "%" if number > 0.0 && number <= 100.0 => Ok(Self::Share(number / 100.0)),
            "%" => Err(Wrong(format!(
                "{} is not more than 0 % and at most 100 %",
                Found(json)
            ))),
            _ => {
                let known = UNITS
                    .iter()
                    .find(|(name, _)| unit.eq_ignore_ascii_case(name));
                match known {
                    #[expect(clippy::cast_precision_loss, reason = "units are exact")]
                    Some((_, factor)) => Self::of_bytes(json, number * *factor as f64),
                    None => Err(Wrong(format!(
                        "{} is no amount of memory: `{unit}` is none of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB and %",
                        Found(json)
                    ))),
                }
            }
        })
    }

    fn of_bytes(json: &Json, bytes: f64) -> Result<Self, Wrong> {
        if bytes == 0.0 {
            return Ok(Self::Off);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates: what is negative is refused below"
        )]
        let whole = bytes as u64;
        if whole < LEAST {
            return Err(Wrong(format!(
                "{} is less than 1 MB, which no worker can live with; a number without a unit is bytes",
                Found(json)
            )));
        }
        Ok(Self::Bytes(whole))
    }
}

/// What is in force for each of so many workers.
pub(super) fn resolve(
    written: WrittenMemory,
    workers: usize,
    around: Surroundings,
    findings: &mut Findings,
) -> Memory {
    let check_interval = written
        .memory_check_interval
        .right()
        .map_or(DEFAULT_INTERVAL, |s| s.0);
    if check_interval.is_zero() {
        findings.error(
            "server.memoryCheckInterval",
            "0 is no time between two looks, more than 0 is needed",
        );
    }
    let min_age = written.memory_min_age.right();
    Memory {
        limit: limit(
            written.memory_limit.right(),
            workers,
            around.memory,
            findings,
        ),
        check_interval,
        min_age: min_age.map_or(DEFAULT_MIN_AGE, |s| s.0),
    }
}

fn limit(
    written: Option<Amount>,
    workers: usize,
    usable: Option<u64>,
    findings: &mut Findings,
) -> Option<u64> {
    let workers = workers.max(1) as u64;
    match written {
        Some(Amount::Off) => None,
        Some(Amount::Bytes(bytes)) => {
            let all = bytes.saturating_mul(workers);
            if let Some(usable) = usable.filter(|usable| all > *usable) {
                let text = format_args!(
                    "{workers} workers of {bytes} bytes are {all}, more than the {usable} that the \
                     system lets the process use, and may end it for"
                );
                findings.warning("server.memoryLimit", text);
            }
            Some(bytes)
        }
        Some(Amount::Share(share)) => {
            if usable.is_none() {
                let text = "a share of memory whose size is not known here; write an amount such as \"200 MB\"";
                findings.error("server.memoryLimit", text);
            }
            usable.map(|usable| part(usable, share) / workers)
        }
        None => {
            let shared = usable.map_or(0, |usable| part(usable, DEFAULT_SHARE) / workers);
            Some(shared.max(LEAST_BY_DEFAULT))
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share between 0 and 1 of a number of bytes"
)]
fn part(whole: u64, share: f64) -> u64 {
    (whole as f64 * share) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_read_with_their_units() {
        let bytes = |bytes| Ok(Amount::Bytes(bytes));
        let cases = [
            (json!(0), Ok(Amount::Off)),
            (json!("0"), Ok(Amount::Off)),
            (json!("Off"), Ok(Amount::Off)),
            (json!(200_000_000), bytes(200_000_000)),
            (json!("200000000"), bytes(200_000_000)),
            (json!("200 MB"), bytes(200_000_000)),
            (json!("200mb"), bytes(200_000_000)),
            (json!("1 GiB"), bytes(1 << 30)),
            (json!("1.5 GiB"), bytes(3 << 29)),
            (json!("50%"), Ok(Amount::Share(0.5))),
            (json!("12.5 %"), Ok(Amount::Share(0.125))),
            (
                json!("200 M"),
                Err(
                    "\"200 M\" is no amount of memory: `M` is none of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB and %",
                ),
            ),
            (
                json!("101%"),
                Err("\"101%\" is not more than 0 % and at most 100 %"),
            ),
            (
                json!("0%"),
                Err("\"0%\" is not more than 0 % and at most 100 %"),
            ),
            (
                json!(200),
                Err(
                    "200 is less than 1 MB, which no worker can live with; a number without a unit is bytes",
                ),
            ),
            (
                json!(-5),
                Err(
                    "-5 is less than 1 MB, which no worker can live with; a number without a unit is bytes",
                ),
            ),
            (
                json!("much"),
                Err(
                    "\"much\" is no amount of memory, such as \"200 MB\", \"50%\", a number of bytes or \"off\"",
                ),
            ),
            (
                json!(true),
                Err(
                    "true is no amount of memory, such as \"200 MB\", \"50%\", a number of bytes or \"off\"",
                ),
            ),
        ];
        for (json, expected) in cases {
            let read = Amount::read(&json).map_err(|wrong| wrong.0);
            assert_eq!(read, expected.map_err(str::to_owned), "{json}");
        }
    }

    #[test]
    fn a_share_is_of_the_whole_and_divided_by_the_workers() {
        const GIB: u64 = 1 << 30;
        let cases = [
            ("default", None, 4, Some(8 * GIB), Some(GIB)),
            (
                "at least the original's",
                None,
                4,
                Some(GIB),
                Some(LEAST_BY_DEFAULT),
            ),
            ("unknown", None, 4, None, Some(LEAST_BY_DEFAULT)),
            ("off", Some(Amount::Off), 4, Some(GIB), None),
            (
                "bytes",
                Some(Amount::Bytes(GIB)),
                4,
                Some(8 * GIB),
                Some(GIB),
            ),
            (
                "share",
                Some(Amount::Share(0.25)),
                2,
                Some(8 * GIB),
                Some(GIB),
            ),
            (
                "a small share",
                Some(Amount::Share(0.125)),
                8,
                Some(GIB),
                Some(16 << 20),
            ),
        ];
        for (case, written, workers, usable, expected) in cases {
            let mut findings = Findings::default();
            assert_eq!(
                limit(written, workers, usable, &mut findings),
                expected,
                "{case}"
            );
            assert_eq!(findings.iter().count(), 0, "{case}");
        }
    }

    #[test]
    fn what_cannot_be_kept_is_told() {
        let mut findings = Findings::default();
        assert_eq!(
            limit(Some(Amount::Share(0.5)), 1, None, &mut findings),
            None
        );
        assert!(findings.has_errors());
        let mut findings = Findings::default();
        let much = Some(Amount::Bytes(2_000_000));
        assert_eq!(
            limit(much, 2, Some(3_000_000), &mut findings),
            Some(2_000_000)
        );
        assert!(!findings.has_errors() && findings.iter().count() == 1);
    }
}
