//! The proxy's own answers: error pages, `__ping__`, `X-Debug`.
//!
//! Pure builders on top of [`Pages`]. Which status and which words an end has is decided in one
//! total `match`; the words are those of the original where it has some (hipache.md §4), because
//! people search their logs and pages for them.

pub(crate) mod grpc;
mod pages;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPIRES, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

pub(crate) use pages::{Page, Pages};

use crate::error::End;

/// What a client is told: a status, and the reason in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status of the response, and of the log line where no response could be sent.
    pub(crate) status: StatusCode,
    /// The body where there is no page, and `x-debug-error`.
    pub(crate) reason: &'static str,
}

impl Answer {
    const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// The same answer in the original's words for the last of several failed attempts, or for the
    /// only one that `retryOnError: 0` allows. The end still tells what happened.
    pub(crate) fn out_of_attempts(self, retry_on_error: u32) -> Self {
        let reason = if retry_on_error == 0 {
            "Retry on error is disabled"
        } else {
            "Reached max retries limit"
        };
        Self { reason, ..self }
    }
}

/// What a client is told about an end.
pub(crate) fn answer(end: End) -> Answer {
    use StatusCode as Status;
    let (status, reason) = match end {
        End::NoHost => (Status::BAD_REQUEST, "no host header"),
        End::NoSuchHost => (Status::BAD_REQUEST, "frontend not found"),
        End::NoLiveBackend => (Status::BAD_GATEWAY, "Cannot find a valid backend"),
        End::InvalidBackend => (Status::BAD_GATEWAY, "backend is invalid"),
        End::BadRequest => (Status::BAD_REQUEST, "bad request"),
        End::HeadTooLarge => (
            Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "request head is too large",
        ),
        End::HeadTimeout => (Status::REQUEST_TIMEOUT, "request head took too long"),
        End::ClientTimeout => (Status::REQUEST_TIMEOUT, "request body took too long"),
        End::RedisUnavailable => (Status::SERVICE_UNAVAILABLE, "routes are not available"),
        End::ConnectionLimitReached => (
            Status::SERVICE_UNAVAILABLE,
            "all connections to the backend are busy",
        ),
        End::Shutdown => (Status::SERVICE_UNAVAILABLE, "proxy is shutting down"),
        End::DnsTimeout => (
            Status::GATEWAY_TIMEOUT,
            "resolving the name of the backend took too long",
        ),
        End::ConnectionTimeout => (
            Status::GATEWAY_TIMEOUT,
            "connecting to the backend took too long",
        ),
        End::ReadTimeout => (Status::GATEWAY_TIMEOUT, "backend did not answer in time"),
        // Never sent: a tunnel has had its 101 long before it falls silent.
        End::TunnelIdle => (Status::GATEWAY_TIMEOUT, "tunnel was idle for too long"),
        End::DnsError
        | End::ConnectionRefused
        | End::DestinationUnavailable
        | End::TlsProtocolError
        | End::ConnectionTerminated
        | End::HttpProtocolError => (Status::BAD_GATEWAY, fault_of_backend(end)),
        // Nobody is there to read it: this is for the log line, where 499 is what nginx writes.
        End::ClientGone => (client_gone(), "client is gone"),
        // An exchange that ended well has its answer: whoever asks for another one is at fault.
        End::Ok | End::InternalError => (Status::INTERNAL_SERVER_ERROR, "internal error"),
    };
    Answer::new(status, reason)
}

/// The words for a backend that failed at once.
fn fault_of_backend(end: End) -> &'static str {
    match end {
        End::DnsError => "name of the backend cannot be resolved",
        End::ConnectionRefused => "backend refused the connection",
        End::DestinationUnavailable => "backend cannot be reached",
        End::TlsProtocolError => "TLS handshake with the backend failed",
        End::ConnectionTerminated => "backend closed the connection",
        _ => "backend did not answer in HTTP",
    }
}

