//! File and environment as one, as tables.

use serde_json::json;

use super::super::load::parse;
use super::super::resolve::Surroundings;
use super::super::{Config, check, show};
use super::*;

fn around(env: Lookup) -> Surroundings {
    Surroundings {
        is_root: false,
        cores: 1,
        memory: None,
        env,
    }
}

fn load(file: &serde_json::Value, env: Lookup) -> (Config, Vec<String>) {
    let mut findings = Findings::default();
    let text = json!({ "telemetry": file }).to_string();
    let config = parse(text.as_bytes(), around(env), &mut findings).unwrap();
    (config, findings.iter().map(ToString::to_string).collect())
}

#[test]
fn nothing_is_exported_until_an_endpoint_is_given() {
    let at = "http://c:4318";
    let cases: [(serde_json::Value, Lookup, Option<&str>); 11] = [
        (json!({}), |_| None, None),
        (json!({ "sampler": "always_on" }), |_| None, None),
        (
            json!({ "endpoint": at }),
            |_| None,
            Some("http://c:4318/v1/traces"),
        ),
        (
            json!({ "endpoint": "http://c/x" }),
            |_| None,
            Some("http://c/x"),
        ),
        (
            json!({ "endpoint": at }),
            |_| Some(String::new()),
            Some("http://c:4318/v1/traces"),
        ),
        (
            json!({ "endpoint": at, "protocol": "grpc" }),
            |_| None,
            Some("http://c:4318/"),
        ),
        (
            json!({ "endpoint": "c:4317", "protocol": "grpc" }),
            |_| None,
            Some("https://c:4317/"),
        ),
        (
            json!({ "endpoint": at }),
            |name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://e/b/".into()),
            Some("http://e/b/v1/traces"),
        ),
        (
            json!({}),
            |name| (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| "http://e/b".into()),
            Some("http://e/b"),
        ),
        (
            json!({ "endpoint": at }),
            |name| (name == "OTEL_SDK_DISABLED").then(|| "TRUE".into()),
            None,
        ),
        (
            json!({ "endpoint": at }),
            |name| (name == "OTEL_TRACES_EXPORTER").then(|| "none".into()),
            None,
        ),
    ];
    for (at, (file, env, expected)) in cases.into_iter().enumerate() {
        let (config, told) = load(&file, env);
        assert!(told.is_empty(), "case {at}: {told:?}");
        let url = config
            .telemetry
            .traces
            .map(|traces| traces.exporter.url.to_string());
        assert_eq!(url.as_deref(), expected, "case {at}");
    }
}

#[test]
fn metrics_are_pushed_where_an_endpoint_of_theirs_is_given() {
    let at = "http://m:4318";
    let cases: [(serde_json::Value, Lookup, Option<&str>); 8] = [
        (json!({ "endpoint": at }), |_| None, None),
        (
            json!({ "metrics": { "endpoint": at } }),
            |_| None,
            Some("http://m:4318/v1/metrics"),
        ),
        (
            json!({ "metrics": { "endpoint": at } }),
            |name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://e/b/".into()),
            Some("http://e/b/v1/metrics"),
        ),
        (
            json!({}),
            |name| (name == "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").then(|| "http://e/b".into()),
            Some("http://e/b"),
        ),
        (
            json!({}),
            |name| (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| "http://e/b".into()),
            None,
        ),
        (
            json!({ "metrics": { "endpoint": at } }),
            |name| (name == "OTEL_SDK_DISABLED").then(|| "true".into()),
            None,
        ),
        (
            json!({ "metrics": { "endpoint": at } }),
            |name| (name == "OTEL_METRICS_EXPORTER").then(|| "none".into()),
            None,
        ),
        (
            json!({ "metrics": { "endpoint": "m:4317", "protocol": "grpc" } }),
            |name| (name == "OTEL_EXPORTER_OTLP_METRICS_INSECURE").then(|| "true".into()),
            Some("http://m:4317/"),
        ),
    ];
    for (at, (file, env, expected)) in cases.into_iter().enumerate() {
        let (config, told) = load(&file, env);
        assert!(told.is_empty(), "case {at}: {told:?}");
        let url = config.telemetry.metrics.map(|push| push.exporter.url);
        let url = url.map(|url| url.to_string());
        assert_eq!(url.as_deref(), expected, "case {at}");
    }
}

