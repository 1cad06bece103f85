//! The checker must be able to fail: bad samples, and what it has to say about each.

use super::{Source, check_file, check_map, parse_map};

const MAP: &str = "\
| layer | module | is responsible for | public face | may use |
| --- | --- | --- | --- | --- |
| 0 | `vhost` | nouns | `Host` | – |
| 0 | `sys` | system calls | `fork` | – |
| 1 | `route` | routes | `Router` | vhost |
| 2 | `worker` | serving | `run` | layers 0–1 |
| 3 | `cli`, `main` | the way in | – | vhost, worker |
";

fn source(path: &str, code: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: format!("//! One job.\n{code}\n"),
    }
}

/// A file for each row, so that only the last one can be wrong.
fn problems_of(path: &str, code: &str) -> Vec<String> {
    let mut sources: Vec<Source> = ["cli", "main", "route", "sys", "vhost", "worker"]
        .iter()
        .map(|name| source(&format!("src/{name}.rs"), ""))
        .collect();
    sources.push(source(path, code));
    check_map(&parse_map(MAP), &sources)
}

#[test]
fn names_a_use_that_the_row_does_not_name() {
    let cases = [
        (
            "src/route.rs",
            "use crate::sys::fork;",
            "src/route.rs:2: `route` may not use `sys`",
        ),
        (
            "src/route/redis.rs",
            "\nfn f() { crate::worker::run(); }",
            "src/route/redis.rs:3: `route` may not use `worker`",
        ),
        (
            "src/vhost.rs",
            "use crate::{vhost::Host, worker::{run, Exit}};",
            "src/vhost.rs:2: `vhost` may not use `worker`",
        ),
        (
            "src/route/mod.rs",
            "use super::sys;",
            "src/route/mod.rs:2: `route` may not use `sys`",
        ),
        (
            "src/route/file.rs",
            "use super::super::sys;",
            "src/route/file.rs:2: `route` may not use `sys`",
        ),
        (
            "src/main.rs",
            "fn main() { hipache::sys::fork() }",
            "src/main.rs:2: `main` may not use `sys`",
        ),
        (
            "src/new.rs",
            "",
            "src/new.rs:1: module `new` has no row in the map",
        ),
        (
            "src/sys.rs",
            "const QUOTE: char = '\"'; use crate::route::X; // \"",
            "src/sys.rs:2: `sys` may not use `route`",
        ),
        (
            "src/sys.rs",
            "#[cfg(test)] mod tests;\nuse crate::route::X;",
            "src/sys.rs:3: `sys` may not use `route`",
        ),
    ];
    for (path, code, expected) in cases {
        assert_eq!(problems_of(path, code), [expected], "{path}: {code}");
    }
}

#[test]
fn says_nothing_about_what_is_allowed() {
    let cases = [
        ("src/route.rs", "use crate::vhost::Host;"),
        (
            "src/route/redis.rs",
            "use super::lookup; use crate::route::Route;",
        ),
        ("src/worker.rs", "use crate::{route, sys, vhost};"),
        ("src/main.rs", "fn main() { hipache::cli::run() }"),
        (
            "src/sys.rs",
            "// use crate::route::X;\n/* crate::route::X */",
        ),
        (
            "src/sys.rs",
            "const A: &str = \"crate::route\"; const B: &str = r#\"crate::\"route\"#;",
        ),
        (
            "src/sys.rs",
            "#[cfg(test)]\nmod tests { use crate::route::X; fn f<A, B>() {} }",
        ),
        ("src/sys/tests.rs", "use crate::route::X;"),
        (
            "src/sys.rs",
            "pub(crate) fn f<'a>(x: &'a str) -> crate::Unknown {}",
        ),
    ];
    for (path, code) in cases {
        assert_eq!(problems_of(path, code), [""; 0], "{path}: {code}");
    }
}

#[test]
fn names_what_is_wrong_with_the_map() {
    let cases = [
        (
            "| 1 | `a` | . | . | b |\n| 1 | `b` | . | . | – |",
            "may use `b`, which is no row above it",
        ),
        (
            "| 1 | `a` | . | . | a |",
            "may use `a`, which is no row above it",
        ),
        (
            "| 2 | `a` | . | . | – |\n| 1 | `b` | . | . | – |",
            "`b` stands below a higher layer",
        ),
        (
            "| 1 | `gone` | . | . | – |",
            "the map has `gone`, src/ has not",
        ),
    ];
    for (map, expected) in cases {
        let sources = [source("src/a.rs", ""), source("src/b.rs", "")];
        let problems = check_map(&parse_map(map), &sources).join("\n");
        assert!(problems.contains(expected), "{map}\ngave: {problems}");
    }
}

#[test]
fn counts_lines_with_and_without_tests() {
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(150));
    let cases = [
        (source("src/a.rs", &"\n".repeat(298)), ""),
        (
            source("src/a.rs", &"\n".repeat(299)),
            "301 lines without tests",
        ),
        (source("src/a.rs", &("\n".repeat(297) + &tests)), ""),
        (
            source("src/a.rs", &("\n".repeat(400) + &tests)),
            "a.rs:500: 555 lines",
        ),
        (source("tests/a.rs", &"\n".repeat(400)), ""),
        (
            Source {
                path: "src/a.rs".to_owned(),
                text: "fn f() {}".to_owned(),
            },
            "opens without `//!`",
        ),
    ];
    for (source, expected) in cases {
        let problems = check_file(&source).join("\n");
        assert_eq!(problems.is_empty(), expected.is_empty(), "{problems}");
        assert!(
            problems.contains(expected),
            "expected {expected}, got {problems}"
        );
    }
}
