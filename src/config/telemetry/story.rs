//! How the process tells its own story where it is: on standard error, and as spans if asked.

use super::env::Env;
use super::file::Telemetry as Written;

/// How the process tells its own story.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// How much, where `OTEL_LOG_LEVEL` says it. Default: as `server.debug` says.
    pub level: Option<Level>,
    /// One JSON object a line, in place of text. Default false.
    pub is_json: bool,
    /// Whether what took time is exported as a span, too. Default false.
    pub has_spans: bool,
}

/// How much is told: this and all that is louder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Off,
    /// What an operator must see to.
    Error,
    /// What went wrong by itself.
    Warn,
    /// What happened.
    Info,
    /// What a developer looks for.
    Debug,
}

pub(super) fn story(written: &Written, env: &mut Env<'_>) -> Story {
    let is_json = written.stderr.as_ref().is_some_and(|format| {
        let is_known = matches!(format.as_str(), "text" | "json");
        if !is_known {
            let text = format_args!("{format:?} is neither text nor json");
            env.findings.error("telemetry.stderr", text);
        }
        format == "json"
    });
    Story {
        level: env.parse(&["OTEL_LOG_LEVEL"], Level::named),
        is_json,
        has_spans: written.process_spans.as_ref().copied().unwrap_or(false),
    }
}

impl Level {
    fn named(name: &str) -> Result<Self, String> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "none" | "off" => Self::Off,
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" | "all" => Self::Debug,
            _ => {
                return Err(format!(
                    "{name:?} is none of none, error, warn, info, debug"
                ));
            }
        })
    }
}
