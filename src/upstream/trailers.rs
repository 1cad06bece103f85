//! What may stand behind a body (RFC 9110 §6.5.1). Pure.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

/// Fields that come too late there: framing, routing, what the content is, and what concerns one
/// connection, over which HTTP/2 breaks a stream (RFC 9113 §8.2.2).
static TOO_LATE: [HeaderName; 16] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether a field may stand there.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    !TOO_LATE.contains(name)
}

/// Leaves those that may stand there.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    for name in &TOO_LATE {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_comes_too_late_is_left_out() {
        let mut trailers = HeaderMap::new();
        for name in TOO_LATE.iter().chain([&HeaderName::from_static("x-sum")]) {
            trailers.append(name, HeaderValue::from_static("1"));
            trailers.append(name, HeaderValue::from_static("2"));
        }
        clean_trailers(&mut trailers);
        assert!(trailers.keys().eq(["x-sum"]));
        assert_eq!(trailers.len(), 2);
    }
}
