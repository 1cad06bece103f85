//! The head of a response: taken out of what was received, and what it says of the message and of the
//! connection (RFC 9112 §4, §6, §9.3). Pure.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use httparse::{Header, ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use smallvec::SmallVec;

use super::chunks::Chunks;
use super::error::Http1Error;
use super::framing::{Incoming, Receiving};
use crate::fields::members;

/// Fields in most responses at most; where there are more the head is parsed once more.
const USUAL_FIELDS: usize = 32;
/// Fields in any response. Backends with many cookies send over a hundred.
const FIELDS: usize = 256;

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    is_http_10: bool,
    /// Whether the backend says that it keeps the connection. That it does not is final.
    connection: Option<bool>,
    codings: Codings,
    length: Length,
}

/// What `Content-Length` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Untold,
    Of(u64),
    Bad,
}

/// What `Transfer-Encoding` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codings {
    None,
    Chunked,
    /// Another coding: its name would end here, and the next recipient would take a zipped body for a
    /// plain one (RFC 9112 §6.1).
    Other,
}

/// The first line of a head, and where the head ends in what was received.
struct Line {
    bytes: usize,
    is_http_10: bool,
    status: StatusCode,
    /// What the backend calls the status, where that is not the usual phrase.
    reason: Option<Bytes>,
}

/// Where the names and the values of fields are in what was received.
type Places = SmallVec<[(Range<usize>, Range<usize>); USUAL_FIELDS]>;

/// Takes a head out of what was received; `None` where it is not there as a whole.
pub(super) fn take(received: &mut BytesMut) -> Result<Option<Head>, Http1Error> {
    if received.is_empty() {
        return Ok(None);
    }
    let mut places = Places::new();
    let Some(line) = parse(received, &mut places)? else {
        return Ok(None);
    };
    let bytes = received.split_to(line.bytes).freeze();
    let mut head = Head {
        response: Response::new(()),
        is_http_10: line.is_http_10,
        connection: None,
        codings: Codings::None,
        length: Length::Untold,
    };
    let mut headers = HeaderMap::with_capacity(places.len());
    for (name, value) in &places {
        const BAD: Http1Error = Http1Error::Protocol("a field is none");
        let name = HeaderName::from_bytes(&bytes[name.clone()]).map_err(|_| BAD)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.clone())).map_err(|_| BAD)?;
        head.note(&name, &value);
        headers.append(name, value);
    }
    *head.response.status_mut() = line.status;
    *head.response.headers_mut() = headers;
    if let Some(reason) = line.reason.and_then(|r| ReasonPhrase::try_from(r).ok()) {
        head.response.extensions_mut().insert(reason);
    }
    Ok(Some(head))
}

fn parse(received: &[u8], places: &mut Places) -> Result<Option<Line>, Http1Error> {
    match parse_fields::<USUAL_FIELDS>(received, places) {
        Err(httparse::Error::TooManyHeaders) => parse_fields::<FIELDS>(received, places),
        parsed => parsed,
    }
    .map_err(|error| {
        Http1Error::Protocol(match error {
            httparse::Error::HeaderName => "the name of a field is none",
            httparse::Error::HeaderValue => "the value of a field is none",
            httparse::Error::NewLine => "a line does not end as one",
            httparse::Error::Status => "the status is none",
            httparse::Error::Token => "the reason is none",
            httparse::Error::TooManyHeaders => "too many fields",
            httparse::Error::Version => "the version is not 1.0 or 1.1",
        })
    })
}

fn parse_fields<const N: usize>(
    received: &[u8],
    places: &mut Places,
) -> Result<Option<Line>, httparse::Error> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; N];
    let mut response = httparse::Response::new(&mut []);
    let parser = ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut response, received, &mut fields)?;
    let (Status::Complete(bytes), Some(code)) = (parsed, response.code) else {
        return Ok(None);
    };
    let start = received.as_ptr() as usize;
    let place = |part: &[u8]| {
        let from = part.as_ptr() as usize - start;
        from..from + part.len()
    };
    let status = StatusCode::from_u16(code).map_err(|_| httparse::Error::Status)?;
    let reason = response
        .reason
        .filter(|&reason| Some(reason) != status.canonical_reason());
    places.extend(
        response
            .headers
            .iter()
            .map(|field| (place(field.name.as_bytes()), place(field.value))),
    );
    Ok(Some(Line {
        bytes,
        is_http_10: response.version == Some(0),
        status,
        reason: reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes())),
    }))
}

