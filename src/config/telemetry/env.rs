//! The variables of OpenTelemetry's specification: empty is unset, and what is wrong is an error
//! that names the variable.

use std::time::Duration;

use super::super::findings::Findings;
use super::super::written::Written;

/// Reads a variable.
pub(in super::super) type Lookup = fn(&str) -> Option<String>;

/// The environment, and where its mistakes are told.
pub(super) struct Env<'a> {
    pub(super) lookup: Lookup,
    pub(super) findings: &'a mut Findings,
}

impl Env<'_> {
    /// The first of these that is set, with its name.
    pub(super) fn text<N: AsRef<str>>(&self, names: &[N]) -> Option<(String, String)> {
        names.iter().map(AsRef::as_ref).find_map(|name| {
            let text = (self.lookup)(name)?;
            let text = text.trim();
            (!text.is_empty()).then(|| (name.to_owned(), text.to_owned()))
        })
    }

    /// The first of these that is set, if it is right.
    pub(super) fn parse<T, N: AsRef<str>>(
        &mut self,
        names: &[N],
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (name, text) = self.text(names)?;
        parse(&text)
            .map_err(|wrong| self.findings.error(name, wrong))
            .ok()
    }

    /// The first of these that is set, or else what the file says at its key, if it is right.
    pub(super) fn choose<T, N: AsRef<str>>(
        &mut self,
        names: &[N],
        (key, written): (String, &Written<String>),
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let from_env = self.parse(names, &parse);
        let from_file = written.as_ref().and_then(|text| {
            let parsed = parse(text);
            parsed.map_err(|wrong| self.findings.error(key, wrong)).ok()
        });
        from_env.or(from_file)
    }
}

/// `true` or `false`, in any case.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A whole number, from 0.
pub(super) fn whole(text: &str) -> Result<usize, String> {
    let number = text.parse::<u32>();
    let number = number.map_err(|_| format!("{text:?} is no whole number"))?;
    Ok(number as usize)
}

/// A whole number of at least 1.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match whole(text)? {
        0 => Err("0 is too few, at least 1 is needed".to_owned()),
        count => Ok(count),
    }
}

/// A time in whole milliseconds.
pub(super) fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<u32>();
    let number = number.map_err(|_| format!("{text:?} is no whole number of milliseconds"))?;
    Ok(Duration::from_millis(number.into()))
}

/// `key=value,…`, values percent-encoded as those of W3C baggage. The text is not shown: it may
/// hold a token.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let members = text
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty());
    members
        .map(|member| {
            let (key, value) = member.split_once('=')?;
            let key = decode(key.trim())?;
            Some((key, decode(value.trim())?)).filter(|(key, _)| !key.is_empty())
        })
        .collect::<Option<_>>()
        .ok_or_else(|| "expected key=value,key=value, values percent-encoded".to_owned())
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}
