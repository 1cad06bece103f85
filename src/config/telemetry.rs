//! Traces, metrics and the process's own story: whether and where they are exported, which are kept, and
//! what travels with requests.
//!
//! The section `telemetry` of the file and the variables of OpenTelemetry's specification say the
//! same things; the environment wins. Nothing is exported until one of them names an endpoint.

mod endpoint;
mod env;
mod file;
mod files;
mod logs;
mod methods;
mod metrics;
mod show;
mod signal;
mod story;
mod traces;

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use self::env::{Env, Lookup};
pub(super) use self::file::Telemetry as WrittenTelemetry;
pub(super) use self::files::check_files;
pub use self::logs::Logs;
pub use self::metrics::{Exemplars, MetricsPush, Temporality};
pub(super) use self::show::show;
pub use self::signal::Signal;
pub use self::story::{Level, Story};
use self::traces::traces;
use super::Secret;
use super::findings::Findings;

/// What travels with requests, and what is exported about them.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The headers by which a trace is continued; none: nothing is read or set.
    pub propagators: Vec<Propagator>,
    /// Attributes of this service.
    pub resource: Vec<(String, String)>,
    /// Methods that are told by their names; all others are `_OTHER`.
    pub known_methods: Vec<String>,
    /// `None`: nothing is exported.
    pub traces: Option<Traces>,
    /// What the process tells of itself. `None`: it is not exported.
    pub logs: Option<Logs>,
    /// How it tells it on standard error, and as spans.
    pub story: Story,
    /// `None`: they are not pushed.
    pub metrics: Option<MetricsPush>,
    /// Which requests become exemplars of metrics.
    pub exemplars: Exemplars,
    /// The response header that tells the trace id. Default: none.
    pub trace_header: Option<HeaderName>,
    /// Whether answers of our own carry `Proxy-Status`. Default true.
    pub proxy_status: bool,
}

/// One way to say in headers which trace a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagator {
    /// `traceparent` and `tracestate`.
    TraceContext,
    /// `baggage`: passed on, never read.
    Baggage,
    /// `b3`.
    B3,
    /// `X-B3-TraceId` and its like.
    B3Multi,
}

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Where to.
    pub exporter: Exporter,
    /// The decision at the beginning of a request.
    pub sampler: Sampler,
    /// Export what did not end well, whatever was decided. Default true.
    pub sample_errors: bool,
    /// Export what took longer, whatever was decided. Default: none.
    pub slower_than: Option<Duration>,
    /// How spans wait.
    pub queue: ExportQueue,
    /// What a span may hold.
    pub limits: Limits,
}

/// Who takes a signal, and how they are spoken to.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// What they take.
    pub signal: Signal,
    /// Scheme, host and port; over HTTP also the path.
    pub url: Url,
    /// `grpc`, in place of `http/protobuf`.
    pub is_grpc: bool,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
    /// Of one request. Default 10 s.
    pub timeout: Duration,
    /// Compress with gzip.
    pub is_gzip: bool,
    /// PEM file of the authorities to trust; `None`: the system's.
    pub certificate: Option<PathBuf>,
    /// PEM files of our own key and certificate chain.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The decision at the beginning of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The decision that came with the request counts, if there is one.
    pub is_parent_based: bool,
    /// The share of traces that are sampled, 0 to 1.
    pub ratio: f64,
}

/// How spans, or log records, wait to be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportQueue {
    /// How many may wait, in each worker. Default 65 536 spans, 2048 records.
    pub items: usize,
    /// How many in a request. Default 512.
    pub batch: usize,
    /// How long a request that is not full waits for more. Default 5 s for spans, 1 s for records.
    pub delay: Duration,
    /// How long a batch may take with all its repetitions. Default 30 s.
    pub limit: Duration,
}

/// What a span may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attributes of a span. Default 128.
    pub attributes: usize,
    /// Events of a span. Default 128.
    pub events: usize,
    /// Characters of a text in an attribute. Default: no limit.
    pub value_length: Option<usize>,
}

