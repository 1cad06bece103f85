//! Formats of access-log lines: compiled once, at the start, to a list of pieces.
//!
//! `hipache` has code of its own, as it is the default and the fastest; every other format is a
//! template, those with a name as well as the operator's.

use super::variables::Variable;

/// The shape of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFormat {
    /// As it was written: a name or a template.
    pub written: String,
    /// What a line is made of.
    pub shape: Shape,
}

/// What a line is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// That of the original.
    Hipache,
    /// Text and variables.
    Template(Template),
}

/// Text and variables in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// In order.
    pub pieces: Vec<Piece>,
    /// How values are made harmless.
    pub escape: Escape,
    /// What stands for a value that is not there.
    pub absent: &'static str,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(Box<[u8]>),
    /// A value.
    Value(Variable),
    /// A value as JSON: a number, a quoted string, or `null`.
    Json(Variable),
}

/// How values are made harmless, as nginx's `escape=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// Quote, backslash, and bytes below 32 or above 126 as `\xHH`.
    Default,
    /// As in a JSON string.
    Json,
    /// Not at all, but for a line break.
    None,
}

/// nginx's own.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
    $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// That of planb: like the original's, with the request id, the host and `X-Forwarded-For`.
const PLANB: &str = "$hipache_client - - [$time_local] \
    \"$request_method $uri $server_protocol\" $status $body_bytes_sent \"$http_referer\" \
    \"$http_user_agent\" \"X-Request-ID:$http_x_request_id\" \"$host\" \"$http_x_forwarded_for\" \
    $request_time $hipache_backend_time";

/// The fields of `json`, in order. Stable: fields may be added, at the end.
const JSON: &[(&str, Variable)] = &[
    ("time", Variable::Arrived),
    ("client", Variable::RemoteAddr),
    ("peer", Variable::PeerAddr),
    ("connection", Variable::Connection),
    ("connection_requests", Variable::ConnectionRequests),
    ("method", Variable::RequestMethod),
    ("target", Variable::RequestUri),
    ("protocol", Variable::ServerProtocol),
    ("scheme", Variable::Scheme),
    ("host", Variable::Host),
    ("status", Variable::Status),
    ("end", Variable::End),
    ("trace_id", Variable::TraceId),
    ("span_id", Variable::SpanId),
    ("duration", Variable::Duration),
    ("backend_time", Variable::BackendTime),
    ("proxy_time", Variable::ProxyTime),
    ("bytes_sent", Variable::BytesSent),
    ("body_bytes_sent", Variable::BodyBytesSent),
    ("bytes_received", Variable::RequestLength),
    ("referer", Variable::Referer),
    ("user_agent", Variable::UserAgent),
    ("vhost", Variable::Vhost),
    ("frontend", Variable::Frontend),
    ("backend_id", Variable::BackendId),
    ("backend_url", Variable::BackendUrl),
    ("attempts", Variable::Attempts),
    ("upstream_addr", Variable::UpstreamAddr),
    ("upstream_status", Variable::UpstreamStatus),
    ("upstream_connect_time", Variable::UpstreamConnectTime),
    ("upstream_header_time", Variable::UpstreamHeaderTime),
    ("upstream_response_time", Variable::UpstreamResponseTime),
    ("upstream_end", Variable::UpstreamEnd),
    ("route_source", Variable::RouteSource),
    ("route_age", Variable::RouteAge),
    ("lookup_time", Variable::LookupTime),
    ("redis_time", Variable::RedisTime),
    ("server_addr", Variable::ServerAddr),
    ("server_port", Variable::ServerPort),
    ("worker", Variable::Worker),
    ("pid", Variable::Pid),
    ("hostname", Variable::Hostname),
    ("tunnel_closed_by", Variable::TunnelClosedBy),
    ("websocket_close", Variable::WebsocketClose),
];

/// The names of formats.
const NAMES: [&str; 4] = ["hipache", "planb", "combined", "json"];

impl Default for LogFormat {
    fn default() -> Self {
        Self {
            written: "hipache".to_owned(),
            shape: Shape::Hipache,
        }
    }
}

impl LogFormat {
    /// Compiles a name or a template.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what may have been meant.
    pub(crate) fn compile(written: &str) -> Result<Self, String> {
        let template = |text, absent| {
            let pieces = pieces(text)?;
            Ok::<_, String>(Shape::Template(Template {
                pieces,
                escape: Escape::Default,
                absent,
            }))
        };
        let shape = match written {
            "hipache" => Shape::Hipache,
            // Absent fields are empty there, as in the original.
            "planb" => template(PLANB, "")?,
            "combined" => template(COMBINED, "-")?,
            "json" => Shape::Template(json()),
            text if text.contains('$') => template(text, "-")?,
            other => return Err(unknown_name(other)),
        };
        Ok(Self {
            written: written.to_owned(),
            shape,
        })
    }

