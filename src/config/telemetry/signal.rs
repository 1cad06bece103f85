//! The kinds of telemetry that are exported on their own, and the names that each goes by.
//!
//! All that differs between them where they are configured stands here.

use super::env::Env;

/// A kind of telemetry that is exported on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans of requests.
    Traces,
    /// What `/metrics` shows.
    Metrics,
    /// What the process tells of itself.
    Logs,
}

impl Signal {
    /// The word in variables.
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }

    /// Its section of the file.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Traces => "telemetry",
            Self::Metrics => "telemetry.metrics",
            Self::Logs => "telemetry.logs",
        }
    }

    /// A key of its section.
    pub(super) fn key(self, key: &str) -> String {
        format!("{}.{key}", self.section())
    }

    /// Where the specification wants it, below an endpoint that all signals share.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Logs => "v1/logs",
        }
    }

    /// The variables of one setting of its exporter: its own, which counts first, and the shared
    /// one.
    pub(super) fn variables(self, setting: &str) -> [String; 2] {
        [
            format!("OTEL_EXPORTER_OTLP_{}_{setting}", self.word()),
            format!("OTEL_EXPORTER_OTLP_{setting}"),
        ]
    }

    /// Whether the environment lets it be exported.
    pub(super) fn is_on(self, env: &mut Env<'_>) -> bool {
        let name = format!("OTEL_{}_EXPORTER", self.word());
        let Some((name, text)) = env.text(&[name]) else {
            return true;
        };
        let instead = match (text.as_str(), self) {
            ("otlp", _) => return true,
            ("none", _) => return false,
            ("prometheus", Self::Metrics) => {
                "nothing is pushed; for Prometheus set `admin.bind`, which serves /metrics"
            }
            ("console", Self::Metrics) => {
                "nothing is pushed; for people `admin.bind` serves /metrics and /status"
            }
            ("console", Self::Logs) => {
                "the process tells its story on standard error as it is (telemetry.stderr); \
                 nothing is exported"
            }
            _ => {
                env.findings.error(name, "expected otlp or none");
                return false;
            }
        };
        env.findings.warning(name, instead);
        false
    }
}
