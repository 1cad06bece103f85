//! How metrics are pushed: how often, in which form; and what becomes an exemplar.

use std::time::Duration;

use super::env::{self, Env};
use super::file::Metrics as Written;
use super::{Exporter, Signal, endpoint};

/// The shortest interval: a push reads every cell there is.
const SHORTEST: Duration = Duration::from_millis(100);

/// How metrics are pushed.
#[derive(Clone, Debug)]
pub struct MetricsPush {
    /// Where to.
    pub exporter: Exporter,
    /// From one push to the next. Default 60 s.
    pub interval: Duration,
    /// How long a push may take with all its repetitions. Default 30 s.
    pub limit: Duration,
    /// Since when values are counted.
    pub temporality: Temporality,
}

/// Since when the values of a push are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporality {
    /// Since the start of the proxy.
    Cumulative,
    /// Since the last push, for all but what goes up and down.
    Delta,
    /// Since the last push for histograms only.
    LowMemory,
}

/// Which requests become exemplars of their duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemplars {
    /// None.
    AlwaysOff,
    /// Those whose trace is exported.
    TraceBased,
    /// All that have a span.
    AlwaysOn,
}

/// How metrics are pushed; `None` without an endpoint.
pub(super) fn metrics(written: &Written, env: &mut Env<'_>) -> Option<MetricsPush> {
    let interval = env.parse(&["OTEL_METRIC_EXPORT_INTERVAL"], |text| {
        at_least_shortest(env::milliseconds(text)?)
    });
    let from_file = written.interval.as_ref().and_then(|seconds| {
        let key = Signal::Metrics.key("interval");
        let checked = at_least_shortest(seconds.0);
        checked.map_err(|wrong| env.findings.error(key, wrong)).ok()
    });
    let interval = interval.or(from_file).unwrap_or(Duration::from_secs(60));
    let limit = env.parse(&["OTEL_METRIC_EXPORT_TIMEOUT"], env::milliseconds);
    let limit = limit.or(written.export_timeout.as_ref().map(|seconds| seconds.0));
    let name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let told = (Signal::Metrics.key("temporality"), &written.temporality);
    let temporality = env.choose(&[name], told, Temporality::named);
    Some(MetricsPush {
        exporter: endpoint::exporter(Signal::Metrics, &written.collector, env)?,
        interval,
        limit: limit.unwrap_or(Duration::from_secs(30)),
        temporality: temporality.unwrap_or(Temporality::Cumulative),
    })
}

/// What becomes an exemplar, in `/metrics` as well as in what is pushed.
pub(super) fn exemplars(written: &Written, env: &mut Env<'_>) -> Exemplars {
    let told = (Signal::Metrics.key("exemplars"), &written.exemplars);
    let chosen = env.choose(&["OTEL_METRICS_EXEMPLAR_FILTER"], told, Exemplars::named);
    chosen.unwrap_or(Exemplars::TraceBased)
}

fn at_least_shortest(interval: Duration) -> Result<Duration, String> {
    let wrong = || format!("{interval:?} is too short, at least {SHORTEST:?} is needed");
    (interval >= SHORTEST).then_some(interval).ok_or_else(wrong)
}

impl Temporality {
    /// In any case, as the specification wants it.
    fn named(name: &str) -> Result<Self, String> {
        let all = [Self::Cumulative, Self::Delta, Self::LowMemory];
        let is_it = |known: &Self| known.as_str().eq_ignore_ascii_case(name);
        let found = all.into_iter().find(is_it);
        found.ok_or_else(|| format!("{name:?} is none of cumulative, delta, lowmemory"))
    }

    /// The name in the configuration.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Cumulative => "cumulative",
            Self::Delta => "delta",
            Self::LowMemory => "lowmemory",
        }
    }
}

impl Exemplars {
    fn named(name: &str) -> Result<Self, String> {
        let all = [Self::AlwaysOff, Self::TraceBased, Self::AlwaysOn];
        let found = all.into_iter().find(|known| known.as_str() == name);
        found.ok_or_else(|| format!("{name:?} is none of always_off, trace_based, always_on"))
    }

    /// The name in the configuration.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AlwaysOff => "always_off",
            Self::TraceBased => "trace_based",
            Self::AlwaysOn => "always_on",
        }
    }
}
