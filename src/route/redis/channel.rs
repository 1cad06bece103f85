//! Listening to the channel `dead`: who the others' marks mean.
//!
//! A connection of its own, because a subscriber's can do nothing else. Speaks the old protocol,
//! which every Redis understands. Nothing depends on it but the identity of marks: what is missed
//! while it is away is resolved against the list.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use redis::{ErrorKind, Parser, RedisError, Value, cmd};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::dial::{Server, Stream};
use super::wire;
use crate::telemetry::OnceAMinute;
use crate::vhost::{Backend, BackendId, Host};

/// One attempt to connect may take so long.
const DIAL_LIMIT: Duration = Duration::from_millis(500);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(250);
/// After so much silence a sign of life is asked for; after three times as much it is over.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// An announcement longer than this is none.
const MESSAGE_LIMIT_BYTES: usize = 1 << 20;

/// Hears announcements until its task is dropped.
pub(super) async fn listen(server: Rc<Server>, hear: impl Fn(Host, BackendId, Backend)) {
    let problems = OnceAMinute::default();
    loop {
        let error = session(&server, &hear).await;
        // A lost connection is told by the link to the same server; a refusal is our own story.
        if let SessionError::Refused(text) = error {
            problems.tell("listening to the channel dead", &text);
        }
        sleep(PAUSE).await;
    }
}

/// Why a subscription ended.
enum SessionError {
    /// The connection could not be made, or was lost.
    Lost,
    /// Redis said no: password, permission.
    Refused(String),
}