impl Head {
    /// What follows the head; nothing where the request may have no response with a body.
    pub(super) fn rest(&self, is_bodiless: bool) -> Result<Receiving, Http1Error> {
        match self.response.status() {
            StatusCode::SWITCHING_PROTOCOLS => return Ok(Receiving::Switched),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => return Ok(Receiving::Nothing),
            _ if is_bodiless => return Ok(Receiving::Nothing),
            _ => {}
        }
        Ok(match (self.codings, self.length) {
            (Codings::Chunked, _) if self.is_http_10 => {
                return Err(Http1Error::Protocol("chunks in HTTP/1.0"));
            }
            (Codings::Chunked, _) => Receiving::Body(Incoming::Chunked(Chunks::default())),
            (Codings::Other, _) => {
                return Err(Http1Error::Protocol(
                    "transfer coding that was not asked for, expected chunked",
                ));
            }
            (Codings::None, Length::Bad) => {
                return Err(Http1Error::Protocol("the length is no number"));
            }
            (Codings::None, Length::Of(0)) => Receiving::Nothing,
            (Codings::None, Length::Of(length)) => Receiving::Body(Incoming::Length(length)),
            (Codings::None, Length::Untold) => Receiving::Body(Incoming::UntilClose),
        })
    }

    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONNECTION {
            self.connection = members(value).fold(self.connection, |told, option| {
                if option.eq_ignore_ascii_case(b"close") {
                    Some(false)
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    told.or(Some(true))
                } else {
                    told
                }
            });
        } else if *name == TRANSFER_ENCODING {
            self.codings = members(value).fold(self.codings, |codings, coding| {
                match codings == Codings::None && coding.eq_ignore_ascii_case(b"chunked") {
                    true => Codings::Chunked,
                    false => Codings::Other,
                }
            });
            if self.codings == Codings::None {
                // A list without a member names no coding that is known.
                self.codings = Codings::Other;
            }
        } else if *name == CONTENT_LENGTH {
            self.length = members(value).fold(self.length, Length::and);
            if value.as_bytes().trim_ascii().is_empty() {
                self.length = Length::Bad;
            }
        }
    }

    /// Whether another exchange may follow: what the backend says, or what its version means by saying
    /// nothing. A message that names its end twice may have another end for others (RFC 9112 §6.3), and
    /// behind a 204 that announces a body one may follow.
    pub(super) fn keeps(&self) -> bool {
        let is_coded = self.codings != Codings::None;
        let is_framed_twice = is_coded && self.length != Length::Untold;
        let has_length = !matches!(self.length, Length::Untold | Length::Of(0));
        let is_empty = self.response.status() == StatusCode::NO_CONTENT;
        let is_doubtful = is_framed_twice || is_empty && (is_coded || has_length);
        self.connection.unwrap_or(!self.is_http_10) && !is_doubtful
    }
}