    /// Escapes as told. Whether it can be told: only templates of the operator's own.
    pub(crate) fn escape_as(&mut self, escape: Escape) -> bool {
        match &mut self.shape {
            Shape::Template(template) if !NAMES.contains(&self.written.as_str()) => {
                template.escape = escape;
                // nginx: `-` stands for what is absent only where escapes are the default ones.
                template.absent = if escape == Escape::Default { "-" } else { "" };
                true
            }
            _ => false,
        }
    }

    /// The variables in it.
    pub(crate) fn variables(&self) -> impl Iterator<Item = &Variable> {
        let pieces = match &self.shape {
            Shape::Hipache => &[][..],
            Shape::Template(template) => &template.pieces,
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Value(variable) | Piece::Json(variable) => Some(variable),
        })
    }
}

fn unknown_name(name: &str) -> String {
    let near = NAMES
        .iter()
        .find(|known| strsim::damerau_levenshtein(name, known) <= known.len() / 3)
        .map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
    format!(
        "{name:?} is no format: expected {}, or a template with variables such as $status{near}",
        NAMES.map(|name| format!("\"{name}\"")).join(", ")
    )
}

fn json() -> Template {
    let mut pieces = Vec::new();
    for (index, (field, variable)) in JSON.iter().enumerate() {
        let open = if index == 0 { '{' } else { ',' };
        pieces.push(Piece::Text(
            format!("{open}\"{field}\":").into_bytes().into(),
        ));
        pieces.push(Piece::Json(variable.clone()));
    }
    pieces.push(Piece::Text((*b"}").into()));
    Template {
        pieces,
        escape: Escape::Json,
        absent: "null",
    }
}

/// Takes a template apart: text, `$name` and `${name}`, as nginx reads them.
fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    if template.contains(['\n', '\r']) {
        return Err("a line break, but a line of the log is one line".to_owned());
    }
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('$') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.as_bytes().into()));
        }
        let (name, after) = name(after)?;
        let variable = Variable::named(name).map_err(|near| unknown_variable(name, &near))?;
        pieces.push(Piece::Value(variable));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.as_bytes().into()));
    }
    Ok(pieces)
}

/// The name that follows a `$`, and the rest.
fn name(after: &str) -> Result<(&str, &str), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (name, rest) = match after.strip_prefix('{') {
        Some(inner) => inner
            .split_once('}')
            .ok_or_else(|| "a `${` without its `}`".to_owned())?,
        None => after.split_at(after.find(|c| !is_part(c)).unwrap_or(after.len())),
    };
    if name.is_empty() || !name.chars().all(is_part) {
        return Err("a `$` without the name of a variable".to_owned());
    }
    Ok((name, rest))
}

fn unknown_variable(name: &str, near: &[&str]) -> String {
    let near: Vec<_> = near.iter().map(|name| format!("${name}")).collect();
    match near.as_slice() {
        [] => format!("the variable ${name} is unknown"),
        near => format!(
            "the variable ${name} is unknown; did you mean {}?",
            near.join(" or ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_variables() {
        let text = |text: &str| Piece::Text(text.as_bytes().into());
        let value = Piece::Value;
        let table = [
            ("$status", vec![value(Variable::Status)]),
            (
                "a $status-${host}b",
                vec![
                    text("a "),
                    value(Variable::Status),
                    text("-"),
                    value(Variable::Host),
                    text("b"),
                ],
            ),
            (
                "é$uri$args",
                vec![text("é"), value(Variable::Uri), value(Variable::Args)],
            ),
        ];
        for (written, expected) in table {
            let format = LogFormat::compile(written).unwrap();
            let Shape::Template(template) = format.shape else {
                panic!("{written}")
            };
            assert_eq!(template.pieces, expected, "{written}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_was_meant() {
        let table = [
            (
                "$statsu",
                "the variable $statsu is unknown; did you mean $status?",
            ),
            ("$qqqqqq", "the variable $qqqqqq is unknown"),
            ("a $ b", "a `$` without the name of a variable"),
            ("${a-b}", "a `$` without the name of a variable"),
            ("${status", "a `${` without its `}`"),
            (
                "$status\n$host",
                "a line break, but a line of the log is one line",
            ),
            (
                "jsn",
                "\"jsn\" is no format: expected \"hipache\", \"planb\", \"combined\", \"json\", or \
                 a template with variables such as $status; did you mean \"json\"?",
            ),
        ];
        for (written, expected) in table {
            let found = LogFormat::compile(written).unwrap_err();
            assert_eq!(found, expected, "{written}");
        }
    }

    #[test]
    fn only_a_template_of_ones_own_takes_an_escape() {
        for name in NAMES {
            let mut format = LogFormat::compile(name).unwrap();
            assert!(!format.escape_as(Escape::None), "{name}");
        }
        let mut format = LogFormat::compile("$host").unwrap();
        assert!(format.escape_as(Escape::Json));
        let Shape::Template(template) = format.shape else {
            panic!("no template")
        };
        assert_eq!((template.escape, template.absent), (Escape::Json, ""));
    }
}
