//! What is exported about requests: sampling, queue, limits.

use std::time::Duration;

use super::super::values::{Count, Seconds};
use super::super::written::Written;
use super::env::{self, Env};
use super::file::Telemetry as WrittenTelemetry;
use super::{ExportQueue, Limits, Sampler, Signal, Traces, endpoint};

/// What is exported; `None` without an endpoint.
pub(super) fn traces(written: WrittenTelemetry, env: &mut Env<'_>) -> Option<Traces> {
    let sampler = sampler(&written, env);
    let queue = queue(&written, env);
    let limits = limits(env);
    let exporter = endpoint::exporter(Signal::Traces, &written.collector, env)?;
    Some(Traces {
        exporter,
        sampler,
        sample_errors: written.sample_errors.right().unwrap_or(true),
        slower_than: written.slower_than.right().and_then(|limit| limit.limit()),
        queue,
        limits,
    })
}

/// Without a word the parent decides, and of what has none every trace is sampled.
fn sampler(written: &WrittenTelemetry, env: &mut Env<'_>) -> Sampler {
    let named = |name: &str| Sampler::named(name).ok_or_else(|| Sampler::EXPECTED.to_owned());
    let ratio = |text: &str| {
        let number = text.parse::<f64>().ok();
        number
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(|| "expected a number from 0 to 1".to_owned())
    };
    let from_env = env.parse(&["OTEL_TRACES_SAMPLER"], named);
    let arg_from_env = env.parse(&["OTEL_TRACES_SAMPLER_ARG"], ratio);
    let from_file = written.sampler.as_ref().and_then(|name| {
        let told = named(name).map_err(|expected| {
            let text = format_args!("{name:?} is no sampler, {expected}");
            env.findings.error("telemetry.sampler", text);
        });
        told.ok()
    });
    let arg = arg_from_env.or(written.sampler_arg.as_ref().map(|share| share.0));
    let chosen = from_env.or(from_file);
    let (is_parent_based, share) = chosen.unwrap_or((true, Some(1.0)));
    Sampler {
        is_parent_based,
        ratio: share.or(arg).unwrap_or(1.0),
    }
}

impl Sampler {
    const EXPECTED: &'static str = "expected always_on, always_off, traceidratio or one of these \
                                    after parentbased_";

    /// Whether the parent counts, and the share where the name says it.
    fn named(name: &str) -> Option<(bool, Option<f64>)> {
        let root = name.strip_prefix("parentbased_");
        let share = match root.unwrap_or(name) {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => None,
            _ => return None,
        };
        Some((root.is_some(), share))
    }
}

fn queue(written: &WrittenTelemetry, env: &mut Env<'_>) -> ExportQueue {
    let written = WrittenQueue {
        items: &written.queue_size,
        batch: &written.batch_size,
        delay: &written.export_delay,
        limit: &written.export_timeout,
    };
    let exports = "OTEL_BSP_MAX_CONCURRENT_EXPORTS";
    let told = env.parse(&[exports], env::count);
    if told.is_some_and(|count| count > 1) {
        let text = "each worker sends one request at a time, as 1 would say";
        env.findings.warning(exports, text);
    }
    written.or("BSP", (65_536, Duration::from_secs(5)), env)
}

/// The keys that say how something waits to be exported.
pub(super) struct WrittenQueue<'a> {
    pub(super) items: &'a Written<Count>,
    pub(super) batch: &'a Written<Count>,
    pub(super) delay: &'a Written<Seconds>,
    pub(super) limit: &'a Written<Seconds>,
}

impl WrittenQueue<'_> {
    /// What the environment says of this processor, or else the file, or else the default for
    /// items and delay.
    pub(super) fn or(
        &self,
        processor: &str,
        (items, delay): (usize, Duration),
        env: &mut Env<'_>,
    ) -> ExportQueue {
        let name = |setting: &str| [format!("OTEL_{processor}_{setting}")];
        let count = |written: &Written<Count>| written.as_ref().map(|c| c.0 as usize);
        let seconds = |written: &Written<Seconds>| written.as_ref().map(|s| s.0);
        let told = env.parse(&name("MAX_QUEUE_SIZE"), env::count);
        let items = told.or(count(self.items)).unwrap_or(items);
        let told = env.parse(&name("MAX_EXPORT_BATCH_SIZE"), env::count);
        let batch = told.or(count(self.batch)).unwrap_or(512);
        let told = env.parse(&name("SCHEDULE_DELAY"), env::milliseconds);
        let delay = told.or(seconds(self.delay)).unwrap_or(delay);
        let told = env.parse(&name("EXPORT_TIMEOUT"), env::milliseconds);
        let limit = told.or(seconds(self.limit));
        ExportQueue {
            items,
            batch: batch.min(items),
            delay,
            limit: limit.unwrap_or(Duration::from_secs(30)),
        }
    }
}

fn limits(env: &mut Env<'_>) -> Limits {
    let attributes = [
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
    ];
    let value = [
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    ];
    let events = ["OTEL_SPAN_EVENT_COUNT_LIMIT"];
    // There is nothing that these could limit, but a mistake in them is one.
    for name in [
        "OTEL_SPAN_LINK_COUNT_LIMIT",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    ] {
        env.parse(&[name], env::whole);
    }
    Limits {
        attributes: env.parse(&attributes, env::whole).unwrap_or(128),
        events: env.parse(&events, env::whole).unwrap_or(128),
        value_length: env.parse(&value, env::whole),
    }
}
