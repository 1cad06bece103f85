//! 1xx responses on their way from a backend to the client.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, Response, StatusCode, header};

/// Bytes of 1xx heads that may wait for a slow client; further ones are let go, as a client must be
/// able to do without them.
const WAITING_BYTES: usize = 64 * 1024;

/// What a head takes up beside its fields, and a field beside its name and value.
const HEAD_BYTES: usize = 32;
const FIELD_BYTES: usize = 32;

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

/// Those that wait.
#[derive(Default)]
struct Heads {
    waiting: Vec<Response<()>>,
    bytes: usize,
}

impl Interim {
    /// Registers for the 1xx responses to a request. `100 Continue` opens the body's gate: the client
    /// is sent one of our own when the body is first asked for. All others are passed on.
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

    /// The heads that wait to be sent; none mostly, and then without a lock.
    pub(crate) fn take(&self) -> Vec<Response<()>> {
        if !self.has_heads.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        self.heads
            .lock()
            .map(|mut heads| std::mem::take(&mut *heads).waiting)
            .unwrap_or_default()
    }

    /// How many heads found no room, with those that still wait.
    pub(crate) fn let_go(&self) -> u64 {
        self.lost.load(Ordering::Relaxed) + self.take().len() as u64
    }

    /// Takes one.
    pub(crate) fn received(&self, status: StatusCode, headers: &HeaderMap) {
        if status == StatusCode::CONTINUE {
            self.is_continued.store(true, Ordering::Relaxed);
            return;
        }
        let Ok(mut heads) = self.heads.lock() else {
            return;
        };
        if heads.bytes > WAITING_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let head = passed_on(status, headers);
        heads.bytes += head_bytes(head.headers());
        heads.waiting.push(head);
        self.has_heads.store(true, Ordering::Relaxed);
    }
}

fn passed_on(status: StatusCode, headers: &HeaderMap) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = status;
    let kept = headers.iter().filter(|(name, _)| !LEFT_OUT.contains(name));
    let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
    head.headers_mut().extend(kept);
    head
}

/// About the bytes that the head of a 1xx response takes up.
pub(crate) fn head_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    let sizes = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES);
    HEAD_BYTES + sizes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_hints_are_passed_on_and_continue_is_not() {
        let interim = Interim::default();
        let mut headers = HeaderMap::new();
        headers.append("link", http::HeaderValue::from_static("</a.css>"));
        headers.append("link", http::HeaderValue::from_static("</b.css>"));
        for name in &LEFT_OUT {
            headers.insert(name, http::HeaderValue::from_static("7"));
        }
        interim.received(StatusCode::CONTINUE, &HeaderMap::new());
        assert!(interim.is_continued());
        assert!(interim.take().is_empty());
        interim.received(StatusCode::EARLY_HINTS, &headers);
        let heads = interim.take();
        let [head] = heads.as_slice() else {
            panic!("{heads:?}");
        };
        assert_eq!(head.status(), StatusCode::EARLY_HINTS);
        let fields: Vec<_> = head.headers().iter().collect();
        let link = header::LINK;
        let links = ["</a.css>", "</b.css>"].map(http::HeaderValue::from_static);
        assert_eq!(fields, [(&link, &links[0]), (&link, &links[1])]);
        assert!(interim.take().is_empty());
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
        assert_eq!(interim.take().len(), 1);
        interim.received(http::StatusCode::EARLY_HINTS, &headers);
        assert_eq!(interim.let_go(), 3);
    }
}
