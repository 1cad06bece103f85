//! What is said to Redis, byte for byte as the original says it, and what its answers mean. Pure.
//!
//! Transactions are sent as plain commands, and every reply is looked at here: the crate's own
//! transactions report one error for all of them, and an index that underflows when it is `MULTI`
//! that was refused.

mod announcements;
mod hashes;

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use redis::{Cmd, Pipeline, ServerError, Value};

use super::memo::{Memo, bytes};
use crate::route::lookup::keys;
use crate::route::marks::INDEX_LIMIT;
use crate::vhost::{BackendId, Frontend, Host};
pub(super) use announcements::{announcement, parse_announcement};
pub(super) use hashes::{hash, hashed};

/// The channel on which dead backends are announced; no prefix goes before it.
pub(super) const CHANNEL: &str = "dead";
/// Where an active checker leaves the time, in seconds since 1970; no prefix either.
const CHECKER_KEY: &str = "hchecker_ping";

/// What a lookup found.
#[derive(Debug)]
pub(super) struct Found {
    /// The first list that is not empty.
    pub(super) frontend: Option<Rc<Frontend>>,
    /// The indexes of the dead set.
    pub(super) members: Vec<BackendId>,
    /// How long the dead set lasts.
    pub(super) remaining: Option<Duration>,
    /// Why the dead set could not be read, although the frontend could.
    pub(super) problem: Option<String>,
}

/// Why an answer is of no use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The user may not ask for the remaining time (the original never did): ask without.
    NoRemaining,
    /// What Redis said, or that it is not what was asked for.
    Said(String),
}

/// Reads the lists of all keys of a host and its dead set, in one transaction behind what stands in
/// the pipeline already.
pub(super) fn lookup(
    mut pipeline: Pipeline,
    prefix: &str,
    host: &Host,
    with_remaining: bool,
) -> Pipeline {
    pipeline.add_command(command("MULTI", ""));
    let longest = "frontend:*.".len() + host.as_str().len();
    let mut name = String::with_capacity(prefix.len() + longest);
    for key in keys(host) {
        name.clear();
        // A write to a string cannot fail.
        let _ = write!(name, "{prefix}frontend:{key}");
        let mut list = command("LRANGE", &name);
        list.arg(b"0").arg(b"-1");
        pipeline.add_command(list);
    }
    name.clear();
    let _ = write!(name, "{prefix}dead:{host}");
    pipeline.add_command(command("SMEMBERS", &name));
    if with_remaining {
        pipeline.add_command(command("PTTL", &name));
    }
    pipeline.add_command(command("EXEC", ""));
    pipeline
}

/// A command with room for all of it, as growing it piece by piece costs more than the rest. An
/// empty key is none.
fn command(name: &str, key: &str) -> Cmd {
    let mut command = Cmd::with_capacity(4, name.len() + key.len() + "0-1".len());
    command.arg(name);
    if !key.is_empty() {
        command.arg(key);
    }
    command
}

/// What the replies to [`lookup`] say.
pub(super) fn found(
    host: &Host,
    replies: Vec<Value>,
    with_remaining: bool,
    memo: &mut Memo,
) -> Result<Found, Refusal> {
    let remaining_place = replies.len().checked_sub(2).filter(|_| with_remaining);
    let items = match committed(replies) {
        Ok(items) => items,
        Err((place, _)) if Some(place) == remaining_place => return Err(Refusal::NoRemaining),
        Err((_, text)) => return Err(Refusal::Said(text)),
    };
    let mut items = items.into_iter();
    let mut frontend = None;
    for key in keys(host) {
        let list = items.next();
        // A key of the wrong type hurts only those who would have been served by it.
        if frontend.is_none() {
            frontend = parse_list(&key.to_string(), list, memo)?;
        }
    }
    let length = frontend.as_ref().map_or(0, |found| found.backends.len());
    let (members, problem) = parse_members(items.next(), length.max(INDEX_LIMIT));
    let remaining = match items.next() {
        Some(Value::Int(milliseconds)) => u64::try_from(milliseconds).ok(),
        _ => None,
    };
    Ok(Found {
        frontend,
        members,
        remaining: remaining.map(Duration::from_millis),
        problem,
    })
}

/// Marks a backend and announces it, in the original's transaction.
pub(super) fn mark(
    prefix: &str,
    host: &Host,
    id: BackendId,
    ttl: Duration,
    said: &str,
) -> Pipeline {
    let dead = format!("{prefix}dead:{host}");
    let mut pipeline = Pipeline::with_capacity(5);
    pipeline.cmd("MULTI");
    pipeline.cmd("SADD").arg(&dead).arg(id);
    // EXPIRE counts whole seconds, and 0 would delete the set.
    let seconds = ttl.as_millis().div_ceil(1000).max(1);
    pipeline.cmd("EXPIRE").arg(&dead).arg(seconds.to_string());
    pipeline.cmd("PUBLISH").arg(CHANNEL).arg(said);
    pipeline.cmd("EXEC");
    pipeline
}

