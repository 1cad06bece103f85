//! The files in `config/`: the schema is that of the code, and the samples are good.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::Origin;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

#[test]
fn shipped_schema_is_that_of_the_code() {
    let path = shipped("schema.json");
    let expected = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "config/schema.json is old: run the tests with UPDATE_SCHEMA=1"
    );
}

#[test]
fn samples_are_free_of_problems_except_what_they_show() {
    let old_keys = [
        "server.port",
        "server.address",
        "redisHost",
        "redisPort",
        "redisDatabase",
        "redisMasterHost",
        "redisMasterPort",
    ];
    let table: [(&str, &[&str]); 4] = [
        ("config.json", &[]),
        ("config_dev.json", &[]),
        ("config_file.json", &[]),
        ("config_0.3.json", &old_keys),
    ];
    for (name, expected) in table {
        let mut findings = Findings::default();
        let text = std::fs::read_to_string(shipped(name)).unwrap();
        let origin = Origin::File(shipped(name));
        assert!(origin.load_text(text, &mut findings).is_some(), "{name}");
        assert!(!findings.has_errors(), "{name}: {findings:?}");
        let told: Vec<_> = findings
            .iter()
            .map(|finding| finding.path.as_str())
            .collect();
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn every_key_is_explained_in_the_readme() {
    let readme = std::fs::read_to_string(shipped("README.md")).unwrap();
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
    for key in paths(&schema()).iter().filter_map(|path| last(path)) {
        assert!(
            readme.contains(&format!("`{key}`")) || readme.contains(&format!(".{key}`")),
            "{key}"
        );
    }
}

#[test]
fn schema_allows_unknown_keys_and_null() {
    let schema = schema();
    assert_eq!(schema.get("additionalProperties"), None);
    let workers = &schema["properties"]["server"]["properties"]["workers"];
    assert_eq!(
        workers["type"],
        serde_json::json!(["integer", "null"]),
        "{workers}"
    );
    assert_eq!(workers.get("default"), None);
}
