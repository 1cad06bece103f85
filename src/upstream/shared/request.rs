//! A request in the form of HTTP/2 (RFC 9113 §8.3.1), and WebSockets in that of RFC 8441.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::fields::members;

/// What RFC 6455 §1.3 adds to a key before it is hashed.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of a WebSocket's handshake, where a request is one.
pub(super) fn websocket_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut protocols = members(headers.get(UPGRADE)?);
    let is_websocket = protocols.any(|name| name.eq_ignore_ascii_case(b"websocket"));
    is_websocket.then(|| headers.get(SEC_WEBSOCKET_KEY).cloned())?
}

/// Turns the head of a request that was made for HTTP/1. `is_websocket`: into an extended CONNECT.
/// Other protocols than a WebSocket's are not asked for: a server is free not to change, and so is
/// a proxy (RFC 9110 §7.8).
pub(super) fn translate(head: Parts, is_tls: bool, is_websocket: bool) -> Request<()> {
    let mut request = Request::new(());
    *request.headers_mut() = head.headers;
    *request.method_mut() = head.method;
    let headers = request.headers_mut();
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    let host = headers.remove(HOST);
    if is_websocket {
        headers.remove(SEC_WEBSOCKET_KEY);
        headers.remove(CONTENT_LENGTH);
        *request.method_mut() = Method::CONNECT;
        request
            .extensions_mut()
            .insert(Protocol::from_static("websocket"));
    }
    *request.uri_mut() = target(&head.uri, host, is_tls);
    request
}

/// Scheme, authority and path of a request whose `Host` line says where it goes.
fn target(path: &Uri, host: Option<HeaderValue>, is_tls: bool) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(match is_tls {
        true => UriScheme::HTTPS,
        false => UriScheme::HTTP,
    });
    parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = path.path_and_query().cloned();
    parts.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
    // The host of a request was parsed before; without one the target alone is sent.
    Uri::from_parts(parts).unwrap_or_default()
}

/// The 101 that an accepted WebSocket's answer stands for.
pub(super) fn switching<B>(mut response: Response<B>, key: &HeaderValue) -> Response<B> {
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept(key)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// RFC 6455 §4.2.2: the answer to a key.
fn accept(key: &HeaderValue) -> String {
    let told = [key.as_bytes().trim_ascii(), GUID.as_bytes()].concat();
    Base64::encode_string(digest(&SHA1_FOR_LEGACY_USE_ONLY, &told).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_standard() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn heads_are_translated() {
        let of = |method: &str, path: &str, is_websocket| {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "a.test:81")
                .header("connection", "te")
                .header("te", "trailers")
                .header("transfer-encoding", "chunked")
                .header("upgrade", "x, WebSocket")
                .header("sec-websocket-key", "k");
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(websocket_key(&head.headers).unwrap(), "k");
            translate(head, is_websocket, is_websocket)
        };
        let plain = of("POST", "/a?b", false);
        assert_eq!(plain.uri(), "http://a.test:81/a?b");
        assert_eq!(plain.method(), Method::POST);
        let names: Vec<_> = plain.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["te", "sec-websocket-key"]);
        let socket = of("GET", "/", true);
        assert_eq!(socket.uri(), "https://a.test:81/");
        assert_eq!(socket.method(), Method::CONNECT);
        let protocol = socket.extensions().get::<Protocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
        assert!(!socket.headers().contains_key("sec-websocket-key"));
        assert_eq!(of("OPTIONS", "*", false).uri().path(), "*");
    }
}
