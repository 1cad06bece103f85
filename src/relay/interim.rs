//! 1xx responses on their way from a backend to the client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, header};

/// Bytes of 1xx heads that may wait for a slow client; further ones are let go, as a client must be
/// able to do without them.
const WAITING_BYTES: usize = 64 * 1024;

/// What a 1xx must not carry on: it has no body to frame (RFC 9110 §8.6, RFC 9112 §6.1), and the
/// rest is meant for the backend's connection (RFC 9110 §7.6.1).
static LEFT_OUT: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// 1xx responses of a backend on their way to the client (RFC 9110 §15.2).
///
/// hyper calls back from inside the connection's driver, hence the locks: they are never contended.
#[derive(Default)]
pub(crate) struct Interim {
    is_continued: AtomicBool,
    has_heads: AtomicBool,
    heads: Mutex<Heads>,
    lost: AtomicU64,
}

/// Encoded heads.
#[derive(Default)]
pub(crate) struct Heads {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u64,
}

impl Interim {
    /// Registers for the 1xx responses to a request. `100 Continue` opens the body's gate: hyper's
    /// server sends its own 100 when the body is first asked for. All others are passed on.
    pub(crate) fn watch<B>(self: &Arc<Self>, request: &mut http::Request<B>) {
        let interim = Arc::clone(self);
        hyper::ext::on_informational(request, move |response| {
            interim.received(response.status(), response.headers());
        });
    }

    /// Whether the backend has asked for the body.
    pub(crate) fn is_continued(&self) -> bool {
        self.is_continued.load(Ordering::Relaxed)
    }

    /// The encoded heads that wait to be sent; none mostly, and then without a lock.
    pub(crate) fn take(&self) -> Heads {
        if !self.has_heads.swap(false, Ordering::Relaxed) {
            return Heads::default();
        }
        self.heads
            .lock()
            .map(|mut heads| std::mem::take(&mut *heads))
            .unwrap_or_default()
    }

    /// How many heads found no room, with those that still wait.
    pub(crate) fn let_go(&self) -> u64 {
        self.lost.load(Ordering::Relaxed) + self.take().count
    }

    /// Takes one.
    pub(crate) fn received(&self, status: http::StatusCode, headers: &HeaderMap) {
        if status == http::StatusCode::CONTINUE {
            self.is_continued.store(true, Ordering::Relaxed);
            return;
        }
        let Ok(mut heads) = self.heads.lock() else {
            return;
        };
        if heads.bytes.len() > WAITING_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        encode_head(&mut heads.bytes, status, headers);
        heads.count += 1;
        self.has_heads.store(true, Ordering::Relaxed);
    }
}

fn encode_head(heads: &mut Vec<u8>, status: http::StatusCode, headers: &HeaderMap) {
    heads.extend_from_slice(b"HTTP/1.1 ");
    heads.extend_from_slice(status.as_str().as_bytes());
    heads.push(b' ');
    heads.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    heads.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        if LEFT_OUT.contains(name) {
            continue;
        }
        heads.extend_from_slice(name.as_str().as_bytes());
        heads.extend_from_slice(b": ");
        heads.extend_from_slice(value.as_bytes());
        heads.extend_from_slice(b"\r\n");
    }
    heads.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_hints_are_encoded_and_continue_is_not() {
        let interim = Interim::default();
        let mut headers = HeaderMap::new();
        headers.insert("link", http::HeaderValue::from_static("</a.css>"));
        for name in &LEFT_OUT {
            headers.insert(name, http::HeaderValue::from_static("7"));
        }
        interim.received(http::StatusCode::CONTINUE, &HeaderMap::new());
        assert!(interim.is_continued());
        assert!(interim.take().bytes.is_empty());
        interim.received(http::StatusCode::EARLY_HINTS, &headers);
        assert_eq!(
            interim.take().bytes,
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        );
        assert!(interim.take().bytes.is_empty());
        assert_eq!(interim.let_go(), 0);
    }

    #[test]
    fn what_is_let_go_is_counted_as_much_as_what_waits_for_good() {
        let interim = Interim::default();
        let mut headers = HeaderMap::new();
        headers.insert("x", "v".repeat(WAITING_BYTES).try_into().unwrap());
        for _ in 0..3 {
            interim.received(http::StatusCode::EARLY_HINTS, &headers);
        }
        assert_eq!(interim.take().count, 1);
        interim.received(http::StatusCode::EARLY_HINTS, &headers);
        assert_eq!(interim.let_go(), 3);
    }
}