/// Whether the transaction of [`mark`] was carried out, every command of it.
pub(super) fn marked(replies: Vec<Value>) -> Result<(), String> {
    first_error(&committed(replies).map_err(|(_, text)| text)?)
}

/// Announces a dead backend only.
pub(super) fn publish(said: &str) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.cmd("PUBLISH").arg(CHANNEL).arg(said);
    pipeline
}

/// Whether [`publish`] was carried out.
pub(super) fn published(replies: &[Value]) -> Result<(), String> {
    first_error(replies)
}

/// Asks whether a checker is at work.
pub(super) fn checker() -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.cmd("GET").arg(CHECKER_KEY);
    pipeline
}

/// When a checker last was at work, in seconds since 1970; `None` when none ever was.
pub(super) fn checked(replies: &[Value]) -> Option<f64> {
    let text = std::str::from_utf8(bytes(replies.first()?)?).ok()?;
    text.trim()
        .parse()
        .ok()
        .filter(|time: &f64| time.is_finite())
}

/// The first commands on a connection: login, database, and a sign of life, because a server that
/// wants a password or is still loading says so only to a command.
pub(super) fn hello(username: Option<&str>, password: Option<&str>, database: i64) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(3);
    if let Some(password) = password {
        pipeline.cmd("AUTH");
        if let Some(username) = username {
            pipeline.arg(username);
        }
        pipeline.arg(password);
    }
    if database != 0 {
        pipeline.cmd("SELECT").arg(database);
    }
    pipeline.cmd("PING");
    pipeline
}

/// Whether the server is ready for us. A user who may do anything but `PING` is welcome, too.
pub(super) fn welcomed(replies: &[Value]) -> Result<(), String> {
    match replies {
        [before @ .., Value::ServerError(error)] if error.code() == "NOPERM" => first_error(before),
        replies => first_error(replies),
    }
}

/// Asks for a sign of life.
pub(super) fn ping() -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(1);
    pipeline.cmd("PING");
    pipeline
}

/// An error as Redis wrote it.
pub(super) fn error_text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The results of a transaction, or the place and text of the error that made it fail: the first,
/// because `EXEC` itself only says that there was one.
fn committed(mut replies: Vec<Value>) -> Result<Vec<Value>, (usize, String)> {
    if let Some(Value::Array(_)) = replies.last()
        && let Some(Value::Array(items)) = replies.pop()
        && items.len() + 1 == replies.len()
    {
        return Ok(items);
    }
    let error = replies
        .iter()
        .enumerate()
        .find_map(|(place, reply)| match reply {
            Value::ServerError(error) => Some((place, error_text(error))),
            _ => None,
        });
    Err(error.unwrap_or_else(|| (0, "not an answer to what was asked".to_owned())))
}

fn first_error(replies: &[Value]) -> Result<(), String> {
    match replies.iter().find_map(|reply| match reply {
        Value::ServerError(error) => Some(error_text(error)),
        _ => None,
    }) {
        Some(text) => Err(text),
        None => Ok(()),
    }
}

fn parse_list(
    key: &str,
    list: Option<Value>,
    memo: &mut Memo,
) -> Result<Option<Rc<Frontend>>, Refusal> {
    match list {
        Some(Value::Array(list)) => memo.parse(key, list).ok_or_else(|| not_a_list(key)),
        Some(Value::ServerError(error)) => {
            Err(Refusal::Said(format!("{key}: {}", error_text(&error))))
        }
        _ => Err(not_a_list(key)),
    }
}

fn not_a_list(key: &str) -> Refusal {
    Refusal::Said(format!("{key}: the answer is not a list of texts"))
}

/// The indexes below the limit, and why they could not be read. What is no number is passed over.
fn parse_members(set: Option<Value>, limit: BackendId) -> (Vec<BackendId>, Option<String>) {
    let members = match set {
        Some(Value::Array(members) | Value::Set(members)) => members,
        Some(Value::ServerError(error)) => return (Vec::new(), Some(error_text(&error))),
        _ => return (Vec::new(), Some("the answer is not a set".to_owned())),
    };
    let indexes = members
        .iter()
        .filter_map(|member| parse_index(bytes(member)?));
    (indexes.filter(|index| *index < limit).collect(), None)
}

/// A decimal number, digits only.
fn parse_index(text: &[u8]) -> Option<BackendId> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
