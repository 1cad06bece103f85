//! Hashes that stand beside the routes of a host: asking for some of their fields. Pure.

use redis::{Pipeline, Value};

use super::{command, error_text};
use crate::route::hash::{Fields, Hash, names};

/// Reads these fields of the hashes that stand under a host's names.
pub(in super::super) fn hash(prefix: &str, hash: Hash, host: &str) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(2);
    for name in names(host) {
        let mut fields = command("HMGET", &format!("{prefix}{}{name}", hash.prefix));
        for field in hash.fields {
            fields.arg(*field);
        }
        pipeline.add_command(fields);
    }
    pipeline
}

/// What the replies to [`hash`] say: the first hash that has one of the fields.
pub(in super::super) fn hashed(replies: Vec<Value>) -> Result<Option<Fields>, String> {
    for reply in replies {
        let fields = match reply {
            Value::Array(values) => values.into_iter().map(bytes_of).collect::<Fields>(),
            Value::ServerError(error) => return Err(error_text(&error)),
            _ => return Err("no array of fields, expected one".to_owned()),
        };
        if fields.iter().any(Option::is_some) {
            return Ok(Some(fields));
        }
    }
    Ok(None)
}

fn bytes_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: Hash = Hash {
        prefix: "options:",
        fields: &["https", "hsts"],
    };

    #[test]
    fn the_names_of_a_host_are_asked_for_in_order() {
        let asked = hash("p:", HASH, "a.test").get_packed_pipeline();
        let asked = String::from_utf8(asked).unwrap();
        let words: Vec<_> = asked
            .split("\r\n")
            .filter(|w| !w.starts_with(['*', '$']))
            .collect();
        let expected = "HMGET p:options:a.test https hsts HMGET p:options:*.test https hsts ";
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn the_first_hash_with_a_field_that_was_asked_for_wins() {
        let text = |text: &str| Value::BulkString(text.into());
        let none = || Value::Array(vec![Value::Nil, Value::Nil]);
        let first = || Value::Array(vec![Value::Nil, text("1")]);
        let second = || Value::Array(vec![text("redirect"), Value::Nil]);
        let of_first = || Ok(Some(vec![None, Some(b"1".to_vec())]));
        let of_second = || Ok(Some(vec![Some(b"redirect".to_vec()), None]));
        let cases = [
            (vec![none(), none()], Ok(None)),
            (vec![], Ok(None)),
            (vec![first(), second()], of_first()),
            (vec![none(), second()], of_second()),
            (
                vec![Value::Nil],
                Err("no array of fields, expected one".to_owned()),
            ),
        ];
        for (replies, expected) in cases {
            let shown = format!("{replies:?}");
            assert_eq!(hashed(replies), expected, "{shown}");
        }
        let wrong = redis::parse_redis_value(b"-WRONGTYPE no hash\r\n").unwrap();
        assert_eq!(hashed(vec![wrong]), Err("WRONGTYPE no hash".to_owned()));
    }
}
