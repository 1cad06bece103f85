//! The framing fields of a message: what hyper takes as it comes and we do not pass on. Pure.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

use crate::fields::members;

/// Whether a body is coded in chunks at most.
///
/// hyper takes the chunks off whatever else is named before them, and the name of the other coding
/// ends here (RFC 9112 §6.1): the next recipient would take a zipped body for a plain one.
pub(crate) fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(members);
    let is_chunked = codings
        .next()
        .is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    is_chunked && codings.next().is_none()
}

/// Leaves one `Content-Length` that is a number, or none.
///
/// RFC 9110 §8.6: the same length said twice is one, lengths that differ are invalid. Where a body
/// follows hyper has seen to it; where none does (`HEAD`, 304) it looks at nothing, and would close
/// the client's connection over such a field.
pub(crate) fn settle_length(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lines.next() else { return };
    let is_single = lines.next().is_none();
    if is_single && is_number(first.as_bytes()) {
        return;
    }
    match common_length(headers) {
        Some(length) => headers.insert(CONTENT_LENGTH, length),
        None => headers.remove(CONTENT_LENGTH),
    };
}

/// The length that every line and every member of a list names.
fn common_length(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().flat_map(members);
    let length = lengths.next().filter(|length| is_number(length))?;
    let is_common = lengths.all(|other| other == length);
    is_common.then(|| HeaderValue::from_bytes(length).ok())?
}

fn is_number(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn of(name: HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn only_chunks_are_taken_off() {
        let cases: [(&[&str], bool); 7] = [
            (&[], true),
            (&["chunked"], true),
            (&[", Chunked ,"], true),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["chunked", "chunked"], false),
            (&["gzip"], false),
        ];
        for (lines, expected) in cases {
            let headers = of(TRANSFER_ENCODING, lines);
            assert_eq!(is_only_chunked(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn one_length_is_left_or_none() {
        let cases: [(&[&str], Option<&str>); 8] = [
            (&[], None),
            (&["5"], Some("5")),
            (&["5", "5"], Some("5")),
            (&["5, 5"], Some("5")),
            (&["5", "6"], None),
            (&["-1"], None),
            (&["abc", "abc"], None),
            (&[""], None),
        ];
        for (lines, expected) in cases {
            let mut headers = of(CONTENT_LENGTH, lines);
            settle_length(&mut headers);
            let left: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(left, Vec::from_iter(expected), "{lines:?}");
        }
    }
}
