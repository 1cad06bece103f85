//! The section `telemetry` as an operator wrote it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::super::section::section;
use super::super::values::{Count, PathText, Seconds, schema};
use super::super::written::{Read, Written, Wrong};

/// Traces, and the process's own story. The variables `OTEL_*` of OpenTelemetry's specification say the same, and win.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(in super::super) struct Telemetry {
    /// The collector of spans.
    #[serde(flatten)]
    pub(super) collector: Collector,
    /// The process's own story as log records.
    pub(super) logs: Written<Logs>,
    /// Export what took time in the life of the process (start, drain, Redis away) as spans, to the
    /// collector of spans. Default false.
    pub(super) process_spans: Written<bool>,
    /// The process's own story on standard error: `text` or `json`. Default `text`.
    pub(super) stderr: Written<String>,
    /// Name of the service. Default `hipache`.
    pub(super) service_name: Written<String>,
    /// Further attributes of the service.
    pub(super) resource_attributes: Written<Pairs>,
    /// Of `tracecontext`, `baggage`, `b3`, `b3multi`; none: an empty list.
    /// Default `tracecontext` and `baggage`.
    pub(super) propagators: Written<Names>,
    /// `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`.
    /// Default `parentbased_always_on`.
    pub(super) sampler: Written<String>,
    /// The share of traces that `traceidratio` samples, 0 to 1. Default 1.
    pub(super) sampler_arg: Written<Share>,
    /// Export what did not end well even if it was not sampled. Default true.
    pub(super) sample_errors: Written<bool>,
    /// Export what took longer even if it was not sampled; 0 is none. Default 0.
    pub(super) slower_than: Written<Seconds>,
    /// Spans that may wait in each worker. Default 65536.
    pub(super) queue_size: Written<Count>,
    /// Spans in one request to the collector. Default 512.
    pub(super) batch_size: Written<Count>,
    /// How long a request to the collector waits for more spans. Default 5.
    pub(super) export_delay: Written<Seconds>,
    /// How long a batch may take with all repetitions. Default 30.
    pub(super) export_timeout: Written<Seconds>,
    /// Methods that spans and metrics tell by their names, at most 64; others are `_OTHER`.
    pub(super) known_methods: Written<Names>,
    /// Name of a response header that tells the trace id. Default: none.
    pub(super) trace_header: Written<String>,
    /// Whether answers of our own carry `Proxy-Status`. Default true.
    pub(super) proxy_status: Written<bool>,
    /// Metrics, pushed as OTLP.
    pub(super) metrics: Written<Metrics>,
}

/// Metrics, pushed as OTLP; what is said about the collector of spans does not count here.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metrics {
    /// The collector of metrics.
    #[serde(flatten)]
    pub(super) collector: Collector,
    /// From one push to the next, at least 0.1. Default 60.
    pub(super) interval: Written<Seconds>,
    /// How long a push may take with all repetitions. Default 30.
    pub(super) export_timeout: Written<Seconds>,
    /// `cumulative`, `delta` or `lowmemory`. Default `cumulative`.
    pub(super) temporality: Written<String>,
    /// Which requests become exemplars, here and in `/metrics`: `trace_based` those whose trace is
    /// exported, `always_on` all that have one, `always_off` none. Default `trace_based`.
    pub(super) exemplars: Written<String>,
}

/// The process's own story as log records.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(in super::super) struct Logs {
    /// The collector of log records.
    #[serde(flatten)]
    pub(super) collector: Collector,
    /// Records that may wait in each worker. Default 2048.
    pub(super) queue_size: Written<Count>,
    /// Records in one request to the collector. Default 512.
    pub(super) batch_size: Written<Count>,
    /// How long records wait for more. Default 1.
    pub(super) export_delay: Written<Seconds>,
    /// How long a batch may take with all repetitions. Default 30.
    pub(super) export_timeout: Written<Seconds>,
}

/// Where a signal goes, and how it is spoken to.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Collector {
    /// The collector's URL, such as `http://127.0.0.1:4318`. Default: nothing is exported.
    pub(super) endpoint: Written<String>,
    /// `http/protobuf` or `grpc`. Default `http/protobuf`.
    pub(super) protocol: Written<String>,
    /// Headers to send to the collector.
    pub(super) headers: Written<Pairs>,
    /// Of one request to the collector. Default 10.
    pub(super) timeout: Written<Seconds>,
    /// `gzip` or `none`. Default `none`.
    pub(super) compression: Written<String>,
    /// PEM file of the authorities to trust. Default: those of the system.
    pub(super) certificate: Written<PathText>,
    /// PEM file of our key towards the collector.
    pub(super) client_key: Written<PathText>,
    /// PEM file of our certificate chain towards the collector.
    pub(super) client_certificate: Written<PathText>,
}

section!(Telemetry, Metrics, Logs);

/// An object of texts. Not shown in messages: it may hold a token.
#[derive(Clone, Debug)]
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl Read for Pairs {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let wrong = || Wrong("expected an object of texts".to_owned());
        let pairs = json.as_object().ok_or_else(wrong)?.iter();
        let pair = |(key, value): (&String, &Json)| Some((key.clone(), value.as_str()?.to_owned()));
        let pairs: Option<_> = pairs.map(pair).collect();
        pairs.map(Self).ok_or_else(wrong)
    }
}

/// An array of names.
#[derive(Clone, Debug)]
pub(super) struct Names(pub(super) Vec<String>);

impl Read for Names {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let wrong = || Wrong::no(json, "array of names");
        let names = json.as_array().ok_or_else(wrong)?.iter();
        let names: Option<_> = names.map(|name| name.as_str().map(str::to_owned)).collect();
        names.map(Self).ok_or_else(wrong)
    }
}

/// A share, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(pub(super) f64);

impl Read for Share {
    fn read(json: &Json) -> Result<Self, Wrong> {
        let share = json.as_f64().filter(|share| (0.0..=1.0).contains(share));
        share
            .map(Self)
            .ok_or_else(|| Wrong::no(json, "number from 0 to 1"))
    }
}

schema!(Pairs, "Pairs", { "type": "object", "additionalProperties": { "type": "string" } });
schema!(Names, "Names", { "type": "array", "items": { "type": "string" } });
schema!(Share, "Share", { "type": "number", "minimum": 0, "maximum": 1 });
