//! Tables of backend URLs.

use std::collections::HashSet;

use super::*;

#[test]
fn urls_are_parsed_to_scheme_host_and_port() {
    // What was written, and scheme, host, port and URL of it.
    let cases = [
        "http://10.0.0.7:8080 => http 10.0.0.7 8080 http://10.0.0.7:8080/",
        "http://10.0.0.7:8080/ => http 10.0.0.7 8080 http://10.0.0.7:8080/",
        "http://a.test => http a.test 80 http://a.test/",
        "http://a.test:80 => http a.test 80 http://a.test:80/",
        "http://a.test: => http a.test 80 http://a.test/",
        "http://a.test:0 => http a.test 80 http://a.test:0/",
        "https://a.test => https a.test 443 https://a.test/",
        "https://a.test:0 => https a.test 443 https://a.test:0/",
        "https://a.test:8443/x => https a.test 8443 https://a.test:8443/",
        "HTTP://A.Test:81 => http a.test 81 http://a.test:81/",
        " \thttp://a.test:81 \n => http a.test 81 http://a.test:81/",
        "http://user:p@ss@a.test:81/p?q#f => http a.test 81 http://a.test:81/",
        "http://a.test?x=http://b => http a.test 80 http://a.test/",
        "http://a.test#@b => http a.test 80 http://a.test/",
        "http://a.test\\@b => http a.test 80 http://a.test/",
        "http://[::1]:81/x => http [::1] 81 http://[::1]:81/",
        "http://[::1] => http [::1] 80 http://[::1]/",
        "http://[2001:DB8:0::1] => http [2001:db8::1] 80 http://[2001:db8::1]/",
        "http://some_name:3000 => http some_name 3000 http://some_name:3000/",
        "http://a.test. => http a.test. 80 http://a.test./",
        "http://127.1:80 => http 127.0.0.1 80 http://127.0.0.1:80/",
        "http://bücher.test => http xn--bcher-kva.test 80 http://xn--bcher-kva.test/",
    ];
    for case in cases {
        let (text, expected) = case.split_once(" => ").unwrap();
        let backend = Backend::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let Backend {
            scheme,
            host,
            port,
            url,
        } = &backend;
        let found = format!("{} {host} {port} {url}", scheme.as_str());
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn what_is_no_backend_is_refused() {
    let long = format!("http://{}", "a.".repeat(200));
    let cases = [
        "",
        " ",
        "nonsense",
        "a.test:80",
        "10.0.0.1:80",
        "//a.test",
        "ftp://a.test",
        "http://",
        "http:///",
        "http://:80",
        "http:a.test",
        "http:/a.test",
        "http://a.test:65536",
        "http://a.test:x",
        "http://a.test:-1",
        "http://a.test:80:90",
        "http://a b",
        "http://a..b",
        "http://[::1",
        "http://[::1]80",
        "http://[::1]:x",
        "http://[]",
        "http://*",
        "http://a;b",
        "http://[fe80::1%eth0]",
        "://a",
        "http://a\tb",
        "http://%00",
        &long,
    ];
    for text in cases {
        assert!(Backend::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn identity_is_scheme_host_and_port() {
    let parse = |text| Backend::parse(text).unwrap();
    let same = [
        "http://a.test",
        "http://a.test:80/",
        "http://A.TEST:0/x",
        "http://u@a.test",
    ];
    let set: HashSet<Backend> = same.into_iter().map(parse).collect();
    assert_eq!(set.len(), 1);
    for other in ["https://a.test:80", "http://a.test:81", "http://b.test"] {
        assert!(!set.contains(&parse(other)), "{other}");
    }
}