#[test]
fn exporters_that_need_no_push_are_warned_about() {
    for (env, hint) in [
        (
            (|name| (name == "OTEL_METRICS_EXPORTER").then(|| "prometheus".into())) as Lookup,
            "admin.bind",
        ),
        (
            |name| (name == "OTEL_METRICS_EXPORTER").then(|| "console".into()),
            "/status",
        ),
    ] {
        let (config, told) = load(&json!({ "metrics": { "endpoint": "http://m" } }), env);
        assert!(config.telemetry.metrics.is_none());
        assert!(
            matches!(&told[..], [one] if one.starts_with("OTEL_METRICS_EXPORTER: nothing is pushed") && one.contains(hint)),
            "{told:?}"
        );
    }
}

#[test]
fn the_environment_decides_how_metrics_are_pushed() {
    let env: Lookup = |name| {
        let value = match name {
            "OTEL_METRIC_EXPORT_INTERVAL" => "250",
            "OTEL_METRIC_EXPORT_TIMEOUT" => "100",
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE" => "LowMemory",
            "OTEL_METRICS_EXEMPLAR_FILTER" => "always_on",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let file =
        json!({ "metrics": { "endpoint": "http://m", "interval": 9, "temporality": "delta" } });
    let (config, told) = load(&file, env);
    assert!(told.is_empty(), "{told:?}");
    let push = config.telemetry.metrics.unwrap();
    let ms = Duration::from_millis;
    assert_eq!((push.interval, push.limit), (ms(250), ms(100)));
    assert_eq!(push.temporality, Temporality::LowMemory);
    assert_eq!(config.telemetry.exemplars, Exemplars::AlwaysOn);
}

#[test]
fn samplers_are_named_as_in_the_specification() {
    let cases = [
        (json!({}), (true, 1.0)),
        (json!({ "sampler": "always_off" }), (false, 0.0)),
        (
            json!({ "sampler": "always_on", "samplerArg": 0.5 }),
            (false, 1.0),
        ),
        (
            json!({ "sampler": "traceidratio", "samplerArg": 0.5 }),
            (false, 0.5),
        ),
        (json!({ "sampler": "traceidratio" }), (false, 1.0)),
        (json!({ "sampler": "parentbased_always_off" }), (true, 0.0)),
        (
            json!({ "sampler": "parentbased_traceidratio", "samplerArg": 0.1 }),
            (true, 0.1),
        ),
    ];
    for (mut file, (is_parent_based, ratio)) in cases {
        file["endpoint"] = json!("http://c");
        let (config, told) = load(&file, |_| None);
        assert!(told.is_empty(), "{told:?}");
        let expected = Sampler {
            is_parent_based,
            ratio,
        };
        assert_eq!(config.telemetry.traces.unwrap().sampler, expected, "{file}");
    }
}

#[test]
fn mistakes_in_the_environment_are_told_with_their_variable() {
    let wrong: Lookup = |name| name.starts_with("OTEL_").then(|| "?".to_owned());
    let (config, told) = load(&json!({}), wrong);
    assert!(config.telemetry.traces.is_none());
    for name in [
        "OTEL_PROPAGATORS",
        "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS",
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_EXPORTER",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "OTEL_BSP_EXPORT_TIMEOUT",
        "OTEL_BSP_MAX_CONCURRENT_EXPORTS",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "OTEL_METRICS_EXPORTER",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    ] {
        let prefix = format!("{name}: ");
        assert!(
            told.iter().any(|text| text.starts_with(&prefix)),
            "{name}: {told:?}"
        );
    }
}

#[test]
fn variables_without_an_effect_are_told_and_prevent_nothing() {
    let set: Lookup = |name| match name {
        "OTEL_CONFIG_FILE" => Some("/etc/otel.yaml".to_owned()),
        "OTEL_BSP_MAX_CONCURRENT_EXPORTS" => Some("2".to_owned()),
        // These are met: there is nothing that they limit.
        "OTEL_SPAN_LINK_COUNT_LIMIT" => Some("1".to_owned()),
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT" => Some("0".to_owned()),
        _ => None,
    };
    let (config, told) = load(&json!({ "endpoint": "http://c" }), set);
    assert!(config.telemetry.traces.is_some());
    let mut names: Vec<_> = told
        .iter()
        .filter_map(|text| text.split(':').next())
        .collect();
    names.sort_unstable();
    let expected = ["OTEL_BSP_MAX_CONCURRENT_EXPORTS", "OTEL_CONFIG_FILE"];
    assert_eq!(names, expected, "{told:?}");
    let one: Lookup = |name| (name == "OTEL_BSP_MAX_CONCURRENT_EXPORTS").then(|| "1".to_owned());
    assert!(load(&json!({}), one).1.is_empty());
}

/// Each of these sections has one problem, at this path, and it is told without a secret.
#[track_caller]
fn assert_told(cases: &[(serde_json::Value, &str)]) {
    for (file, path) in cases {
        let (_, told) = load(file, |_| None);
        assert!(
            matches!(&told[..], [one] if one.starts_with(*path)),
            "{file}: {told:?}"
        );
        assert!(!told[0].contains("secret"), "{told:?}");
    }
}

#[test]
fn mistakes_in_how_metrics_are_pushed_are_told_at_their_own_keys() {
    assert_told(&[
        (
            json!({ "metrics": { "interval": 0.05 } }),
            "telemetry.metrics.interval",
        ),
        (
            json!({ "metrics": { "temporality": "sum" } }),
            "telemetry.metrics.temporality",
        ),
        (
            json!({ "metrics": { "exemplars": "some" } }),
            "telemetry.metrics.exemplars",
        ),
        (
            json!({ "metrics": { "endpoint": "http://u:secret@m" } }),
            "telemetry.metrics.endpoint",
        ),
        (
            json!({ "metrics": { "endpoint": "http://m", "clientCertificate": "c" } }),
            "telemetry.metrics.clientKey",
        ),
    ]);
}

#[test]
fn mistakes_in_the_file_are_told_without_their_secrets() {
    let cases = [
        (json!({ "endpoint": "c:4318" }), "telemetry.endpoint"),
        (
            json!({ "endpoint": "http://u:secret@c" }),
            "telemetry.endpoint",
        ),
        (
            json!({ "endpoint": "http://c", "protocol": "json" }),
            "telemetry.protocol",
        ),
        (
            json!({ "endpoint": "http://c", "compression": "zstd" }),
            "telemetry.compression",
        ),
        (
            json!({ "endpoint": "http://c", "headers": { "a b": "secret" } }),
            "telemetry.headers",
        ),
        (
            json!({ "endpoint": "http://c", "clientKey": "k" }),
            "telemetry.clientCertificate",
        ),
        (json!({ "sampler": "often" }), "telemetry.sampler"),
        (json!({ "samplerArg": 2 }), "telemetry.samplerArg"),
        (json!({ "propagators": ["w3c"] }), "telemetry.propagators"),
        (json!({ "traceHeader": "a b" }), "telemetry.traceHeader"),
        (json!({ "knownMethods": ["A B"] }), "telemetry.knownMethods"),
        (
            json!({ "knownMethods": vec!["A"; 65] }),
            "telemetry.knownMethods",
        ),
        (json!({ "queueSize": 0 }), "telemetry.queueSize"),
        (
            json!({ "resourceAttributes": { "a": 1 } }),
            "telemetry.resourceAttributes",
        ),
    ];
    assert_told(&cases);
}

#[test]
fn what_is_shown_is_read_again_as_the_same() {
    let file = json!({
        "endpoint": "https://c:4318", "compression": "gzip", "headers": { "x-key": "k" },
        "certificate": "/ca.pem", "clientKey": "/k.pem", "clientCertificate": "/c.pem",
        "serviceName": "s", "resourceAttributes": { "a": "b" }, "propagators": ["b3multi"],
        "sampler": "parentbased_traceidratio", "samplerArg": 0.25, "slowerThan": 1.5,
        "sampleErrors": false, "traceHeader": "x-trace", "proxyStatus": false,
        "metrics": { "endpoint": "http://m", "interval": 5, "temporality": "delta",
                     "exemplars": "always_off", "headers": { "x-key": "m" } },
    });
    let (config, told) = load(&file, |_| None);
    assert!(told.is_empty(), "{told:?}");
    let shown = show(&config, &|_| String::new())["telemetry"].clone();
    let (again, told) = load(&shown, |_| None);
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(show(&again, &|_| String::new())["telemetry"], shown);
    let exporter = &config.telemetry.traces.unwrap().exporter;
    assert_eq!(exporter.headers[0].1.0, "k");
    assert_eq!(shown["headers"]["x-key"], "********");
}

#[test]
fn certificate_files_that_are_of_no_use_are_errors() {
    let file = json!({
        "endpoint": "https://c", "certificate": "/nonexistent", "clientKey": "/dev/null",
        "clientCertificate": "/dev/null",
    });
    let (config, _) = load(&file, |_| None);
    let mut findings = Findings::default();
    check(&config, &mut findings);
    let told: Vec<_> = findings
        .iter()
        .map(|finding| finding.path.as_str())
        .collect();
    for path in ["certificate", "clientCertificate", "clientKey"] {
        let path = format!("telemetry.{path}");
        assert!(told.contains(&path.as_str()), "{path}: {told:?}");
    }
}

#[test]
fn records_have_an_endpoint_and_a_queue_of_their_own() {
    let cases: [(serde_json::Value, Lookup, Option<&str>); 7] = [
        (json!({ "endpoint": "http://c" }), |_| None, None),
        (
            json!({ "logs": { "endpoint": "http://c:4318" } }),
            |_| None,
            Some("http://c:4318/v1/logs"),
        ),
        (
            json!({ "logs": { "endpoint": "http://c" } }),
            |name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://e/b/".into()),
            Some("http://e/b/v1/logs"),
        ),
        (
            json!({}),
            |name| (name == "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT").then(|| "http://e/b".into()),
            Some("http://e/b"),
        ),
        (
            json!({ "logs": { "endpoint": "http://c" } }),
            |name| (name == "OTEL_LOGS_EXPORTER").then(|| "none".into()),
            None,
        ),
        (
            json!({ "logs": { "endpoint": "http://c" } }),
            |name| (name == "OTEL_TRACES_EXPORTER").then(|| "none".into()),
            Some("http://c/v1/logs"),
        ),
        (
            json!({ "logs": { "endpoint": "http://c" } }),
            |name| (name == "OTEL_SDK_DISABLED").then(|| "true".into()),
            None,
        ),
    ];
    for (at, (file, env, expected)) in cases.into_iter().enumerate() {
        let (config, told) = load(&file, env);
        assert!(told.is_empty(), "case {at}: {told:?}");
        let url = config.telemetry.logs.map(|logs| logs.exporter.url);
        assert_eq!(url.as_ref().map(Url::as_str), expected, "case {at}");
    }
    let (config, _) = load(
        &json!({ "logs": { "endpoint": "http://c", "queueSize": 9, "exportDelay": 3 } }),
        |name| (name == "OTEL_BLRP_SCHEDULE_DELAY").then(|| "20".into()),
    );
    let queue = config.telemetry.logs.unwrap().queue;
    assert_eq!((queue.items, queue.batch), (9, 9));
    assert_eq!(queue.delay, Duration::from_millis(20));
}

#[test]
fn how_the_story_is_told_is_checked() {
    let cases: [(serde_json::Value, Lookup, &str); 5] = [
        (
            json!({ "stderr": "json", "processSpans": true }),
            |_| None,
            "",
        ),
        (
            json!({ "stderr": "yaml" }),
            |_| None,
            "telemetry.stderr: \"yaml\" is neither text nor json",
        ),
        (
            json!({}),
            |name| (name == "OTEL_LOG_LEVEL").then(|| "loud".into()),
            "OTEL_LOG_LEVEL: \"loud\" is none of none, error, warn, info, debug",
        ),
        (
            json!({ "logs": { "endpoint": "http://c", "queueSize": 0 } }),
            |_| None,
            "telemetry.logs.queueSize: ",
        ),
        (
            json!({ "logs": { "endpoint": "http://c" } }),
            |name| (name == "OTEL_LOGS_EXPORTER").then(|| "console".into()),
            "OTEL_LOGS_EXPORTER: the process tells its story on standard error",
        ),
    ];
    for (file, env, expected) in cases {
        let (config, told) = load(&file, env);
        match expected {
            "" => assert!(
                told.is_empty() && config.telemetry.story.is_json,
                "{told:?}"
            ),
            _ => assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}"),
        }
    }
    let (config, _) = load(&json!({}), |name| {
        (name == "OTEL_LOG_LEVEL").then(|| "WARN".into())
    });
    assert_eq!(config.telemetry.story.level, Some(Level::Warn));
}