impl From<io::Error> for SessionError {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl From<RedisError> for SessionError {
    fn from(_: RedisError) -> Self {
        Self::Lost
    }
}

/// One subscription, from its connect to its end.
async fn session(server: &Server, hear: &impl Fn(Host, BackendId, Backend)) -> SessionError {
    let Ok(Ok(socket)) = timeout(DIAL_LIMIT, server.open()).await else {
        return SessionError::Lost;
    };
    let (reader, mut writer) = tokio::io::split(socket.stream);
    let mut hello = server.hello().get_packed_pipeline();
    hello.extend(cmd("SUBSCRIBE").arg(wire::CHANNEL).get_packed_command());
    if writer.write_all(&hello).await.is_err() {
        return SessionError::Lost;
    }
    let heard = Cell::new(Instant::now());
    tokio::select! {
        error = receive(reader, &heard, hear) => error,
        () = probe(writer, &heard) => SessionError::Lost,
    }
}

/// Asks for signs of life; ends when there is none.
async fn probe(mut writer: WriteHalf<Box<dyn Stream>>, heard: &Cell<Instant>) {
    let ping = cmd("PING").get_packed_command();
    loop {
        sleep(PROBE_AFTER).await;
        let silence = heard.get().elapsed();
        if silence >= PROBE_AFTER * 3 {
            return;
        }
        if silence >= PROBE_AFTER
            && !matches!(
                timeout(PROBE_AFTER, writer.write_all(&ping)).await,
                Ok(Ok(()))
            )
        {
            return;
        }
    }
}

/// Reads what comes; ends when nothing can come any more.
async fn receive(
    mut reader: ReadHalf<Box<dyn Stream>>,
    heard: &Cell<Instant>,
    hear: &impl Fn(Host, BackendId, Backend),
) -> SessionError {
    let (mut inbox, mut buffer) = (Inbox::default(), vec![0; 16 << 10]);
    loop {
        match reader.read(&mut buffer).await {
            Ok(count @ 1..) => inbox.push(&buffer[..count]),
            Ok(0) | Err(_) => return SessionError::Lost,
        }
        heard.set(Instant::now());
        loop {
            match inbox.next() {
                Ok(Some(value)) => {
                    if let Err(error) = take(value, hear) {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(error) => return error.into(),
            }
        }
        // Each read may bring hundreds of messages, and the runtime counts reads: in a flood it
        // would let nobody else have a turn for half a second.
        yield_now().await;
    }
}

/// Takes in one message. Confirmations and signs of life are arrays, too, and say nothing.
fn take(value: Value, hear: &impl Fn(Host, BackendId, Backend)) -> Result<(), SessionError> {
    match value {
        // Our own PING may be forbidden; a refused subscription says more than that.
        Value::ServerError(error) if wire::error_text(&error).contains("'ping'") => Ok(()),
        Value::ServerError(error) => Err(SessionError::Refused(wire::error_text(&error))),
        Value::Array(parts) => {
            if let [Value::BulkString(kind), _, Value::BulkString(text)] = parts.as_slice()
                && kind == b"message"
                && let Some((host, backend, id)) = wire::parse_announcement(text)
            {
                hear(host, id, backend);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Bytes as they come, values as they are complete.
#[derive(Default)]
struct Inbox {
    parser: Parser,
    fresh: Vec<u8>,
    /// Bytes since the last complete value.
    pending_bytes: usize,
}

impl Inbox {
    fn push(&mut self, bytes: &[u8]) {
        self.pending_bytes += bytes.len();
        self.fresh.extend_from_slice(bytes);
    }

    /// The next value, if all of it is here.
    fn next(&mut self) -> Result<Option<Value>, RedisError> {
        match self.parser.parse_value(Fresh(&mut self.fresh)) {
            Ok(value) => {
                self.pending_bytes = 0;
                Ok(Some(value))
            }
            Err(_) if self.pending_bytes > MESSAGE_LIMIT_BYTES => {
                Err((ErrorKind::Client, "a message is too large").into())
            }
            // The parser keeps what it has of an incomplete value, and goes on there.
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Hands the parser what has come, and then tells it to wait.
struct Fresh<'a>(&'a mut Vec<u8>);

impl Read for Fresh<'_> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.0.len().min(target.len());
        target[..count].copy_from_slice(&self.0[..count]);
        self.0.drain(..count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_whole_however_the_bytes_come() {
        let message = b"*3\r\n$7\r\nmessage\r\n$4\r\ndead\r\n$5\r\na\r\n;b\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n+OK\r\n-NOPERM no\r\n";
        for size in 1..=message.len() {
            let (mut inbox, mut values) = (Inbox::default(), Vec::new());
            for bytes in message.chunks(size) {
                inbox.push(bytes);
                while let Some(value) = inbox.next().unwrap() {
                    values.push(value);
                }
            }
            assert_eq!(values.len(), 4, "in pieces of {size}");
            let Value::Array(parts) = &values[0] else {
                panic!("{values:?}");
            };
            assert_eq!(parts[2], Value::BulkString(b"a\r\n;b".to_vec()));
            assert!(matches!(&values[3], Value::ServerError(error) if error.code() == "NOPERM"));
        }
    }

    #[test]
    fn a_flood_of_announcements_lets_others_have_their_turn() {
        const MESSAGES: usize = 8000;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let message =
                b"*3\r\n$7\r\nmessage\r\n$4\r\ndead\r\n$26\r\na.test;http://10.0.0.1;0;2\r\n";
            let (mut redis, stream) = tokio::io::duplex(1 << 20);
            redis.write_all(&message.repeat(MESSAGES)).await.unwrap();
            drop(redis);
            let (reader, _writer) = tokio::io::split(Box::new(stream) as Box<dyn Stream>);
            let (at, count) = (Cell::new(Instant::now()), Cell::new(0));
            let hear = |_, _, _| count.set(count.get() + 1);
            let (mut last, mut most) = (0, 0);
            let others = async {
                while last < MESSAGES {
                    most = most.max(count.get() - last);
                    last = count.get();
                    tokio::task::yield_now().await;
                }
            };
            tokio::join!(receive(reader, &at, &hear), others);
            assert!(most < MESSAGES / 8, "{most} of {MESSAGES} at once");
        });
    }

    #[test]
    fn what_is_no_redis_or_too_large_ends_the_subscription() {
        let mut inbox = Inbox::default();
        inbox.push(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert!(inbox.next().is_err());
        let mut inbox = Inbox::default();
        inbox.push(b"$9000000\r\n");
        assert!(inbox.next().unwrap().is_none());
        let mut ended = false;
        for _ in 0..100 {
            inbox.push(&[b'x'; 16 << 10]);
            ended |= inbox.next().is_err();
        }
        assert!(ended);
    }
}
