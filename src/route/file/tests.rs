//! What a file may say, and what happens when it changes.

use super::*;
use crate::route::Route;

/// The table of a file, as `host=vhost|url|url` lines.
fn shown(text: &str) -> Result<Vec<String>, String> {
    let lists = parse(text.as_bytes()).map_err(|error| error.to_string())?;
    make_table(&lists).map_err(|error| error.to_string())?;
    let lines = lists.into_iter();
    Ok(lines
        .map(|(host, list)| format!("{host}={}", list.join("|")))
        .collect())
}

#[test]
fn a_file_maps_hosts_to_backends() {
    let cases: [(&str, &[&str]); 7] = [
        ("{}", &[]),
        (r#"{"a.test": "http://a"}"#, &["a.test=a.test|http://a"]),
        (
            r#"{"a.test": ["http://a", "http://b"]}"#,
            &["a.test=a.test|http://a|http://b"],
        ),
        (r#"{"a.test": ["id", "http://a"]}"#, &["a.test=id|http://a"]),
        (
            r#"{"a.test": ["id"], "b.test": []}"#,
            &["a.test=id", "b.test="],
        ),
        (
            r#"{"*.test": "http://a", "*": ["x://"]}"#,
            &["*.test=*.test|http://a", "*=*|x://"],
        ),
        // Only the first element can be the identifier; later ones are backends, valid or not.
        (
            r#"{"a.test": ["http://a", "nonsense"]}"#,
            &["a.test=a.test|http://a|nonsense"],
        ),
    ];
    for (text, expected) in cases {
        let found = shown(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let cases = [
        ("", "not JSON"),
        ("{", "not JSON"),
        (r#"{"a.test": "http://a"} x"#, "not JSON"),
        ("[]", "expected an object"),
        ("null", "expected an object"),
        (
            r#"{"a.test": 1}"#,
            r#""a.test": expected a URL or an array of texts"#,
        ),
        (
            r#"{"a.test": ["id", 1]}"#,
            r#""a.test": expected a URL or an array of texts"#,
        ),
        (
            r#"{"a.test": null}"#,
            r#""a.test": expected a URL or an array of texts"#,
        ),
        (r#"{"a b": "http://a"}"#, r#""a b": not a host"#),
        (
            r#"{"a.test": "http://a", "A.test": "http://a"}"#,
            r#""A.test": given twice"#,
        ),
    ];
    for (text, expected) in cases {
        let error = shown(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// A file of its own, removed when the test is over.
struct Routes(PathBuf);

impl Routes {
    fn new() -> Self {
        let unique = format!(
            "hipache-routes-{}-{:x}",
            std::process::id(),
            fastrand::u64(..)
        );
        Self(std::env::temp_dir().join(unique))
    }

    fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    fn replace(&self, text: &str) {
        let beside = self.0.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, &self.0).unwrap();
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::LocalRuntime::new().unwrap().block_on(test);
}

fn resolve(store: &FileStore, name: &str) -> Result<Route, RouteError> {
    match store.lookup(&Host::parse(name.as_bytes()).unwrap(), &Cell::default()) {
        Lookup::Ready(answer) => answer,
        Lookup::Pending(_) => panic!("a table does not wait"),
    }
}

fn vhost(store: &FileStore, name: &str) -> String {
    match resolve(store, name) {
        Ok(route) => route.frontend.vhost.to_string(),
        Err(RouteError::NotFound) => "not found".to_owned(),
        Err(RouteError::Unavailable { cause }) => format!("unavailable: {cause}"),
    }
}

async fn becomes(store: &FileStore, expected: &str) {
    let start = tokio::time::Instant::now();
    while vhost(store, "a.test") != expected {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "never {expected}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_changed_file_is_reread_and_a_bad_one_changes_nothing() {
    run(async {
        let file = Routes::new();
        file.write(r#"{"a.test": ["one", "http://a", "http://b"]}"#);
        let store = FileStore::start(file.0.clone(), Duration::from_secs(30));
        assert_eq!(vhost(&store, "a.test"), "one");
        assert_eq!(resolve(&store, "a.test").unwrap().source, Source::File);
        file.write(r#"{"a.test": ["two", "http://a", "http://b"]}"#);
        becomes(&store, "two").await;
        for bad in ["{", "[]", ""] {
            file.write(bad);
            tokio::time::sleep(POLL + Duration::from_millis(150)).await;
            assert_eq!(vhost(&store, "a.test"), "two", "{bad:?}");
        }
        fs::remove_file(&file.0).unwrap();
        tokio::time::sleep(POLL + Duration::from_millis(150)).await;
        assert_eq!(vhost(&store, "a.test"), "two", "missing");
        file.replace(r#"{"a.test": ["three", "http://b", "http://a"]}"#);
        becomes(&store, "three").await;
        file.replace("{}");
        becomes(&store, "not found").await;
    });
}

#[test]
fn marks_follow_the_url_through_a_changed_file() {
    run(async {
        let file = Routes::new();
        file.write(r#"{"a.test": ["one", "http://a", "http://b"]}"#);
        let store = FileStore::start(file.0.clone(), Duration::from_secs(30));
        let route = resolve(&store, "a.test").unwrap();
        let suspect = Suspect {
            id: 1,
            backend: route.frontend.backend(1).unwrap(),
            length: 2,
        };
        let host = Host::parse(b"a.test").unwrap();
        assert_eq!(store.mark_dead(&host, &suspect), Marked::Dead);
        assert!(resolve(&store, "a.test").unwrap().dead.contains(1));
        file.replace(r#"{"a.test": ["two", "http://b", "http://c"]}"#);
        becomes(&store, "two").await;
        let dead = resolve(&store, "a.test").unwrap().dead;
        assert!(dead.contains(0) && !dead.contains(1));
    });
}

#[test]
fn without_any_good_file_the_cause_is_told_until_there_is_one() {
    run(async {
        let file = Routes::new();
        let store = FileStore::start(file.0.clone(), Duration::from_secs(30));
        let said = vhost(&store, "a.test");
        assert!(
            said.starts_with("unavailable: ") && said.contains("No such file"),
            "{said}"
        );
        file.write("[]");
        let wrong = "expected an object that maps hosts to backends";
        becomes(
            &store,
            &format!("unavailable: {}: {wrong}", file.0.display()),
        )
        .await;
        file.write(r#"{"a.test": "http://a"}"#);
        becomes(&store, "a.test").await;
    });
}

#[test]
fn large_files_are_taken_in_without_stopping_others() {
    run(async {
        let file = Routes::new();
        file.write("{}");
        let store = FileStore::start(file.0.clone(), Duration::from_secs(30));
        let hosts =
            (0..20_000).map(|n| format!(r#""h{n}.test": ["id", "http://10.0.0.1:{}"]"#, n + 1));
        let hosts: Vec<String> = hosts.collect();
        file.replace(&format!(r#"{{"a.test": "http://a", {}}}"#, hosts.join(",")));
        let (mut longest, mut last) = (Duration::ZERO, tokio::time::Instant::now());
        while vhost(&store, "a.test") == "not found" {
            tokio::time::sleep(Duration::from_millis(1)).await;
            longest = longest.max(last.elapsed());
            last = tokio::time::Instant::now();
        }
        println!("longest pause {longest:?}");
        assert!(longest < Duration::from_millis(250), "{longest:?}");
        assert_eq!(vhost(&store, "h19999.test"), "id");
    });
}
