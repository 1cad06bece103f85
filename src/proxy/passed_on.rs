//! A backend's answer on its way to the client: cleaned, noted, and tied to all that keeps it coming.

use std::rc::Rc;

use http::{Response, StatusCode, Version};

use super::attempt::Answer;
use super::own_answers::add_hsts;
use super::response::Relay;
use super::told::add_debug;
use super::{Exchange, Proxy, ReplyBody, headers};
use crate::error::End;

impl Proxy {
    /// Turns a backend's answer into ours.
    pub(super) fn pass_on(
        &self,
        mut exchange: Box<Exchange>,
        answer: Answer,
    ) -> Response<ReplyBody> {
        let (mut head, ()) = answer.response.into_parts();
        let is_upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
        // RFC 9110 §15.5.22: a 426 names the protocol that is wanted, but not in HTTP/2 (RFC 9113
        // §8.2.2).
        let is_wanted = head.status == StatusCode::UPGRADE_REQUIRED;
        let keeps_upgrade = is_upgrade || is_wanted && !exchange.link().is_stream();
        headers::prepare_response(&mut head.headers, keeps_upgrade);
        headers::settle_length(&mut head.headers);
        // The status line is ours: HTTP/1.1 whatever the backend speaks (RFC 9112 §2.3).
        head.version = Version::HTTP_11;
        if is_upgrade && exchange.link().is_stream() {
            // RFC 8441 §5.1: the answer to an extended CONNECT.
            head.status = StatusCode::OK;
        }
        exchange.respond(head.status, answer.headed);
        add_hsts(&mut head.headers, &exchange);
        if exchange.wants_debug {
            add_debug(&mut head.headers, &exchange, None);
        }
        if is_upgrade {
            return self.switch(exchange, answer.upstream, head);
        }
        if answer.upstream.is_end_stream() {
            answer.upstream.release(answer.headed);
            let link = Rc::clone(exchange.link());
            link.complete(exchange, End::Ok);
            return Response::from_parts(head, ReplyBody::Empty);
        }
        let idle_limit = self.config.server.timeouts.idle_body;
        let relay = Relay::new(
            answer.upstream,
            answer.upload,
            exchange,
            answer.headed,
            idle_limit,
        );
        Response::from_parts(head, ReplyBody::Relay(relay))
    }
}