/// `499 Client Closed Request`, in no registry.
fn client_gone() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The answer as a response: the page of its status, or its reason as plain text. For HEAD, too:
/// hyper leaves out the body and keeps its length.
pub(crate) fn refusal(answer: Answer, pages: &Pages) -> Response<Bytes> {
    let page = pages.page(answer.status).unwrap_or_else(|| Page {
        content_type: "text/plain",
        body: Bytes::from_static(answer.reason.as_bytes()),
    });
    respond(answer.status, page)
}

/// The answer to a request that is to be made by HTTPS; where, the caller adds. As nobody may keep it,
/// a frontend that changes its mind is plain again at once.
pub(crate) fn moved(status: StatusCode) -> Response<Bytes> {
    let page = Page {
        content_type: "text/plain",
        body: Bytes::from_static(b"moved to https"),
    };
    respond(status, page)
}

/// The answer to `Host: __ping__` (hipache.md §1).
pub(crate) fn ping() -> Response<Bytes> {
    let page = Page {
        content_type: "text/plain",
        body: Bytes::from_static(b"ok"),
    };
    respond(StatusCode::OK, page)
}

/// A response of our own, which nobody may keep.
fn respond(status: StatusCode, page: Page) -> Response<Bytes> {
    let length = page.body.len();
    let mut response = Response::new(page.body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(5);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(EXPIRES, HeaderValue::from_static("-1"));
    response
}

/// What `X-Debug` tells; each as far as the exchange came (hipache.md §3).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DebugFacts<'a> {
    /// URL of the last attempt's backend.
    pub(crate) backend_url: Option<&'a str>,
    /// Its place in the list.
    pub(crate) backend_id: Option<usize>,
    /// Identifier of the frontend: free text out of Redis.
    pub(crate) vhost: Option<&'a str>,
    /// The host that was asked for, without port; not the wildcard.
    pub(crate) frontend_key: Option<&'a str>,
    /// From the arrival of the head to now.
    pub(crate) total: Option<Duration>,
    /// From the choice of the last backend to now.
    pub(crate) backend: Option<Duration>,
    /// The reason of an answer of our own.
    pub(crate) error: Option<&'a str>,
}

/// Adds the answer to `X-Debug`. A backend's fields of these names are replaced.
pub(crate) fn add_debug(headers: &mut HeaderMap, facts: &DebugFacts<'_>) {
    let mut put = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let version = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    put("x-debug-version-hipache", Some(version));
    put("x-debug-backend-url", facts.backend_url.map(text));
    put(
        "x-debug-backend-id",
        facts.backend_id.map(HeaderValue::from),
    );
    put("x-debug-vhost", facts.vhost.map(text));
    put("x-debug-frontend-key", facts.frontend_key.map(text));
    put("x-debug-time-total", facts.total.map(milliseconds));
    put("x-debug-time-backend", facts.backend.map(milliseconds));
    put("x-debug-error", facts.error.map(text));
}

/// Whole milliseconds, as the original's clock counts them.
fn milliseconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Bytes of a text that are told; an identifier may be of any length, a head may not.
const TEXT_BYTES: usize = 1024;

/// Text as a header may carry it (RFC 9110 §5.5): what is not visible ASCII or a blank becomes
/// `\xHH`, and so does the backslash itself, so that one can tell what was written.
fn text(value: &str) -> HeaderValue {
    let bytes = value.as_bytes();
    let bytes = &bytes[..bytes.len().min(TEXT_BYTES)];
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    let escaped = if bytes.iter().all(is_plain) {
        HeaderValue::from_bytes(bytes)
    } else {
        let piece = |byte: &u8| match is_plain(byte) {
            true => char::from(*byte).to_string(),
            false => format!("\\x{byte:02X}"),
        };
        HeaderValue::try_from(bytes.iter().map(piece).collect::<String>())
    };
    // Never: all that is left can be carried.
    escaped.unwrap_or(HeaderValue::from_static("?"))
}

#[cfg(test)]
mod tests;
