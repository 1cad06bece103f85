//! A collector of log records: decodes them with the official messages, and refuses what the
//! specification forbids.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use super::otlp::{body, check_attributes, find};
use super::{Backend, Flow, Request, SOON, eventually, response};

/// A running collector.
pub(crate) struct Records {
    backend: Backend,
    taken: Arc<Mutex<Vec<LogRecord>>>,
}

impl Records {
    /// A collector that takes all that is sound.
    pub(crate) fn start() -> Self {
        Self::answering(|| response(200, "Content-Type: application/x-protobuf\r\n", ""))
    }

    /// A collector that answers sound requests like this, after it took them.
    pub(crate) fn answering(answer: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&taken);
        let backend = Backend::scripted(move |conn, request| {
            conn.read_body(request);
            match decode(request) {
                Ok(records) => {
                    sink.lock().unwrap().extend(records);
                    conn.send(answer());
                }
                Err(wrong) => {
                    eprintln!("collector of records: {wrong}");
                    conn.send(response(400, "", &wrong));
                }
            }
            Flow::Keep
        });
        Self { backend, taken }
    }

    /// Its endpoint.
    pub(crate) fn url(&self) -> String {
        self.backend.url()
    }

    /// The requests that it got.
    pub(crate) fn requests(&self) -> usize {
        self.backend.count()
    }

    /// The records of an event that it took so far.
    pub(crate) fn of(&self, event: &str) -> Vec<LogRecord> {
        let mut records = self.all();
        records.retain(|record| record.event_name == event);
        records
    }

    /// All that it took so far.
    pub(crate) fn all(&self) -> Vec<LogRecord> {
        self.taken.lock().unwrap().clone()
    }

    /// Waits for so many records of an event.
    #[track_caller]
    pub(crate) fn wait_for(&self, event: &str, count: usize) -> Vec<LogRecord> {
        eventually(&format!("{count} records of {event}"), SOON, || {
            Some(self.of(event)).filter(|records| records.len() >= count)
        })
    }
}

/// The text of a record.
pub(crate) fn text_of(record: &LogRecord) -> String {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// An attribute of a record as text.
pub(crate) fn field(record: &LogRecord, key: &str) -> Option<String> {
    find(&record.attributes, key)
}

fn decode(request: &Request) -> Result<Vec<LogRecord>, String> {
    let body = body(request, "/v1/logs")?;
    let request = ExportLogsServiceRequest::decode(&body[..]).map_err(|e| e.to_string())?;
    let mut records = Vec::new();
    for group in request.resource_logs {
        let resource = group.resource.ok_or("no resource")?;
        check_attributes(&resource.attributes)?;
        find(&resource.attributes, "service.name").ok_or("no service.name")?;
        for scope in group.scope_logs {
            let name = scope.scope.map(|scope| scope.name).unwrap_or_default();
            if name.is_empty() {
                return Err("no scope".to_owned());
            }
            records.extend(scope.log_records);
        }
    }
    for record in &records {
        check(record).map_err(|wrong| format!("{wrong}: {record:?}"))?;
    }
    match records.is_empty() {
        true => Err("no records".to_owned()),
        false => Ok(records),
    }
}

fn check(record: &LogRecord) -> Result<(), String> {
    if record.time_unix_nano == 0 || record.observed_time_unix_nano < record.time_unix_nano {
        return Err("times".to_owned());
    }
    let severity = match record.severity_number {
        9 => "INFO",
        13 => "WARN",
        17 => "ERROR",
        _ => return Err("severity".to_owned()),
    };
    if record.severity_text != severity || !record.event_name.starts_with("hipache.") {
        return Err("severity or name".to_owned());
    }
    let is_id = |id: &[u8], length| id.len() == length && id.iter().any(|byte| *byte != 0);
    let ids = (&record.trace_id[..], &record.span_id[..]);
    if ids != (&[], &[]) && !(is_id(ids.0, 16) && is_id(ids.1, 8)) {
        return Err("ids".to_owned());
    }
    if text_of(record).is_empty() || record.dropped_attributes_count > 0 {
        return Err("body or attributes".to_owned());
    }
    check_attributes(&record.attributes)
}
