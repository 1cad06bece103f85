//! Closing a connection so that the last response arrives.
//!
//! A close while the client still sends resets the connection, and a reset may overtake the
//! response (RFC 9112 §9.6). So the sending side is closed first, and what still comes is read and
//! thrown away, for a while.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::proxy::Downlink;
use crate::transport::Transport;

/// Silence after which a lingering connection is closed.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// The same where no request is expected: one that crossed our close is all that may come.
const IDLE_SILENCE: Duration = Duration::from_secs(1);

/// How long a connection lingers in all.
const LINGER: Duration = Duration::from_secs(30);

/// Bytes thrown away at a time.
const WASTE_BYTES: usize = 16 * 1024;

/// Closes what is left of a connection.
pub(super) async fn close(link: &Downlink, is_broken: bool) {
    let must_linger = !is_broken && link.must_linger();
    let Some(mut stream) = link.take_stream() else {
        return;
    };
    if !must_linger && !is_broken && matches!(stream, Transport::Tls(_)) {
        // Without TLS's own end mark a client cannot tell the end from a cut (RFC 8446 §6.1). One
        // that takes nothing goes without.
        let _ = timeout(IDLE_SILENCE, stream.shutdown()).await;
    }
    if must_linger && link.cut_as().is_some() {
        // The client is told why, but not listened to for long.
        let _ = timeout(IDLE_SILENCE, linger(stream, IDLE_SILENCE)).await;
    } else if must_linger {
        let silence = match link.is_idle_over() {
            true => IDLE_SILENCE,
            false => SILENCE,
        };
        linger(stream, silence).await;
    }
}

/// Closes the sending side, and reads what still comes until the client closes or a limit is over.
pub(super) async fn linger(mut stream: Transport, silence: Duration) {
    let waste_all = async {
        // Already closed, after a tunnel, or broken: the reads will tell.
        let _ = stream.shutdown().await;
        let mut waste = vec![0; WASTE_BYTES];
        while let Ok(Ok(1..)) = timeout(silence, stream.read(&mut waste)).await {}
    };
    // Whether it took too long or came to its end: the connection is closed all the same.
    let _ = timeout(LINGER, waste_all).await;
}
