//! The telemetry in force, as a section of a configuration file.

use serde_json::{Map, Value as Json, json};

use super::super::MASK;
use super::super::show::seconds;
use super::{Exporter, Logs, Telemetry, Traces};

/// The section; environment and file as one.
pub(in super::super) fn show(telemetry: &Telemetry) -> Json {
    let propagators = telemetry.propagators.iter().map(|p| p.as_str());
    let mut shown = json!({
        "propagators": propagators.collect::<Vec<_>>(),
        "traceHeader": telemetry.trace_header.as_ref().map(ToString::to_string),
        "proxyStatus": telemetry.proxy_status,
        "knownMethods": telemetry.known_methods,
        "resourceAttributes": pairs(&telemetry.resource),
        "stderr": if telemetry.story.is_json { "json" } else { "text" },
        "processSpans": telemetry.story.has_spans,
        "logs": telemetry.logs.as_ref().map(show_logs),
    });
    shown["metrics"] = metrics(telemetry);
    if let (Some(traces), Json::Object(shown)) = (&telemetry.traces, &mut shown) {
        show_traces(traces, shown);
    }
    shown
}

fn show_traces(traces: &Traces, shown: &mut Map<String, Json>) {
    shown.extend(collector(&traces.exporter));
    let root = match traces.sampler.is_parent_based {
        true => "parentbased_traceidratio",
        false => "traceidratio",
    };
    let more = json!({
        "sampler": root,
        "samplerArg": traces.sampler.ratio,
        "sampleErrors": traces.sample_errors,
        "slowerThan": seconds(traces.slower_than.unwrap_or_default()),
        "queueSize": traces.queue.items,
        "batchSize": traces.queue.batch,
        "exportDelay": seconds(traces.queue.delay),
        "exportTimeout": seconds(traces.queue.limit),
    });
    if let Json::Object(more) = more {
        shown.extend(more);
    }
}

fn show_logs(logs: &Logs) -> Map<String, Json> {
    let queue = logs.queue;
    let mut shown = collector(&logs.exporter);
    shown.insert("queueSize".into(), queue.items.into());
    shown.insert("batchSize".into(), queue.batch.into());
    shown.insert("exportDelay".into(), seconds(queue.delay));
    shown.insert("exportTimeout".into(), seconds(queue.limit));
    shown
}

fn metrics(telemetry: &Telemetry) -> Json {
    let mut shown = Map::new();
    if let Some(push) = &telemetry.metrics {
        shown = collector(&push.exporter);
        shown.insert("interval".into(), seconds(push.interval));
        shown.insert("exportTimeout".into(), seconds(push.limit));
        shown.insert("temporality".into(), push.temporality.as_str().into());
    }
    shown.insert("exemplars".into(), telemetry.exemplars.as_str().into());
    shown.into()
}

/// Where a signal goes.
fn collector(exporter: &Exporter) -> Map<String, Json> {
    let headers = exporter.headers.iter();
    let headers: Map<_, _> = headers
        .map(|(name, _)| (name.clone(), json!(MASK)))
        .collect();
    let (key, certificate) = exporter.client.clone().unzip();
    let shown = json!({
        "endpoint": exporter.url.as_str(),
        "protocol": if exporter.is_grpc { "grpc" } else { "http/protobuf" },
        "headers": headers,
        "timeout": seconds(exporter.timeout),
        "compression": if exporter.is_gzip { "gzip" } else { "none" },
        "certificate": exporter.certificate,
        "clientKey": key,
        "clientCertificate": certificate,
    });
    match shown {
        Json::Object(shown) => shown,
        _ => Map::new(),
    }
}

fn pairs(pairs: &[(String, String)]) -> Json {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect::<Map<_, _>>()
        .into()
}