/// What the file and the environment say together.
pub(super) fn resolve(
    written: WrittenTelemetry,
    lookup: Lookup,
    findings: &mut Findings,
) -> Telemetry {
    let mut env = Env { lookup, findings };
    let propagators = propagators(&written, &mut env);
    let trace_header = trace_header(&written, env.findings);
    let proxy_status = written.proxy_status.as_ref().copied().unwrap_or(true);
    let resource = resource(&written, &mut env);
    let is_disabled = env.parse(&["OTEL_SDK_DISABLED"], env::boolean) == Some(true);
    let has_traces = Signal::Traces.is_on(&mut env) && !is_disabled;
    let has_logs = Signal::Logs.is_on(&mut env) && !is_disabled;
    let logs = logs::logs(&written.logs, &mut env);
    let story = story::story(&written, &mut env);
    let has_metrics = Signal::Metrics.is_on(&mut env) && !is_disabled;
    let section = written.metrics.as_ref();
    let exemplars = metrics::exemplars(section.unwrap_or(&Default::default()), &mut env);
    let metrics = metrics::metrics(section.unwrap_or(&Default::default()), &mut env);
    unsupported(&mut env);
    let known_methods = methods::known(&written, &mut env);
    let traces = traces(written, &mut env);
    Telemetry {
        propagators,
        resource,
        known_methods,
        traces: traces.filter(|_| has_traces),
        logs: logs.filter(|_| has_logs),
        story,
        metrics: metrics.filter(|_| has_metrics),
        exemplars,
        trace_header,
        proxy_status,
    }
}

/// Tells of a variable of the specification that would be without effect.
fn unsupported(env: &mut Env<'_>) {
    let name = "OTEL_CONFIG_FILE";
    if env.text(&[name]).is_some() {
        let text = "this file is not read; the section telemetry of config.json says the same";
        env.findings.warning(name, text);
    }
}

/// Later ones win: the file's list, its name, the environment's list, its name.
fn resource(written: &WrittenTelemetry, env: &mut Env<'_>) -> Vec<(String, String)> {
    let mut all = vec![("service.name".to_owned(), "hipache".to_owned())];
    let mut put = |(key, value): (String, String)| {
        all.retain(|(known, _)| *known != key);
        all.push((key, value));
    };
    let named = |name: String| ("service.name".to_owned(), name);
    let listed = written.resource_attributes.as_ref().map(|p| p.0.clone());
    listed.into_iter().flatten().for_each(&mut put);
    let name = written.service_name.as_ref().cloned();
    name.map(named).into_iter().for_each(&mut put);
    let listed = env.parse(&["OTEL_RESOURCE_ATTRIBUTES"], env::pairs);
    listed.into_iter().flatten().for_each(&mut put);
    let name = env.text(&["OTEL_SERVICE_NAME"]).map(|(_, name)| name);
    name.map(named).into_iter().for_each(&mut put);
    all
}

fn propagators(written: &WrittenTelemetry, env: &mut Env<'_>) -> Vec<Propagator> {
    let default = || vec![Propagator::TraceContext, Propagator::Baggage];
    if let Some(list) = env.parse(&["OTEL_PROPAGATORS"], |text| {
        Propagator::list(text.split(','))
    }) {
        return list;
    }
    let Some(names) = written.propagators.as_ref() else {
        return default();
    };
    Propagator::list(names.0.iter().map(String::as_str)).unwrap_or_else(|wrong| {
        env.findings.error("telemetry.propagators", wrong);
        default()
    })
}

impl Propagator {
    /// Each of these names once; `none` adds nothing.
    fn list<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<Self>, String> {
        let mut list = Vec::new();
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            let propagator = match name {
                "none" => continue,
                "tracecontext" => Self::TraceContext,
                "baggage" => Self::Baggage,
                "b3" => Self::B3,
                "b3multi" => Self::B3Multi,
                other => {
                    return Err(format!(
                        "{other:?} is none of tracecontext, baggage, b3, b3multi, none"
                    ));
                }
            };
            if !list.contains(&propagator) {
                list.push(propagator);
            }
        }
        Ok(list)
    }

    /// The name in the configuration.
    fn as_str(self) -> &'static str {
        match self {
            Self::TraceContext => "tracecontext",
            Self::Baggage => "baggage",
            Self::B3 => "b3",
            Self::B3Multi => "b3multi",
        }
    }
}

fn trace_header(written: &WrittenTelemetry, findings: &mut Findings) -> Option<HeaderName> {
    let name = written.trace_header.as_ref()?;
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        let text = format_args!("{name:?} is no name of a header");
        findings.error("telemetry.traceHeader", text);
        return None;
    }
    // Every response gets a copy of it, and those of a name that lives as long as the process cost
    // neither an allocation nor a count.
    Some(HeaderName::from_static(name.to_ascii_lowercase().leak()))
}

#[cfg(test)]
mod tests;
