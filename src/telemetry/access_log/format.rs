//! From a record to a line, in whatever format its log has: whole, and ended by its only line break.

use std::time::SystemTime;

use super::clock::Clock;
use super::mask::Veil;
use super::values::{Source, append_rfc3339};
use super::{Process, line};
use crate::config::{AccessLog, LogFormat, Masks, Piece, Shape, Target, Template, Variable};
use crate::telemetry::Record;

/// Facility local7, severity informational, as nginx has it by default (RFC 5424 §6.2.1).
const SYSLOG_PRIORITY: &[u8] = b"<190>1 ";

/// Formats the lines of one log.
pub(super) struct Formatter {
    format: LogFormat,
    masks: Masks,
    /// For syslog: what stands between the time of a message and its text.
    header: Option<Vec<u8>>,
    clock: Clock,
}

impl Formatter {
    /// That of this log, in this process.
    pub(super) fn new(log: &AccessLog, process: &Process) -> Self {
        // HOSTNAME, APP-NAME, PROCID, MSGID and no structured data (RFC 5424 §6.2).
        let header = || {
            let host = match process.hostname.as_str() {
                "" => "-",
                host => host,
            };
            format!(" {host} hipache {} - - ", process.pid).into_bytes()
        };
        Self {
            format: log.format.clone(),
            masks: log.masks.clone(),
            header: matches!(log.target, Target::Syslog(_)).then(header),
            clock: Clock::new(),
        }
    }

    /// Appends the line of a record.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, record: &Record<'_>, process: &Process) {
        if let Some(header) = &self.header {
            append_syslog(out, header, record.arrived + record.total, &mut self.clock);
        }
        match &self.format.shape {
            Shape::Hipache => line::append(out, record, &self.masks, &mut self.clock),
            Shape::Template(template) => {
                let source = Source {
                    record,
                    process,
                    veil: Veil {
                        masks: &self.masks,
                        escape: template.escape,
                    },
                };
                append_pieces(out, template, &source, &mut self.clock);
            }
        }
        out.push(b'\n');
    }
}

fn append_syslog(out: &mut Vec<u8>, header: &[u8], moment: SystemTime, clock: &mut Clock) {
    out.extend_from_slice(SYSLOG_PRIORITY);
    append_rfc3339(out, moment, clock);
    out.extend_from_slice(header);
}

fn append_pieces(out: &mut Vec<u8>, template: &Template, source: &Source<'_>, clock: &mut Clock) {
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text),
            Piece::Value(variable) => {
                if !source.append(out, variable, clock) {
                    out.extend_from_slice(template.absent.as_bytes());
                }
            }
            Piece::Json(variable) => {
                if !append_json(out, variable, source, clock) {
                    out.extend_from_slice(template.absent.as_bytes());
                }
            }
        }
    }
}

/// A value as JSON has it; whether there is one.
fn append_json(
    out: &mut Vec<u8>,
    variable: &Variable,
    source: &Source<'_>,
    clock: &mut Clock,
) -> bool {
    // No number of JSON begins with a zero (RFC 8259 §6).
    if *variable == Variable::Status && source.record.logged_status() < 100 {
        out.push(b'0');
        return true;
    }
    if variable.is_number() {
        return source.append(out, variable, clock);
    }
    out.push(b'"');
    let is_there = source.append(out, variable, clock);
    if is_there {
        out.push(b'"');
    } else {
        out.pop();
    }
    is_there
}

#[cfg(test)]
mod tests;
