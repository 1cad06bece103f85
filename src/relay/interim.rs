//! 1xx responses on their way from a backend to the client.

use std::cell::{Cell, RefCell};

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

/// 1xx responses of a backend on their way to the client (RFC 9110 §15.2), all but `100 Continue`.
#[derive(Default)]
pub(crate) struct Interim {
    waiting: RefCell<Vec<Response<()>>>,
    bytes: Cell<usize>,
    lost: Cell<u64>,
}

impl Interim {
    /// The heads that wait to be sent.
    pub(crate) fn take(&self) -> Vec<Response<()>> {
        self.bytes.set(0);
        self.waiting.take()
    }

    /// How many heads found no room, with those that still wait.
    pub(crate) fn let_go(&self) -> u64 {
        self.lost.get() + self.take().len() as u64
    }

    /// Takes one.
    pub(crate) fn receive(&self, response: &Response<()>) {
        if self.bytes.get() > WAITING_BYTES {
            return self.lost.set(self.lost.get() + 1);
        }
        let head = passed_on(response.status(), response.headers());
        self.bytes
            .set(self.bytes.get() + head_bytes(head.headers()));
        self.waiting.borrow_mut().push(head);
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

    fn early_hints(headers: HeaderMap) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::EARLY_HINTS;
        *response.headers_mut() = headers;
        response
    }

    #[test]
    fn early_hints_are_passed_on_without_what_is_not_for_the_client() {
        let interim = Interim::default();
        let mut headers = HeaderMap::new();
        headers.append("link", http::HeaderValue::from_static("</a.css>"));
        headers.append("link", http::HeaderValue::from_static("</b.css>"));
        for name in &LEFT_OUT {
            headers.insert(name, http::HeaderValue::from_static("7"));
        }
        interim.receive(&early_hints(headers));
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
            interim.receive(&early_hints(headers.clone()));
        }
        assert_eq!(interim.take().len(), 1);
        interim.receive(&early_hints(headers.clone()));
        assert_eq!(interim.let_go(), 3);
    }
}
