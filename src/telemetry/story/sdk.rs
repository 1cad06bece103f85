//! The SDK, as far as it is used: it makes records and spans, and links them.
//!
//! Its processors are ours: what they are given is encoded at once, with the official messages, and
//! put into a lane. So it starts no thread, and nothing of it ever waits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger, LoggerProvider, Severity as Number};
use opentelemetry::trace::{Span as _, SpanContext, Tracer, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanProcessor};
use prost::Message;

use super::lane::Lane;
use super::told::{Severity, Told, Value};

/// Whose records and spans they are.
const SCOPE: &str = "hipache";

/// What makes records and spans.
pub(super) struct Sdk {
    logger: Option<SdkLogger>,
    tracer: Option<SdkTracer>,
}

impl Sdk {
    /// One that puts what it makes into these lanes.
    pub(super) fn new(logs: Option<Arc<Lane>>, spans: Option<Arc<Lane>>) -> Self {
        // Who sends them stands in the envelope.
        let nobody = || Resource::builder_empty().build();
        let logger = logs.map(|lane| {
            let builder = SdkLoggerProvider::builder().with_resource(nobody());
            let provider = builder.with_log_processor(ToLane(lane)).build();
            provider.logger(SCOPE)
        });
        let tracer = spans.map(|lane| {
            let builder = SdkTracerProvider::builder().with_resource(nobody());
            // The sampler of the environment is for requests.
            let builder = builder.with_sampler(Sampler::AlwaysOn);
            let provider = builder.with_span_processor(ToLane(lane)).build();
            provider.tracer(SCOPE)
        });
        Self { logger, tracer }
    }

    /// What makes spans, if they are exported.
    pub(super) fn tracer(&self) -> Option<SdkTracer> {
        self.tracer.clone()
    }

    /// Makes a record of an event, and a span of what it ended.
    pub(super) fn take(&self, told: &Told) {
        let span = self.span_of(told);
        let Some(logger) = &self.logger else { return };
        let mut record = logger.create_log_record();
        record.set_timestamp(told.time);
        record.set_severity_text(told.severity.as_str());
        record.set_severity_number(match told.severity {
            Severity::Trace => Number::Trace,
            Severity::Debug => Number::Debug,
            Severity::Info => Number::Info,
            Severity::Warn => Number::Warn,
            Severity::Error => Number::Error,
        });
        record.set_body(AnyValue::from(told.text.clone()));
        if let Some(name) = &told.name {
            record.set_event_name(lasting(name));
        }
        record.add_attribute("process.pid", i64::from(told.process));
        for (key, value) in &told.fields {
            record.add_attribute(key_of(key), any(value));
        }
        if let Some(span) = span {
            record.set_trace_context(span.trace_id(), span.span_id(), Some(span.trace_flags()));
        }
        logger.emit(record);
    }

    /// The span of what this event ended.
    fn span_of(&self, told: &Told) -> Option<SpanContext> {
        let tracer = self.tracer.as_ref()?;
        let (name, seconds) = told.ended()?;
        let lasted = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let began = told
            .time
            .checked_sub(lasted)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let fields = told.fields.iter();
        let attributes = fields.map(|(key, value)| KeyValue::new(key_of(key), plain(value)));
        let builder = tracer
            .span_builder(name.to_owned())
            .with_start_time(began)
            .with_attributes(attributes);
        let mut span = tracer.build_with_context(builder, &Context::current());
        span.end_with_timestamp(told.time);
        Some(span.span_context().clone())
    }
}

/// Puts into a lane what the SDK made.
#[derive(Debug)]
struct ToLane(Arc<Lane>);

impl LogProcessor for ToLane {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        self.0.put(&LogRecord::from(&*record).encode_to_vec());
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl SpanProcessor for ToLane {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.put(&Span::from(span).encode_to_vec());
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Fields are ours, unless they are somebody's.
fn key_of(field: &str) -> String {
    match field.contains('.') {
        true => field.to_owned(),
        false => format!("hipache.{field}"),
    }
}

fn any(value: &Value) -> AnyValue {
    match value {
        Value::Text(text) | Value::Plain(text) => AnyValue::from(text.clone()),
        Value::Number(number) => AnyValue::Int(*number),
        Value::Seconds(seconds) => AnyValue::Double(*seconds),
        Value::Flag(flag) => AnyValue::Boolean(*flag),
    }
}

fn plain(value: &Value) -> opentelemetry::Value {
    match value {
        Value::Text(text) | Value::Plain(text) => text.clone().into(),
        Value::Number(number) => (*number).into(),
        Value::Seconds(seconds) => (*seconds).into(),
        Value::Flag(flag) => (*flag).into(),
    }
}

/// A name that lasts as long as the process, as the SDK wants it. Those of the master come as texts;
/// they are few, as each stands in the code.
fn lasting(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let lasting: &'static str = name.to_owned().leak();
    names.insert(lasting);
    lasting
}
