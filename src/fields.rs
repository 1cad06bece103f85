//! Header fields: the members of lists, and lines that many requests have in common. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that many requests have in common, in the two forms that requests are sent in.
#[derive(Debug)]
pub(crate) struct Fields {
    fields: Vec<(HeaderName, HeaderValue)>,
    /// As lines of HTTP/1.
    text: Vec<u8>,
}

impl Fields {
    /// These.
    pub(crate) fn new(fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut text = Vec::new();
        for (name, value) in &fields {
            append_field(&mut text, name, value);
        }
        Self { fields, text }
    }

    /// Adds those that are not there.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }

    /// As lines of HTTP/1.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Writes a field as a line of HTTP/1 (RFC 9112 §5).
pub(crate) fn append_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The members of a list (RFC 9110 §5.6.1): separated by commas, empty ones ignored.
pub(crate) fn members(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = value.as_bytes().split(|&byte| byte == b',');
    members
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lines_or_are_added_to_others() {
        let field = |name, value| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        let fields = Fields::new(vec![field("x-a", "1"), field("x-b", "2")]);
        assert_eq!(fields.text(), b"x-a: 1\r\nx-b: 2\r\n");
        let mut headers = HeaderMap::from_iter([field("x-b", "told"), field("x-c", "3")]);
        fields.add_to(&mut headers);
        let names = ["x-a", "x-b", "x-c"].map(|name| headers[name].to_str().unwrap());
        assert_eq!(names, ["1", "told", "3"]);
        assert_eq!(headers.len(), 3);
    }
}
