//! Whether a client's connection goes on after a response, and how that is said.

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Version, header};

use super::Downlink;
use super::headers::{self, Field, Present};

/// The connection ends with this response.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Whether the client wants to send further requests (RFC 9112 §9.3).
pub(super) fn is_kept_by_client(head: &Parts, present: Present) -> bool {
    let lists = |token: &[u8]| {
        present.has(Field::Connection) && headers::lists(&head.headers, &header::CONNECTION, token)
    };
    match head.version {
        Version::HTTP_10 => lists(b"keep-alive"),
        _ => !lists(b"close"),
    }
}

/// Says so where the response is the last on its connection (RFC 9112 §9.6): the worker drains, or
/// what the client still sends will not be read. hyper closes the connection then.
pub(super) fn announce_close<B>(link: &Downlink, mut response: Response<B>) -> Response<B> {
    // RFC 9113 §8.2.2: HTTP/2 says it for the connection as a whole.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS || link.is_stream() {
        return response;
    }
    if link.is_draining() {
        link.close_after_response();
    }
    if link.is_closing() {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    response
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn whether_a_client_keeps_its_connection() {
        let cases: [(Version, &[&str], bool); 7] = [
            (Version::HTTP_11, &[], true),
            (Version::HTTP_11, &["Close"], false),
            (Version::HTTP_11, &["x, close"], false),
            (Version::HTTP_11, &["x", "close"], false),
            (Version::HTTP_11, &["closed"], true),
            (Version::HTTP_10, &[], false),
            (Version::HTTP_10, &["x,Keep-Alive"], true),
        ];
        for (version, lines, expected) in cases {
            let mut request = Request::builder().version(version);
            for line in lines {
                request = request.header(header::CONNECTION, *line);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(
                is_kept_by_client(&head, Present::of(&head.headers)),
                expected,
                "{version:?} {lines:?}"
            );
        }
    }
}
