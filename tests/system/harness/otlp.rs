//! A collector of the tests: takes OTLP over HTTP, decodes it with the official messages, and
//! refuses what the specification forbids.

use std::collections::HashSet;
use std::io::Read;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use prost::Message;

use super::otlp_metrics::Pushed;
use super::{Backend, Flow, Request, SOON, eventually, response};

/// A running collector.
pub(crate) struct Collector {
    backend: Backend,
    spans: Arc<Mutex<Vec<Span>>>,
    resource: Arc<Mutex<Vec<KeyValue>>>,
    pushed: Arc<Mutex<Pushed>>,
    refusals: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    /// A collector that takes all that is sound.
    pub(crate) fn start() -> Self {
        Self::answering(|| response(200, "Content-Type: application/x-protobuf\r\n", ""))
    }

    /// A collector that answers sound requests like this; what it did not answer with 200 it did
    /// not take.
    pub(crate) fn answering(answer: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let resource = Arc::new(Mutex::new(Vec::new()));
        let (taken, told) = (Arc::clone(&spans), Arc::clone(&resource));
        let (pushed, refusals) = (Arc::default(), Arc::default());
        let metrics: Arc<Mutex<Pushed>> = Arc::clone(&pushed);
        let refused: Arc<Mutex<Vec<String>>> = Arc::clone(&refusals);
        let backend = Backend::scripted(move |conn, request| {
            conn.read_body(request);
            let answer = answer();
            let is_taken = answer.starts_with(b"HTTP/1.1 200");
            let sound = match request.target.as_str() {
                "/v1/metrics" => take_metrics(request, is_taken, &metrics),
                _ => decode(request).map(|decoded| {
                    if is_taken {
                        take_spans(decoded, (&taken, &told));
                    }
                }),
            };
            match sound {
                Ok(()) => conn.send(answer),
                Err(wrong) => {
                    eprintln!("collector: {wrong}");
                    refused.lock().unwrap().push(wrong.clone());
                    conn.send(response(400, "", &wrong))
                }
            };
            Flow::Keep
        });
        Self {
            backend,
            spans,
            resource,
            pushed,
            refusals,
        }
    }

    /// The metrics that it took so far.
    pub(crate) fn pushed(&self) -> Pushed {
        self.pushed.lock().unwrap().clone()
    }

    /// What was wrong with what it did not take.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.refusals.lock().unwrap().clone()
    }

    /// Waits until the metrics are as they ought to be.
    #[track_caller]
    pub(crate) fn wait_for_push(&self, what: &str, is_right: impl Fn(&Pushed) -> bool) -> Pushed {
        eventually(what, SOON, || Some(self.pushed()).filter(&is_right))
    }

    /// Its endpoint.
    pub(crate) fn url(&self) -> String {
        self.backend.url()
    }

    /// The requests that it got.
    pub(crate) fn requests(&self) -> usize {
        self.backend.count()
    }

    /// The last request that it got.
    pub(crate) fn last(&self) -> Request {
        self.backend.last()
    }

    /// The spans that it took so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// An attribute of whoever sent the last spans.
    pub(crate) fn resource(&self, key: &str) -> Option<String> {
        find(&self.resource.lock().unwrap(), key)
    }

    /// Waits for the trace of a request: its SERVER span has this path. The SERVER span first, then
    /// its children by their beginning.
    #[track_caller]
    pub(crate) fn trace_of(&self, path: &str) -> Vec<Span> {
        eventually(&format!("the trace of {path}"), SOON, || {
            let spans = self.spans();
            let root = spans.iter().find(|span| {
                span.kind() == SpanKind::Server && text(span, "url.path").as_deref() == Some(path)
            })?;
            let is_child = |span: &&Span| span.parent_span_id == root.span_id;
            let mut children: Vec<_> = spans.iter().filter(is_child).cloned().collect();
            children.sort_by_key(|span| span.start_time_unix_nano);
            Some([vec![root.clone()], children].concat())
        })
    }
}

/// An attribute as text.
pub(crate) fn text(span: &Span, key: &str) -> Option<String> {
    find(&span.attributes, key)
}