impl Length {
    /// RFC 9110 §8.6: the same length said twice is one, lengths that differ are invalid.
    fn and(self, text: &[u8]) -> Self {
        let is_number = text.iter().all(u8::is_ascii_digit);
        let number = str::from_utf8(text).ok().filter(|_| is_number);
        match (self, number.and_then(|text| text.parse().ok())) {
            (Self::Untold, Some(length)) => Self::Of(length),
            (Self::Of(told), Some(length)) if told == length => Self::Of(told),
            _ => Self::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a head says: whether the connection stays, and what follows a `GET`.
    fn read(head: &str) -> Result<(bool, Receiving), String> {
        let mut received = BytesMut::from(head);
        let head = take(&mut received).map_err(|error| error.to_string())?;
        let head = head.expect("a whole head");
        let rest = head.rest(false).map_err(|error| error.to_string())?;
        assert!(received.is_empty());
        Ok((head.keeps(), rest))
    }

    #[test]
    fn a_head_says_what_follows_and_whether_the_connection_stays() {
        use Receiving::{Body, Nothing, Switched};
        let length = || Body(Incoming::Length(5));
        let chunked = || Body(Incoming::Chunked(Chunks::default()));
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", true, length()),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5", true, length()),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0", true, Nothing),
            ("HTTP/1.1 200 OK", true, Body(Incoming::UntilClose)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5", false, length()),
            ("HTTP/1.1 204 No Content", true, Nothing),
            ("HTTP/1.1 204 None\r\nContent-Length: 0", true, Nothing),
            ("HTTP/1.1 204 None\r\nContent-Length: 5", false, Nothing),
            ("HTTP/1.1 304 Same\r\nContent-Length: x", true, Nothing),
            ("HTTP/1.1 101 Switching Protocols", true, Switched),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: , Chunked",
                true,
                chunked(),
            ),
        ];
        for (head, keeps, rest) in cases {
            let head = format!("{head}\r\n\r\n");
            assert_eq!(read(&head), Ok((keeps, rest)), "{head}");
        }
        let connection = [
            ("1.1", "Connection: Close", false),
            ("1.1", "Connection: keep-alive, close", false),
            ("1.1", "Connection: close\r\nConnection: keep-alive", false),
            ("1.1", "Connection: x, y", true),
            ("1.0", "Connection: x\r\nConnection: Keep-Alive", true),
            // Two ends: the first is believed, but not what would follow.
            ("1.1", "Transfer-Encoding: chunked", false),
        ];
        for (version, fields, keeps) in connection {
            let head = format!("HTTP/{version} 200 OK\r\nContent-Length: 5\r\n{fields}\r\n\r\n");
            assert_eq!(read(&head).map(|(keeps, _)| keeps), Ok(keeps), "{head}");
        }
    }

    #[test]
    fn what_is_no_head_is_told() {
        let many = "A: b\r\n".repeat(FIELDS + 1);
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
                "the length is",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5", "the length is"),
            ("HTTP/1.1 200 OK\r\nContent-Length:", "the length is"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616",
                "the length is",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
                "transfer coding",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding:",
                "transfer coding",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked",
                "transfer coding",
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
                "chunks in HTTP/1.0",
            ),
            ("HTTP/1.1 200 OK\r\nA: b\r\n folded", "the name of a field"),
            ("HTTP/1.1 200 OK\r\nA : b", "the name of a field"),
            ("HTTP/1.1 200 OK\r\nA: \u{1}", "the value of a field"),
            ("HTTP/2.0 200 OK", "the version"),
            ("HTTP/1.1 20", "the status"),
            ("SSH-2.0-OpenSSH", "the version"),
            (&*format!("HTTP/1.1 200 OK\r\n{many}"), "too many fields"),
        ];
        for (head, expected) in cases {
            let error = read(&format!("{head}\r\n\r\n")).unwrap_err();
            assert!(error.contains(expected), "{head}: {error}");
        }
    }

    #[test]
    fn fields_are_kept_as_they_came_and_a_part_of_a_head_is_none() {
        let many: String = (0..FIELDS).map(|n| format!("A: {n}\r\n")).collect();
        let text = format!("HTTP/1.1 299 Fine so far\r\n{many}\r\nbody");
        let head_bytes = text.len() - 4;
        for part in [0, 1, 9, 30, head_bytes - 1] {
            let mut received = BytesMut::from(&text[..part]);
            assert!(matches!(take(&mut received), Ok(None)), "{part}");
            assert_eq!(received.len(), part);
        }
        let mut received = BytesMut::from(&*text);
        let head = take(&mut received).unwrap().unwrap();
        assert_eq!(&*received, b"body");
        let values = head.response.headers().get_all("a").iter();
        assert!(
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .eq((0..FIELDS).map(|n| n.to_string()))
        );
        let reason = head.response.extensions().get::<ReasonPhrase>();
        assert_eq!(reason.unwrap().as_bytes(), b"Fine so far");
        let mut usual = BytesMut::from("HTTP/1.1 200 OK\r\n\r\n");
        let head = take(&mut usual).unwrap().unwrap();
        assert!(head.response.extensions().is_empty());
    }
}
