//! How much a client may ask of us for nothing.
//!
//! Frames that move nothing (pings, settings, priorities, windows, resets, empty ones) cost their sender
//! less than us. What is sent to a client gives patience with it back, and so does time: no ordinary one
//! runs out of it.

use std::time::{Duration, Instant};

/// What a client may spend at once, and never has more of.
const MOST: i64 = 1000;
/// Milliseconds in which one comes back.
const MILLIS_EACH: u64 = 10;
/// What a reset costs: a request was made for nothing.
const RESET: i64 = 10;
/// What a response gives back whose end was sent: as many resets as responses are no attack.
const RESPONSE: i64 = 10;
/// What a frame with data gives back, beside one for each [`DATA_BYTES`]: windows are opened for it.
const DATA_FRAME: i64 = 2;
const DATA_BYTES: usize = 512;

/// The patience that is left with one client.
#[derive(Debug)]
pub(super) struct Patience {
    left: i64,
    /// When it last came back by itself.
    renewed: Instant,
}

impl Patience {
    /// As much as there ever is.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: MOST,
            renewed: now,
        }
    }

    /// A frame came that moves nothing.
    pub(super) fn on_idle_frame(&mut self) {
        self.left -= 1;
    }

    /// A stream was reset, or a head refused.
    pub(super) fn on_reset(&mut self) {
        self.left -= RESET;
    }

    /// A frame with so many bytes of data was sent.
    pub(super) fn on_data(&mut self, bytes: usize) {
        let pieces = i64::try_from(bytes / DATA_BYTES).unwrap_or(MOST);
        self.give(DATA_FRAME + pieces);
    }

    /// The end of a response was sent.
    pub(super) fn on_response(&mut self) {
        self.give(RESPONSE);
    }

    /// Whether there is none left. The clock is asked only where it matters.
    pub(super) fn is_over(&mut self, clock: impl FnOnce() -> Instant) -> bool {
        if self.left < 0 {
            let passed = clock().saturating_duration_since(self.renewed);
            let back = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX) / MILLIS_EACH;
            // What is less than one is left for later.
            self.renewed += Duration::from_millis(back * MILLIS_EACH);
            self.give(i64::try_from(back).unwrap_or(MOST));
        }
        self.left < 0
    }

    fn give(&mut self, patience: i64) {
        self.left = self.left.saturating_add(patience).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rounds of this a client may go, one in so many milliseconds; 10,000 are for ever.
    fn rounds(round: impl Fn(&mut Patience), millis: u64) -> u64 {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        (0..10_000)
            .find(|number| {
                round(&mut patience);
                patience.is_over(|| start + Duration::from_millis(number * millis))
            })
            .unwrap_or(10_000)
    }

    #[test]
    fn floods_run_out_of_patience_and_ordinary_clients_do_not() {
        assert_eq!(rounds(Patience::on_idle_frame, 0), 1000);
        assert_eq!(rounds(Patience::on_reset, 0), 100);
        // One in 10 ms is what comes back.
        assert_eq!(rounds(Patience::on_idle_frame, 10), 10_000);
        assert_eq!(rounds(Patience::on_idle_frame, 5), 1999);
        assert_eq!(rounds(Patience::on_reset, 100), 10_000);
        // As many responses as resets.
        let mixed = |patience: &mut Patience| {
            patience.on_reset();
            patience.on_response();
        };
        assert_eq!(rounds(mixed, 0), 10_000);
        // Two windows opened for each small message, and 30 for a whole frame.
        for (bytes, windows) in [(5, 2), (16 * 1024, 30)] {
            let reading = |patience: &mut Patience| {
                patience.on_data(bytes);
                (0..windows).for_each(|_| patience.on_idle_frame());
            };
            assert_eq!(rounds(reading, 0), 10_000, "{bytes}");
        }
    }

    #[test]
    fn there_is_never_more_of_it_than_at_first() {
        let now = Instant::now();
        let mut patience = Patience::new(now);
        patience.on_data(usize::MAX);
        (0..1000).for_each(|_| patience.on_idle_frame());
        assert!(!patience.is_over(|| now));
        patience.on_idle_frame();
        assert!(patience.is_over(|| now));
        assert!(!patience.is_over(|| now + Duration::from_hours(1)));
        (0..1001).for_each(|_| patience.on_idle_frame());
        assert!(patience.is_over(|| now + Duration::from_hours(1)));
    }
}
