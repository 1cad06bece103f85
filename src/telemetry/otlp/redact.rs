//! The parts of a target, and the secrets in its query.

use std::borrow::Cow;

/// Keys whose values are replaced, as the HTTP conventions want it; case counts.
const SECRETS: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Goog-Signature",
    "sig",
];

/// Path and query of a target in any of its forms (RFC 9112 §3.2).
pub(super) fn split(target: &str) -> (&str, Option<&str>) {
    let relative = match scheme(target) {
        // Absolute form, unless the colon belongs to a path or a query.
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]
        }
        _ => target,
    };
    match relative.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (relative, None),
    }
}

/// The scheme of a URL and what follows it; the first colon ends it.
pub(super) fn scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

/// A query without the values that nobody may see.
pub(super) fn query(query: &str) -> Cow<'_, str> {
    let is_secret = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(key, _)| SECRETS.contains(&key))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if SECRETS.contains(&key) => Cow::Owned(format!("{key}=REDACTED")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_every_form_have_a_path_and_perhaps_a_query() {
        let cases = [
            ("/", ("/", None)),
            ("/a?b=1?2", ("/a", Some("b=1?2"))),
            ("/?", ("/", Some(""))),
            ("/r?to=http://x/y", ("/r", Some("to=http://x/y"))),
            ("http://a.test/b?c", ("/b", Some("c"))),
            ("http://u:p@a.test", ("", None)),
            ("http://a.test?c", ("", Some("c"))),
            ("*", ("*", None)),
            ("a.test:443", ("a.test:443", None)),
        ];
        for (target, expected) in cases {
            assert_eq!(split(target), expected, "{target}");
        }
    }

    #[test]
    fn secrets_are_replaced_and_their_keys_stay() {
        let cases = [
            ("a=1&b", "a=1&b"),
            ("sig=x", "sig=REDACTED"),
            ("a=1&Signature=s=t&sig", "a=1&Signature=REDACTED&sig"),
            ("SIG=x&signature=y", "SIG=x&signature=y"),
            (
                "X-Amz-Signature=&x=%26sig=1",
                "X-Amz-Signature=REDACTED&x=%26sig=1",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(query(text), expected);
        }
    }
}
