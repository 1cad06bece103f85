//! The command line: checks, configuration files, versions, samples.

use std::process::Output;

use serde_json::{Value, json};

use crate::harness::{
    Authority, Directory, Hipache, binary, current_user, is_root, run_to_end, text,
};

/// A directory with this configuration as `config.json`; the log goes beside it.
fn written(config: &Value) -> Directory {
    let directory = Directory::fresh();
    directory.write("config.json", config.to_string());
    directory
}

fn dry(directory: &Directory, more: &[&str]) -> Output {
    let arguments = [&["-c", "config.json", "--dry"], more].concat();
    run_to_end(directory.path(), &arguments, &[])
}

/// Everything that was told.
fn told(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn the_version_and_the_help_are_told() {
    let directory = Directory::fresh();
    for flag in ["-V", "--version"] {
        let output = run_to_end(directory.path(), &[flag], &[]);
        assert!(output.status.success());
        assert_eq!(
            text(&output.stdout).trim(),
            format!("hipache {}", env!("CARGO_PKG_VERSION"))
        );
    }
    for flag in ["-h", "--help"] {
        let output = run_to_end(directory.path(), &[flag], &[]);
        assert!(output.status.success());
        for option in ["--config", "--dry", "--strict", "--listen", "--route"] {
            assert!(text(&output.stdout).contains(option), "{option}");
        }
    }
    let output = run_to_end(directory.path(), &["--no-such-flag"], &[]);
    assert!(!output.status.success());
}

#[test]
fn a_dry_run_of_a_good_file_prints_what_is_in_force_without_secrets_and_starts_nothing() {
    let authority = Authority::new();
    let identity = authority.issue(&["a.test"]);
    let directory = Directory::fresh();
    directory.write("key.pem", identity.key());
    directory.write("cert.pem", identity.certificate());
    let config = json!({
        "server": { "workers": 7, "accessLog": directory.join("access.log"), "tcpTimeout": 11 },
        "http": { "port": 0, "bind": ["127.0.0.1"] },
        "https": {
            "port": 0, "bind": ["127.0.0.1"],
            "key": directory.join("key.pem"), "cert": directory.join("cert.pem"),
            "passphrase": "hunter2",
        },
        "driver": ["redis://:hunter2@127.0.0.1:1/2#pre:", "rediss://user:hunter2@127.0.0.1:2"],
        "user": current_user(),
    });
    directory.write("config.json", config.to_string());
    let output = dry(&directory, &["--strict"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let shown = text(&output.stdout);
    let shown: Value = serde_json::from_str(&shown)
        .unwrap_or_else(|error| panic!("no JSON on standard output: {error}: {shown}"));
    assert_eq!(shown["server"]["workers"], json!(7), "{shown:#}");
    assert_eq!(
        shown["server"]["deadBackendTTL"].as_f64(),
        Some(30.0),
        "defaults are shown"
    );
    let all = told(&output);
    assert!(
        !all.contains("hunter2") && !all.contains("PRIVATE KEY"),
        "{all}"
    );
}

#[test]
fn secrets_of_old_keys_and_of_wrong_values_are_not_told_either() {
    let directory = Directory::fresh();
    let log = directory.join("access.log");
    for (more, is_good) in [
        (
            json!({ "redisHost": "127.0.0.1", "redisPassword": "hunter2" }),
            true,
        ),
        (
            json!({ "server": { "redisMasterPassword": "hunter2", "accessLog": log } }),
            true,
        ),
        (
            json!({ "driver": "redis://:hunter2@127.0.0.1:99999" }),
            false,
        ),
        (json!({ "driver": "redis://:hunter2@[::1" }), false),
        (json!({ "driver": { "password": "hunter2" } }), false),
        (json!({ "redisPassword": ["hunter2"] }), false),
        (
            json!({ "https": { "bind": ["127.0.0.1"], "passphrase": ["hunter2"] } }),
            false,
        ),
    ] {
        let mut config = json!({
            "server": { "accessLog": log }, "http": { "port": 0 }, "user": current_user(),
        });
        let config = config.as_object_mut().unwrap();
        config.extend(more.as_object().unwrap().clone());
        directory.write("config.json", json!(config).to_string());
        for arguments in [&["--strict"][..], &[]] {
            let output = dry(&directory, arguments);
            let all = told(&output);
            assert!(!all.contains("hunter2"), "{more}: {all}");
            let is_strict = !arguments.is_empty();
            assert_eq!(
                output.status.success(),
                is_good && !is_strict,
                "{more}: {all}"
            );
        }
    }
}

#[test]
fn a_dry_run_of_a_bad_file_tells_all_problems_at_once() {
    let directory = written(&json!({
        "server": {
            "workers": "two",
            "tcpTimeout": -1,
            "maxSockets": 0,
            "accessLog": "/no/such/directory/access.log",
            "staticDir": "/no/such/pages",
        },
        "http": { "port": 70000, "bind": ["no address"] },
        "https": { "bind": ["127.0.0.1"], "key": "/no/such/key.pem", "cert": "/no/such/cert.pem" },
        "driver": "gopher://127.0.0.1",
        "user": "no-such-user-here",
        "group": "no-such-group-here",
    }));
    let output = dry(&directory, &[]);
    assert!(!output.status.success());
    let all = told(&output);
    for problem in [
        "server.workers",
        "server.tcpTimeout",
        "server.maxSockets",
        "server.accessLog",
        "http.port",
        "http.bind",
        "driver",
        "70000",
        "server.staticDir",
        "/no/such/key.pem",
        "/no/such/cert.pem",
    ] {
        assert!(all.contains(problem), "{problem} in {all}");
    }
    if is_root() {
        // They count for root only: nobody else can become anyone.
        assert!(
            all.contains("no-such-user-here") && all.contains("no-such-group-here"),
            "{all}"
        );
    }
    assert!(!all.contains("panicked"), "{all}");
    // The same at a start.
    let output = run_to_end(directory.path(), &["-c", "config.json"], &[]);
    assert!(!output.status.success());
    assert!(
        told(&output).contains("server.workers"),
        "{}",
        told(&output)
    );
}

#[test]
fn what_only_a_look_at_the_system_can_tell_is_checked_by_a_dry_run() {
    let authority = Authority::new();
    let (one, two) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let directory = Directory::fresh();
    directory.write("key.pem", two.key());
    directory.write("cert.pem", one.certificate());
    directory.write("swapped.pem", one.key());
    let log = directory.join("access.log");
    let https = |key: &str, cert: &str| json!({ "bind": ["127.0.0.1"], "port": 0, "key": directory.join(key), "cert": directory.join(cert) });
    let cases = [
        (json!({ "https": https("key.pem", "cert.pem") }), "https"),
        (
            json!({ "https": https("cert.pem", "swapped.pem") }),
            "https",
        ),
        (
            json!({ "https": https("missing.pem", "cert.pem") }),
            "missing.pem",
        ),
        (
            json!({ "server": { "accessLog": "/proc/nowhere/access.log" } }),
            "server.accessLog",
        ),
        (
            json!({ "driver": "file:/no/such/routes.json" }),
            "/no/such/routes.json",
        ),
    ];
    for (config, problem) in cases {
        let mut config = config;
        config["user"] = json!(current_user());
        if config["server"].is_null() {
            config["server"] = json!({ "accessLog": log });
        }
        directory.write("config.json", config.to_string());
        let output = dry(&directory, &[]);
        assert!(!output.status.success(), "{config}");
        assert!(
            told(&output).contains(problem),
            "{problem} in {}",
            told(&output)
        );
    }
}

#[test]
fn unknown_keys_are_named_with_what_was_meant_and_stop_only_a_strict_check() {
    let directory = Directory::fresh();
    let config = json!({
        "server": { "accessLog": directory.join("access.log"), "tcpTimeuot": 5 },
        "http": { "port": 0 },
        "drivr": "redis:",
        "user": current_user(),
    });
    directory.write("config.json", config.to_string());
    let output = dry(&directory, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    for word in [
        "tcpTimeuot",
        "tcpTimeout",
        "drivr",
        "driver",
        "did you mean",
    ] {
        assert!(
            text(&output.stderr).contains(word),
            "{word} in {}",
            told(&output)
        );
    }
    let output = dry(&directory, &["--strict"]);
    assert!(!output.status.success());
    // And at a start, which goes on.
    let started = Hipache::builder()
        .set(&json!({ "server": { "tcpTimeuot": 5 } }))
        .start();
    let named = started.stderr().join("\n");
    assert!(
        named.contains("tcpTimeuot") && named.contains("tcpTimeout"),
        "{named}"
    );
}

#[test]
fn old_keys_are_honoured_with_a_warning() {
    let starter = Hipache::builder();
    let old = json!({ "http": null, "server": { "port": 0, "address": ["127.0.0.1"] } });
    let hipache = starter.set(&old).start();
    assert!(hipache.address().ip().is_loopback());
    let named = hipache.stderr().join("\n");
    for word in [
        "server.port",
        "http.port",
        "server.address",
        "http.bind",
        "deprecated",
    ] {
        assert!(named.contains(word), "{word} in {named}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_clear_error() {
    let directory = Directory::fresh();
    directory.write(
        "broken.json",
        "{\n  \"server\": {\n    \"workers\": 1,,\n  }\n}",
    );
    directory.write("text.json", "\"text\"");
    directory.write("list.json", "[]");
    let cases = [
        ("missing.json", "missing.json"),
        ("broken.json", "line 3"),
        ("text.json", "text.json"),
        ("list.json", "list.json"),
    ];
    for (file, problem) in cases {
        for more in [&["--dry"][..], &[][..]] {
            let arguments = [&["-c", file], more].concat();
            let output = run_to_end(directory.path(), &arguments, &[]);
            assert!(!output.status.success(), "{file}");
            let all = told(&output);
            assert!(
                all.contains(problem) && !all.contains("panicked"),
                "{file}: {all}"
            );
        }
    }
}

#[test]
fn settings_flavor_chooses_the_file_in_the_working_directory() {
    let directory = Directory::fresh();
    for (name, workers) in [("config", 3), ("config_test", 4)] {
        let log = directory.join("access.log");
        let config = json!({
            "server": { "workers": workers, "accessLog": log },
            "http": { "port": 0 },
            "user": current_user(),
        });
        directory.write(&format!("config/{name}.json"), config.to_string());
    }
    for (env, workers) in [(vec![], 3), (vec![("SETTINGS_FLAVOR", "test")], 4)] {
        let output = run_to_end(directory.path(), &["--dry"], &env);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["server"]["workers"], json!(workers));
    }
    let output = run_to_end(
        directory.path(),
        &["--dry"],
        &[("SETTINGS_FLAVOR", "missing")],
    );
    assert!(!output.status.success());
    assert!(
        told(&output).contains("config_missing.json"),
        "{}",
        told(&output)
    );
}

#[test]
fn every_sample_in_config_starts() {
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut started = 0;
    for file in std::fs::read_dir(&samples).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("config") || path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let sample: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let starter = Hipache::builder();
        // A `file:` driver of a sample names a file beside it, from the working directory.
        std::os::unix::fs::symlink(&samples, starter.directory().join("config")).unwrap();
        let ours = json!({
            "server": { "accessLog": starter.directory().join("access.log"), "port": null },
            "http": { "port": 0, "bind": "127.0.0.1" },
            "https": null,
            "user": current_user(),
            "group": null,
        });
        let hipache = starter
            .set(&json!({ "driver": null }))
            .set(&sample)
            .set(&ours)
            .start();
        let mut client = hipache.client();
        client.get("__ping__", "/");
        assert_eq!(client.response().text(), "ok", "{name}");
        let named = hipache.stderr().join("\n");
        // The one in the old spelling is there to show that old files work.
        let is_old = name == "config_0.3.json";
        assert!(!named.contains("did you mean"), "{name}: {named}");
        assert_eq!(named.contains("deprecated"), is_old, "{name}: {named}");
        started += 1;
    }
    assert!(started >= 2, "samples in {}", samples.display());
    assert!(std::path::Path::new(binary()).exists());
}

#[test]
fn routes_of_the_command_line_are_checked() {
    let directory = Directory::fresh();
    for arguments in [
        &["--route", "no backend"][..],
        &["--route", "a.test=nonsense"],
        &["--listen", "nowhere", "--route", "*=http://127.0.0.1:1"],
        &["--route", "*=http://127.0.0.1:1", "--config", "config.json"],
    ] {
        let output = run_to_end(directory.path(), arguments, &[]);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            !told(&output).contains("panicked"),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}
