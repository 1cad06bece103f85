//! A request on its way to backends: cleaned once, sent as often as it takes.

use std::rc::Rc;
use std::task::Context;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;

use super::Downlink;
use super::headers::{self, Field, Forwarding, Present};
use super::hints::Hints;
use super::retry::Repeatable;
use crate::relay::{ClientBody, RequestBody, Upload};
use crate::scoreboard::Seat;

/// A request as it goes to backends, for as many attempts as it takes.
pub(super) struct Outgoing {
    head: Request<()>,
    pub(super) upload: Option<Rc<Upload>>,
    hints: Option<Hints>,
    /// The forwarded fields are to be sent beside those of the head.
    pub(super) owes_forwarding: bool,
    pub(super) is_upgrade: bool,
    pub(super) is_idempotent: bool,
}

impl Outgoing {
    /// Cleans a request for its way up.
    pub(super) fn new(
        (mut head, present): (Parts, Present),
        body: ClientBody,
        forwarding: &Forwarding,
        seat: Seat,
    ) -> Self {
        let expects_continue =
            present.has(Field::Expect) && headers::expects_continue(&head.headers, head.version);
        let is_upgrade = present.has(Field::Upgrade)
            && head.version != Version::HTTP_10
            && headers::upgrade_of(&head.headers).is_some();
        if let Some(authority) = head.uri.authority() {
            // RFC 9112 §3.2.2: the target's authority replaces what Host says.
            let host = authority.as_str().rsplit('@').next().unwrap_or_default();
            if let Ok(host) = HeaderValue::from_str(host) {
                head.headers.insert(header::HOST, host);
            }
        }
        let owes_forwarding =
            headers::prepare_request(&mut head.headers, present, forwarding, is_upgrade);
        // RFC 9110 §15.2: a 1xx is not sent to an HTTP/1.0 client.
        let owes_continue = expects_continue && head.version == Version::HTTP_2;
        let hints = (head.version >= Version::HTTP_11).then(|| Hints::new(seat, owes_continue));
        let is_idempotent = headers::is_idempotent(&head.method);
        head.uri = headers::origin_form(&head.method, &head.uri);
        // What the client's connection knows of it is of no use on the way up.
        head.extensions.clear();
        Self {
            is_idempotent,
            head: Request::from_parts(head, ()),
            upload: (!body.is_end_stream()).then(|| Upload::new(body, expects_continue)),
            hints,
            owes_forwarding,
            is_upgrade,
        }
    }

    /// The method.
    pub(super) fn method(&self) -> &Method {
        self.head.method()
    }

    /// The target in origin form.
    pub(super) fn uri(&self) -> &Uri {
        self.head.uri()
    }

    /// Whether a trusted proxy before us was spoken to by HTTPS: everyone else's word is gone by
    /// now.
    pub(super) fn is_told_https(&self) -> bool {
        headers::is_told_https(self.head.headers())
    }

    /// Asks backends to close: `httpKeepAlive` is off.
    pub(super) fn close_after(&mut self) {
        if !self.is_upgrade {
            self.headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Whether the client has sent all of its request.
    pub(super) fn is_read_whole(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.is_ended())
    }

    pub(super) fn repeatable(&self, tries_left: u32) -> Repeatable {
        Repeatable {
            is_idempotent: self.is_idempotent,
            is_untouched: self.upload.as_ref().is_none_or(|u| u.is_untouched()),
            is_whole: self.upload.as_ref().is_none_or(|u| u.is_whole()),
            tries_left,
        }
    }

    /// Sends on what 1xx responses have come.
    pub(super) fn pass_interim(&self, cx: &mut Context<'_>, link: &Downlink) {
        if let Some(hints) = &self.hints {
            hints.pass(cx, link, self.upload.as_deref());
        }
    }

    /// Takes a 1xx response: one that asks for the body, or one to send on.
    pub(super) fn note_interim(&self, response: &Response<()>) {
        if response.status() == StatusCode::CONTINUE {
            if let Some(upload) = &self.upload {
                upload.open_gate();
            }
        } else if let Some(hints) = &self.hints {
            hints.note(response);
        }
    }

    /// The head of each attempt.
    pub(super) fn head(&self) -> &Request<()> {
        &self.head
    }

    /// Its fields, for what is said anew in each attempt.
    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        self.head.headers_mut()
    }

    /// The body of one attempt, from its first byte.
    pub(super) fn body(&self) -> RequestBody {
        match &self.upload {
            Some(upload) => upload.attempt(),
            None => RequestBody::Empty,
        }
    }
}
