//! Metrics of TLS handshakes with clients: from what was agreed on to the cells of this worker's seat.

use std::time::Duration;

use super::names::{CIPHERS, CIPHERS_OF_13, HANDSHAKE_FAILURES, SHOWN_DEFAULT, SHOWN_OWN, place};
use crate::scoreboard::{Seat, Tally, Timing};

/// A handshake that led to TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeRecord {
    /// The cipher suite, by its IANA name.
    pub(crate) cipher: &'static str,
    /// Whose certificate was shown: one of [`SHOWN`](super::names::SHOWN).
    pub(crate) shown: &'static str,
    /// Whether an earlier session was resumed.
    pub(crate) is_resumed: bool,
    /// How long it took.
    pub(crate) took: Duration,
}

/// The handshakes of one cipher suite: in full, and resumed.
pub(super) const KINDS: usize = 2;

impl HandshakeRecord {
    /// Measures it.
    pub(crate) fn measure(&self, seat: Seat) {
        let cipher = place(&CIPHERS, self.cipher);
        let tally = match self.shown {
            SHOWN_OWN => Tally::HandshakesOwn,
            SHOWN_DEFAULT => Tally::HandshakesDefault,
            _ => Tally::HandshakesNone,
        };
        seat.tally(tally, cipher * KINDS + usize::from(self.is_resumed));
        let timing = match (cipher < CIPHERS_OF_13, self.is_resumed) {
            (true, false) => Timing::ClientHandshake13,
            (true, true) => Timing::ClientHandshake13Resumed,
            (false, false) => Timing::ClientHandshake12,
            (false, true) => Timing::ClientHandshake12Resumed,
        };
        seat.time(timing, self.took);
    }

    /// Counts one that came to nothing, by its reason.
    pub(crate) fn count_failure(seat: Seat, reason: &str) {
        seat.tally(Tally::HandshakesFailed, place(&HANDSHAKE_FAILURES, reason));
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::SHOWN;
    use super::*;
    use crate::scoreboard::ENDS;

    #[test]
    fn every_handshake_has_a_cell_of_its_own() {
        assert!(CIPHERS.len() * KINDS <= ENDS && HANDSHAKE_FAILURES.len() <= ENDS);
        let seat = Seat::detached();
        let tallies = [
            Tally::HandshakesOwn,
            Tally::HandshakesDefault,
            Tally::HandshakesNone,
        ];
        for (shown, tally) in SHOWN.into_iter().zip(tallies) {
            for (number, cipher) in CIPHERS.into_iter().enumerate() {
                for is_resumed in [false, true] {
                    let record = HandshakeRecord {
                        cipher,
                        shown,
                        is_resumed,
                        took: Duration::from_millis(1),
                    };
                    record.measure(seat);
                    let cell = number * KINDS + usize::from(is_resumed);
                    assert_eq!(seat.tallied(tally, cell), 1, "{record:?}");
                }
            }
        }
        let timed = |timing| seat.timed(timing).0.iter().sum::<u64>();
        let (of_13, of_12) = (CIPHERS_OF_13, CIPHERS.len() - CIPHERS_OF_13);
        for (timing, ciphers) in [
            (Timing::ClientHandshake13, of_13),
            (Timing::ClientHandshake13Resumed, of_13),
            (Timing::ClientHandshake12, of_12),
            (Timing::ClientHandshake12Resumed, of_12),
        ] {
            assert_eq!(timed(timing), (ciphers * SHOWN.len()) as u64, "{timing:?}");
        }
    }

    #[test]
    fn a_failure_that_has_no_word_is_counted_all_the_same() {
        let seat = Seat::detached();
        HandshakeRecord::count_failure(seat, "timeout");
        HandshakeRecord::count_failure(seat, "of the future");
        assert_eq!(seat.tallied(Tally::HandshakesFailed, 0), 1);
        let last = HANDSHAKE_FAILURES.len() - 1;
        assert_eq!(seat.tallied(Tally::HandshakesFailed, last), 1);
    }
}
