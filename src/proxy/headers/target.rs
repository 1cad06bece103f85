//! Which host a request is for, and which target its backend gets (RFC 9112 §3.2).

use std::borrow::Cow;
use std::fmt;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri};

/// A request with more than one `Host` line: a 400 (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RepeatedHost;

impl fmt::Display for RepeatedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more than one host line, expected one")
    }
}

impl std::error::Error for RepeatedHost {}

/// The host that a request is for, with its port as written, not checked: that of the target where
/// it has one, else that of the `Host` line. `None`: there is neither.
///
/// # Errors
///
/// When there are several `Host` lines, also when the target has a host.
pub(crate) fn host_of<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<Option<&'a [u8]>, RepeatedHost> {
    let mut lines = headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(RepeatedHost);
    }
    // RFC 9112 §3.2.2: with a target in absolute form the Host line is ignored.
    let told = uri.authority().map(|authority| {
        let text = authority.as_str();
        // Credentials in front of the host are no part of it.
        text.rsplit_once('@')
            .map_or(text, |(_, host)| host)
            .as_bytes()
    });
    Ok(told.or_else(|| line.map(HeaderValue::as_bytes)))
}

/// The target that a backend gets: path and query alone (RFC 9112 §3.2.1), or `*`. An authority
/// form, of CONNECT, stays as it is; the caller refuses it before.
pub(crate) fn origin_form(method: &Method, uri: &Uri) -> Uri {
    let Some(target) = uri.path_and_query() else {
        return uri.clone();
    };
    // RFC 9112 §3.2.4: OPTIONS of an absolute form without path and query asks about the server.
    if *method == Method::OPTIONS && has_no_path(uri, target) {
        return Uri::from(PathAndQuery::from_static("*"));
    }
    if target.as_str().starts_with('?') {
        // RFC 9112 §3.2.1: an empty path is sent as `/`.
        let rooted = PathAndQuery::try_from(format!("/{}", target.as_str()).as_str());
        return Uri::from(rooted.unwrap_or_else(|_| PathAndQuery::from_static("/")));
    }
    Uri::from(target.clone())
}

/// The target as it was written. Origin form, the common one, is borrowed.
pub(crate) fn written_target(uri: &Uri) -> Cow<'_, str> {
    let target = uri.path_and_query();
    let path = target.map_or("", PathAndQuery::as_str);
    let Some(authority) = uri.authority() else {
        return Cow::Borrowed(path);
    };
    let scheme = uri.scheme().map_or(String::new(), |s| format!("{s}://"));
    let path = match target {
        Some(target) if has_no_path(uri, target) => "",
        _ => path,
    };
    Cow::Owned(format!("{scheme}{authority}{path}"))
}

/// Whether an absolute form ends with its authority. The `http` crate gives such a target the path
/// `/`, as if it had been written; only a written one lies behind the authority in memory. A copy
/// of the path would look unwritten: the harm is a `*` for a `/` in an OPTIONS of absolute form.
fn has_no_path(uri: &Uri, target: &PathAndQuery) -> bool {
    uri.authority().is_some_and(|authority| {
        target.as_str() == "/"
            && authority.as_str().as_bytes().as_ptr_range().end != target.as_str().as_ptr()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_that_of_the_target_or_of_the_one_line() {
        type Case<'a> = (
            &'a str,
            &'a [&'a str],
            Result<Option<&'a str>, RepeatedHost>,
        );
        let cases: [Case<'_>; 9] = [
            ("/", &["a.test:80"], Ok(Some("a.test:80"))),
            ("/", &[""], Ok(Some(""))),
            ("/", &[], Ok(None)),
            ("*", &["A.test"], Ok(Some("A.test"))),
            ("/", &["a", "a"], Err(RepeatedHost)),
            ("http://b.test:81/x", &["a.test"], Ok(Some("b.test:81"))),
            ("http://u:p@b.test/x", &[], Ok(Some("b.test"))),
            ("http://[::1]:8/", &["a.test"], Ok(Some("[::1]:8"))),
            ("http://b.test/", &["b.test", "b.test"], Err(RepeatedHost)),
        ];
        for (target, lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(HOST, HeaderValue::from_str(line).unwrap());
            }
            let uri = target.parse().unwrap();
            let found = host_of(&uri, &headers);
            assert_eq!(
                found,
                expected.map(|host| host.map(str::as_bytes)),
                "{target}"
            );
        }
    }

    #[test]
    fn backends_get_the_origin_form() {
        let cases = [
            ("GET", "/a?b=c", "/a?b=c"),
            ("GET", "//a/../%2F?", "//a/../%2F?"),
            ("GET", "http://a.test/x/?y", "/x/?y"),
            ("GET", "http://a.test", "/"),
            ("GET", "http://a.test/", "/"),
            ("GET", "http://a.test?y", "/?y"),
            ("OPTIONS", "*", "*"),
            ("OPTIONS", "/", "/"),
            ("OPTIONS", "http://a.test:80", "*"),
            ("OPTIONS", "http://a.test:80/", "/"),
            ("OPTIONS", "http://a.test?y", "/?y"),
            ("OPTIONS", "http://a.test/x", "/x"),
            ("CONNECT", "a.test:443", "a.test:443"),
        ];
        for (method, target, expected) in cases {
            // As hyper makes it: from a slice of what it has read.
            let read = bytes::Bytes::from(format!("{method} {target} HTTP/1.1"));
            let start = method.len() + 1;
            let uri = Uri::from_maybe_shared(read.slice(start..start + target.len())).unwrap();
            let method = method.parse().unwrap();
            assert_eq!(origin_form(&method, &uri), expected, "{method} {target}");
        }
    }
}
