//! What is told of TLS handshakes with clients.

use super::super::handshakes::KINDS;
use super::super::names::{self, CIPHERS, CIPHERS_OF_13, HANDSHAKE_FAILURES, SHOWN};
use super::{Sink, Snapshot, timed};
use crate::scoreboard::{Tally, Timing};

/// The version and the word for a resumed session.
const DURATIONS: [(Timing, &str, &str); 4] = [
    (Timing::ClientHandshake12, "1.2", "false"),
    (Timing::ClientHandshake12Resumed, "1.2", "true"),
    (Timing::ClientHandshake13, "1.3", "false"),
    (Timing::ClientHandshake13Resumed, "1.3", "true"),
];

const BY_CERTIFICATE: [Tally; SHOWN.len()] = [
    Tally::HandshakesOwn,
    Tally::HandshakesDefault,
    Tally::HandshakesNone,
];

/// Writes it; combinations that never were are left out.
pub(super) fn handshakes(sink: &mut impl Sink, snapshot: &Snapshot) {
    sink.begin(&names::HANDSHAKES);
    for (tally, shown) in BY_CERTIFICATE.into_iter().zip(SHOWN) {
        for cell in 0..CIPHERS.len() * KINDS {
            let count = snapshot.tallied(tally, cell);
            if count == 0 {
                continue;
            }
            let (cipher, is_resumed) = (cell / KINDS, cell % KINDS == 1);
            let version = if cipher < CIPHERS_OF_13 { "1.3" } else { "1.2" };
            let labels = [
                (names::TLS_VERSION, version),
                (names::TLS_CIPHER, CIPHERS[cipher]),
                (
                    names::TLS_RESUMED,
                    if is_resumed { "true" } else { "false" },
                ),
                (names::CERTIFICATE, shown),
            ];
            sink.sample(&labels, count);
        }
    }
    sink.begin(&names::HANDSHAKES_FAILED);
    for (place, reason) in HANDSHAKE_FAILURES.into_iter().enumerate() {
        let count = snapshot.tallied(Tally::HandshakesFailed, place);
        sink.sample(&[(names::ERROR, reason)], count);
    }
    sink.begin(&names::HANDSHAKE_DURATION);
    for (timing, version, resumed) in DURATIONS {
        let labels = [(names::TLS_VERSION, version), (names::TLS_RESUMED, resumed)];
        timed(sink, snapshot, timing, &labels);
    }
}
