//! One lookup: what is asked, and what becomes of the answer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use redis::Pipeline;
use tokio::time::Instant;

use super::options::KeptOptions;
use super::{Inner, LIMIT, wire};
use crate::route::marks::DeadSet;
use crate::route::{Asked, Route, RouteError, Source};
use crate::vhost::Host;

/// Commands of a lookup that are none of its own: `MULTI` and `EXEC`.
const FRAME: usize = 2;

impl Inner {
    /// The route of a host, or that there is none; the outer error is why nobody knows.
    pub(super) async fn lookup(
        &self,
        host: &Host,
        asked: &Cell<Option<Asked>>,
    ) -> Result<Result<Route, RouteError>, Rc<str>> {
        let start = Instant::now();
        let known = self.options.recall(host, start.into_std());
        let (found, options) = loop {
            let with_remaining = self.with_remaining.get();
            // In front of the transaction: refused, these commands do not refuse it.
            let before = match known.is_old {
                true => KeptOptions::ask(&self.prefix, host),
                false => Pipeline::with_capacity(11),
            };
            let commands = wire::lookup(before, &self.prefix, host, with_remaining);
            let replies = self.read.request(&commands, start + LIMIT).await;
            // Told afterwards: the connection may have been made for this very request.
            asked.set(Some(Asked {
                commands: commands.len() - FRAME,
                peer: self.read.peer(),
            }));
            let mut replies = replies?;
            let options = known.is_old.then(|| KeptOptions::take(host, &mut replies));
            match wire::found(host, replies, with_remaining, &mut self.memo.borrow_mut()) {
                Ok(found) => break (found, options),
                Err(wire::Refusal::NoRemaining) => self.with_remaining.set(false),
                Err(wire::Refusal::Said(text)) => return Err(text.into()),
            }
        };
        if let Some(problem) = &found.problem {
            let error = format_args!("dead:{host}: {problem}; its marks are not seen");
            self.bad_sets.tell("reading dead marks", &error);
        }
        let Some(frontend) = found.frontend else {
            return Ok(Err(RouteError::NotFound));
        };
        let set = DeadSet {
            members: found.members,
            remaining: found.remaining,
            issued: start.into_std(),
        };
        let now = Instant::now();
        let mut marks = self.marks.borrow_mut();
        Ok(Ok(Route {
            dead: marks.dead(host, &frontend, Some(&set), now.into_std()),
            frontend,
            options: match options {
                Some(replies) => self.options.learn(host, replies, known.options),
                None => known.options,
            },
            source: Source::Redis,
            age: Duration::ZERO,
            read: now - start,
        }))
    }
}
