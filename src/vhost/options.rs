//! What an operator chose for a frontend beside its backends: the hash `options:<host>`.
//!
//! Fields that nobody knows are for a later version, and not looked at.

use std::fmt;

use http::HeaderValue;

/// Bytes of a value, at most.
const VALUE_BYTES: usize = 256;

/// The choices for a frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Requests by plain HTTP are sent to HTTPS.
    pub redirects_to_https: bool,
    /// `Strict-Transport-Security` of responses by HTTPS.
    pub hsts: Option<HeaderValue>,
}

/// A value that cannot be used, and is as if it were not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionsError {
    field: &'static str,
    expected: &'static str,
}

impl Options {
    /// The fields that are known, in the order in which their values are read.
    pub const FIELDS: [&'static str; 2] = ["https", "hsts"];

    /// Reads the values of the fields, each `None` where it is not there. What is wrong with one is
    /// told, and leaves the others as they are.
    pub fn parse(values: &[Option<Vec<u8>>], mut tell: impl FnMut(OptionsError)) -> Self {
        let mut options = Self::default();
        for (field, value) in Self::FIELDS.into_iter().zip(values) {
            let Some(value) = value else { continue };
            if let Err(expected) = options.set(field, value.trim_ascii()) {
                tell(OptionsError { field, expected });
            }
        }
        options
    }

    /// Sets a field; the error is what was expected. `off` is what a host says that is not to follow
    /// its wildcard.
    fn set(&mut self, field: &str, value: &[u8]) -> Result<(), &'static str> {
        match (field, value) {
            ("https", b"redirect") => self.redirects_to_https = true,
            ("hsts", value) if value != b"off" => {
                self.hsts = Some(
                    read_hsts(value).ok_or("a number of seconds, a value with max-age, or off")?,
                );
            }
            (_, b"off") => {}
            _ => return Err("redirect, or off"),
        }
        Ok(())
    }
}

/// A number of seconds, or the whole value of the header (RFC 6797 §6.1).
fn read_hsts(value: &[u8]) -> Option<HeaderValue> {
    let text = std::str::from_utf8(value).ok()?;
    if text.len() > VALUE_BYTES {
        return None;
    }
    if is_number(text) {
        return HeaderValue::try_from(format!("max-age={text}")).ok();
    }
    let ages = text.split(';').filter_map(|directive| {
        let (name, age) = directive.split_once('=')?;
        let is_age = name.trim().eq_ignore_ascii_case("max-age");
        is_age.then(|| is_number(age.trim().trim_matches('"')))
    });
    // The directive is required, and stands there once.
    let is_right = ages.collect::<Vec<_>>() == [true];
    HeaderValue::from_str(text).ok().filter(|_| is_right)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value of `{}` is not {}", self.field, self.expected)
    }
}

impl std::error::Error for OptionsError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options of these values, and the fields that were told.
    fn parse(https: &str, hsts: &str) -> (bool, Option<String>, Vec<&'static str>) {
        let value = |text: &str| (text != "-").then(|| text.as_bytes().to_vec());
        let mut told = Vec::new();
        let options = Options::parse(&[value(https), value(hsts)], |error| told.push(error.field));
        let hsts = options.hsts.map(|value| value.to_str().unwrap().to_owned());
        (options.redirects_to_https, hsts, told)
    }

    #[test]
    fn values_are_read_and_what_is_wrong_is_told_and_left_out() {
        let long = format!("max-age=1; {}", "x".repeat(VALUE_BYTES));
        let whole = "max-age=63072000; includeSubDomains; preload";
        type Case<'a> = (&'a str, &'a str, bool, Option<&'a str>, &'a [&'a str]);
        let cases: [Case<'_>; 16] = [
            ("-", "-", false, None, &[]),
            ("redirect", "-", true, None, &[]),
            (" redirect\n", "0", true, Some("max-age=0"), &[]),
            ("off", "off", false, None, &[]),
            ("on", "-", false, None, &["https"]),
            ("", "", false, None, &["https", "hsts"]),
            ("off", "31536000", false, Some("max-age=31536000"), &[]),
            ("-", whole, false, Some(whole), &[]),
            ("-", "MAX-AGE=\"1\"", false, Some("MAX-AGE=\"1\""), &[]),
            ("nonsense", "60", false, Some("max-age=60"), &["https"]),
            ("redirect", "-1", true, None, &["hsts"]),
            ("-", "includeSubDomains", false, None, &["hsts"]),
            ("-", "max-age=x", false, None, &["hsts"]),
            ("-", "max-age=1; max-age=2", false, None, &["hsts"]),
            ("-", "max-age=1\r\nx: y", false, None, &["hsts"]),
            ("-", &long, false, None, &["hsts"]),
        ];
        for (https, hsts, redirects, value, told) in cases {
            let expected = (redirects, value.map(str::to_owned), told.to_vec());
            assert_eq!(parse(https, hsts), expected, "{https:?} {hsts:?}");
        }
        assert_eq!(Options::parse(&[], |_| ()), Options::default());
    }
}