pub(super) fn find(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

fn take_spans(
    decoded: ExportTraceServiceRequest,
    (taken, told): (&Mutex<Vec<Span>>, &Mutex<Vec<KeyValue>>),
) {
    for group in decoded.resource_spans {
        *told.lock().unwrap() = group.resource.unwrap().attributes;
        let scopes = group.scope_spans.into_iter();
        taken
            .lock()
            .unwrap()
            .extend(scopes.flat_map(|scope| scope.spans));
    }
}

fn take_metrics(request: &Request, is_taken: bool, pushed: &Mutex<Pushed>) -> Result<(), String> {
    let body = body(request, "/v1/metrics")?;
    let decoded = ExportMetricsServiceRequest::decode(&body[..]).map_err(|e| e.to_string())?;
    let mut pushed = pushed.lock().unwrap();
    match is_taken {
        true => pushed.take(decoded),
        false => pushed.clone().take(decoded),
    }
}

/// Decodes a request and checks it.
fn decode(request: &Request) -> Result<ExportTraceServiceRequest, String> {
    let body = body(request, "/v1/traces")?;
    let decoded = ExportTraceServiceRequest::decode(&body[..]).map_err(|e| e.to_string())?;
    check(&decoded)?;
    Ok(decoded)
}

/// The message of a request to this path, which has the right head.
pub(super) fn body(request: &Request, path: &str) -> Result<Vec<u8>, String> {
    if (request.method.as_str(), request.target.as_str()) != ("POST", path) {
        return Err(format!("{} {}", request.method, request.target));
    }
    if request.field("content-type") != Some("application/x-protobuf") {
        return Err(format!("content-type {:?}", request.field("content-type")));
    }
    let mut body = Vec::new();
    match request.field("content-encoding") {
        None => body.clone_from(&request.body),
        Some("gzip") => {
            let mut decoder = flate2::read::GzDecoder::new(&request.body[..]);
            decoder
                .read_to_end(&mut body)
                .map_err(|error| error.to_string())?;
        }
        Some(other) => return Err(format!("content-encoding {other}")),
    }
    Ok(body)
}

/// What the specification demands of every request.
fn check(request: &ExportTraceServiceRequest) -> Result<(), String> {
    let mut ids = HashSet::new();
    for group in &request.resource_spans {
        let resource = group.resource.as_ref().ok_or("no resource")?;
        check_attributes(&resource.attributes)?;
        find(&resource.attributes, "service.name").ok_or("no service.name")?;
        for scope in &group.scope_spans {
            let name = scope.scope.as_ref().map(|scope| scope.name.as_str());
            name.filter(|name| !name.is_empty()).ok_or("no scope")?;
            for span in &scope.spans {
                check_span(span).map_err(|wrong| format!("{wrong}: {span:?}"))?;
                if !ids.insert((span.trace_id.clone(), span.span_id.clone())) {
                    return Err(format!("an id twice: {span:?}"));
                }
            }
        }
    }
    if ids.is_empty() {
        return Err("no spans".to_owned());
    }
    Ok(())
}

fn check_span(span: &Span) -> Result<(), String> {
    let is_id = |id: &[u8], length| id.len() == length && id.iter().any(|byte| *byte != 0);
    if !is_id(&span.trace_id, 16) || !is_id(&span.span_id, 8) {
        return Err("ids".to_owned());
    }
    if !span.parent_span_id.is_empty() && !is_id(&span.parent_span_id, 8) {
        return Err("parent".to_owned());
    }
    if span.name.is_empty() || span.kind() == SpanKind::Unspecified {
        return Err("name or kind".to_owned());
    }
    let times = span.start_time_unix_nano..=span.end_time_unix_nano;
    if span.start_time_unix_nano == 0 || times.is_empty() {
        return Err("times".to_owned());
    }
    let is_outside = |event: &&_| {
        let event: &opentelemetry_proto::tonic::trace::v1::span::Event = event;
        event.name.is_empty() || !times.contains(&event.time_unix_nano)
    };
    if let Some(event) = span.events.iter().find(is_outside) {
        return Err(format!("event {event:?}"));
    }
    if span.flags & 0x100 == 0 || span.dropped_attributes_count > 0 {
        return Err("flags or dropped attributes".to_owned());
    }
    check_attributes(&span.attributes)?;
    let required: &[&str] = match (span.kind(), text(span, "db.system.name")) {
        (SpanKind::Internal, _) => &[],
        (SpanKind::Server, _) => &["http.request.method", "url.path", "url.scheme"],
        (_, Some(_)) => &["db.operation.name"],
        _ => &[
            "http.request.method",
            "server.address",
            "server.port",
            "url.full",
        ],
    };
    let missing = required.iter().find(|key| text(span, key).is_none());
    missing.map_or(Ok(()), |key| Err(format!("no {key}")))
}

pub(super) fn check_attributes(attributes: &[KeyValue]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for attribute in attributes {
        let has_value = attribute
            .value
            .as_ref()
            .is_some_and(|value| value.value.is_some());
        if attribute.key.is_empty() || !has_value || !seen.insert(&attribute.key) {
            return Err(format!("attribute {attribute:?}"));
        }
    }
    Ok(())
}
