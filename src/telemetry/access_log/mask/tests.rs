//! Tests of `telemetry::access_log::mask`.

use super::*;
use crate::config::{NameSet, Names};

fn some<T: Clone>(names: &[T]) -> NameSet<T> {
    NameSet::Some(names.to_vec())
}

fn url(masks: &Masks, url: &str) -> String {
    let veil = Veil {
        masks,
        escape: Escape::Default,
    };
    let mut out = Vec::new();
    veil.url(&mut out, url.as_bytes());
    String::from_utf8(out).unwrap()
}

#[test]
fn known_secrets_of_urls_are_masked_and_all_else_stays_byte_for_byte() {
    let table = [
        ("/", "/"),
        ("/?", "/?"),
        ("/x?&&a=&=b&c", "/x?&&a=&=b&c"),
        ("/x?sigh=1&Sig=2&signature=3", "/x?sigh=1&Sig=2&signature=3"),
        ("/x?a=1&sig=s3cret&b=2", "/x?a=1&sig=REDACTED&b=2"),
        ("/x?sig", "/x?sig"),
        ("/x?sig=a=b", "/x?sig=REDACTED"),
        ("/x?s%69g=s3cret", "/x?s%69g=REDACTED"),
        (
            "/x?X-Amz-Signature=1&X%2DAmz%2dCredential=2",
            "/x?X-Amz-Signature=REDACTED&X%2DAmz%2dCredential=REDACTED",
        ),
        ("/x?sig%=1&%zz=2&%7", "/x?sig%=1&%zz=2&%7"),
        (
            "http://h/x?Signature=1#f",
            "http://h/x?Signature=REDACTED#f",
        ),
        ("http://u:p@h:1/x@y", "http://REDACTED:REDACTED@h:1/x@y"),
        ("http://u@h", "http://REDACTED@h"),
        ("u:p@h:443", "REDACTED:REDACTED@h:443"),
        ("/a@b:c", "/a@b:c"),
        ("u@h:443", "u@h:443"),
        ("some:text@all", "some:text@all"),
        ("*", "*"),
    ];
    for (written, expected) in table {
        assert_eq!(url(&Masks::default(), written), expected, "{written}");
    }
}

#[test]
fn what_is_dropped_leaves_no_trace_and_an_override_shows_all() {
    let dropping = Masks {
        drop: Names {
            query: some(&["a".to_owned(), "sig".to_owned()]),
            ..Names::default()
        },
        ..Masks::default()
    };
    let all = Masks {
        mask: Names {
            query: NameSet::All,
            ..Names::default()
        },
        ..Masks::default()
    };
    let none = Masks {
        mask: Names::default(),
        drop: Names::default(),
        credentials: false,
    };
    let table = [
        (&dropping, "/x?a=1", "/x"),
        (&dropping, "/x?a=1&b=2&sig=3", "/x?b=2"),
        (&dropping, "/x?b=2&a&c=3#f", "/x?b=2&c=3#f"),
        (&all, "/x?a=1&b", "/x?a=REDACTED&b"),
        (&none, "http://u:p@h/?sig=1", "http://u:p@h/?sig=1"),
    ];
    for (masks, written, expected) in table {
        assert_eq!(url(masks, written), expected, "{written}");
    }
}

#[test]
fn cookies_and_logins_are_masked_as_a_whole_or_by_name() {
    let by_name = Masks {
        mask: Names {
            cookies: some(&["session".to_owned()]),
            ..Names::default()
        },
        drop: Names {
            cookies: some(&["ad".to_owned()]),
            ..Names::default()
        },
        credentials: true,
    };
    let default = Masks::default();
    let header = |masks: &Masks, name: &str, value: &str| {
        let veil = Veil {
            masks,
            escape: Escape::Default,
        };
        let mut out = Vec::new();
        let is_there = veil.header(&mut out, &name.parse().unwrap(), value.as_bytes());
        is_there.then(|| String::from_utf8(out).unwrap())
    };
    let table = [
        (&default, "cookie", "session=1; x=2", "REDACTED"),
        (&default, "authorization", "Bearer x", "REDACTED"),
        (&default, "x-other", "Bearer x", "Bearer x"),
        (
            &by_name,
            "cookie",
            "session=1;x=2; ad=3; y",
            "session=REDACTED; x=2; y",
        ),
        (&by_name, "authorization", "Bearer x", "Bearer x"),
    ];
    for (masks, name, value, expected) in table {
        assert_eq!(
            header(masks, name, value).as_deref(),
            Some(expected),
            "{name}: {value}"
        );
    }
}

#[test]
fn the_user_of_a_login_is_told_and_the_password_never() {
    let masks = Masks::default();
    let user = |header: &str| {
        let mut out = Vec::new();
        let veil = Veil {
            masks: &masks,
            escape: Escape::Default,
        };
        let is_there = veil.user(&mut out, header.as_bytes());
        (is_there, String::from_utf8(out).unwrap())
    };
    let table = [
        ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", (true, "Aladdin")),
        ("basic  YTpi", (true, "a")),
        ("Basic Og==", (true, "")),
        ("Basic QUJD", (false, "")),
        ("Basic !!!!", (false, "")),
        ("Bearer abc", (false, "")),
        ("", (false, "")),
    ];
    for (header, (is_there, expected)) in table {
        assert_eq!(user(header), (is_there, expected.to_owned()), "{header}");
    }
}
