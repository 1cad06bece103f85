//! Prometheus itself: what it scrapes, and what it thinks of the rules (Debian: `prometheus`).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::admin::builder;
use crate::harness::{Backend, Client, Directory, Redis, eventually, free_port, text};

/// The files that operators run with.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/otel");

/// Runs promtool, where it is installed; what it does not like fails the test.
fn promtool(arguments: &[&str]) {
    let ran = Command::new("promtool")
        .args(arguments)
        .current_dir(FILES)
        .output();
    let Ok(output) = ran else {
        eprintln!("promtool is not installed, its checks are left out");
        return;
    };
    let said = text(&[output.stdout, output.stderr].concat());
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[test]
fn promtool_takes_configuration_and_rules_and_each_alert_fires_in_time() {
    for arguments in [
        &["check", "config", "prometheus.yml"],
        &["check", "rules", "rules.yml"],
        &["test", "rules", "rules_test.yml"],
    ] {
        promtool(arguments);
    }
}

#[test]
fn each_alert_has_a_test() {
    let read = |name: &str| std::fs::read_to_string(format!("{FILES}/{name}")).unwrap();
    let (rules, tests) = (read("rules.yml"), read("rules_test.yml"));
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let fires = format!("exp_samples: [{{ labels: '{{alertname=\"{alert}\"}}', value: 1 }}]");
        assert!(tests.contains(&fires), "{alert}");
    }
}

/// A Prometheus with the configuration of `otel/` that scrapes every second.
struct Prometheus {
    child: Child,
    port: u16,
    _directory: Directory,
}

impl Prometheus {
    /// One that scrapes this admin port; `None` where it is not installed.
    fn start(target: &str) -> Option<Self> {
        let directory = Directory::fresh();
        let read = |name: &str| std::fs::read_to_string(Path::new(FILES).join(name)).unwrap();
        let every_second = read("prometheus.yml")
            .replace("interval: 5s", "interval: 1s")
            .replace("timeout: 4s", "timeout: 1s");
        let config = directory.write("prometheus.yml", every_second);
        directory.write("rules.yml", read("rules.yml"));
        let targets = format!("[{{\"targets\": [\"{target}\"]}}]");
        directory.write("targets/hipache.json", targets);
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            eprintln!("prometheus is not installed, its scrape is left out");
            return None;
        };
        Some(Self {
            child,
            port,
            _directory: directory,
        })
    }

    /// The value of a query that has one sample.
    fn query(&self, query: &str) -> Option<f64> {
        let mut client = Client::try_connect(([127, 0, 0, 1], self.port).into()).ok()?;
        client.get("prometheus", &format!("/api/v1/query?query={query}"));
        let answer: Value = serde_json::from_slice(&client.try_response("GET").ok()?.body).ok()?;
        let sample = &answer["data"]["result"][0]["value"][1];
        sample.as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn prometheus_scrapes_the_admin_port() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = builder(&redis).start();
    let Some(prometheus) = Prometheus::start(&hipache.admin().to_string()) else {
        return;
    };
    for _ in 0..5 {
        hipache.exchange("a.test", "/x");
    }
    let limit = Duration::from_secs(60);
    for (query, expected) in [
        ("hipache_exchanges_total{end=\"ok\"}", 5.0),
        ("http_server_request_duration_seconds_count", 5.0),
        ("up{job=\"hipache\"}", 1.0),
    ] {
        let encoded = query
            .replace('{', "%7B")
            .replace('}', "%7D")
            .replace('"', "%22");
        eventually(query, limit, || {
            prometheus
                .query(&encoded)
                .filter(|value| *value == expected)
        });
    }
}
