//! FOR TESTS ONLY: a worker that leaks, so that only the allocator's statistics can tell.
//!
//! Built with the feature `provoke-leak` and told by `HIPACHE_LEAK_BYTES`, a worker loses so many bytes
//! for each request that it has finished, in pieces of some kilobytes that are written to and then
//! forgotten. Nothing on the path of a request knows of it.

#[cfg(not(debug_assertions))]
compile_error!(
    "the feature `provoke-leak` is for tests only; build with debug assertions (--profile leak)"
);

use std::hint::black_box;
use std::time::Duration;

use tokio::time::interval;

use crate::scoreboard::{Counter, Seat};
use crate::telemetry::{Event, emit};

/// How often what was finished meanwhile is leaked for.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of one piece: as of a buffer that was forgotten.
const PIECE: usize = 4096;

/// Leaks until the task ends.
pub(super) async fn provoke(seat: Seat) {
    let told = std::env::var("HIPACHE_LEAK_BYTES");
    let Some(bytes) = told.ok().and_then(|told| told.parse::<usize>().ok()) else {
        return;
    };
    emit(&Event::Problem {
        doing: "starting a worker of a build for tests, which leaks",
        error: &format_args!("{bytes} bytes a request"),
    });
    let mut finished = seat.count(Counter::Exchanges);
    let (mut ticks, mut owed) = (interval(PAUSE), 0);
    loop {
        ticks.tick().await;
        let now = seat.count(Counter::Exchanges);
        owed += usize::try_from(now - finished).unwrap_or(0) * bytes;
        finished = now;
        while owed >= PIECE {
            // Memory that nobody looks at would not even be asked for in an optimised build.
            black_box(vec![0xAA_u8; PIECE].leak());
            owed -= PIECE;
        }
    }
}
