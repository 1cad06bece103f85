//! When a batch that was not taken is sent again. Pure.

use std::time::Duration;

/// Tries of one batch.
const TRIES: u32 = 5;
/// The pause after the first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The pause before the next try after so many; `None`: given up. `left` is what remains of the
/// batch's own limit, and `jitter`, from 0 to 1, keeps workers from coming back all at once.
pub(super) fn pause(
    tries: u32,
    asked: Option<Duration>,
    left: Duration,
    jitter: f64,
) -> Option<Duration> {
    if tries >= TRIES {
        return None;
    }
    let doubled = FIRST_PAUSE
        .saturating_mul(1 << (tries - 1))
        .min(LONGEST_PAUSE);
    let own = doubled.mul_f64(0.5 + jitter / 2.0);
    let pause = asked.unwrap_or_default().max(own);
    (pause < left).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_the_limits() {
        let ms = Duration::from_millis;
        let long = Duration::from_secs(30);
        let cases = [
            (1, None, long, 0.0, Some(ms(500))),
            (1, None, long, 1.0, Some(ms(1000))),
            (2, None, long, 1.0, Some(ms(2000))),
            (4, None, long, 1.0, Some(ms(5000))),
            (5, None, long, 1.0, None),
            (1, Some(ms(7000)), long, 1.0, Some(ms(7000))),
            (1, Some(ms(100)), long, 0.0, Some(ms(500))),
            (1, Some(ms(60_000)), long, 0.0, None),
            (1, None, ms(400), 0.0, None),
        ];
        for (tries, asked, left, jitter, expected) in cases {
            assert_eq!(
                pause(tries, asked, left, jitter),
                expected,
                "{tries} {asked:?}"
            );
        }
    }
}
