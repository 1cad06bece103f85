//! What follows from a worker's size: pure, without clock or allocator.
//!
//! A burst passes and a leak stays: what a burst has left unused is given back; what is in use is
//! looked at again, and only a worker that stays over its limit through several checks asks for a
//! successor.

use std::time::Duration;

use crate::telemetry::MemoryFigures;

/// Checks in a row that must find a worker over its limit.
pub(super) const PATIENCE: u32 = 3;
/// When nobody came, it asks again after this, after twice this, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// By what a worker is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Bytes that it may use.
    pub(super) limit: u64,
    /// Age from which it may be replaced.
    pub(super) min_age: Duration,
    /// Bytes that it used before it served anything.
    pub(super) idle: u64,
}

/// What a check sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Bytes used when the check began.
    pub(super) before: u64,
    /// After memory was given back, if it was.
    pub(super) after: Option<MemoryFigures>,
    /// Checks in a row before this one that left it over its limit.
    pub(super) over: u32,
    pub(super) age: Duration,
    pub(super) asked: Option<Asked>,
}

/// Its earlier requests to be replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Since the last one.
    pub(super) since: Duration,
    pub(super) times: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it is within its limit.
    Fine,
    /// Give memory back, and look again.
    Purge,
    /// Nothing more: that was enough.
    PurgedBack,
    /// Wait: what is over the limit became unused meanwhile, and is given back at the next check.
    Passing,
    /// Wait: it may pass.
    StillOver,
    /// Wait: a successor would soon be as large.
    TooYoung,
    /// Nothing ever: a successor would be as large from the start.
    LimitTooSmall,
    /// Wait: it has asked already.
    Asked,
    /// Ask for a successor.
    Replace(Growth),
}

/// Why a worker is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Most of it is in use.
    Leak,
    /// Most of it lies between what is in use.
    Fragmentation,
}

impl Growth {
    /// The word in logs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Fragmentation => "fragmentation",
        }
    }
}

/// Judges one look.
pub(super) fn judge(rules: &Rules, look: &Look) -> Verdict {
    if look.before <= rules.limit {
        return Verdict::Fine;
    }
    if rules.idle > rules.limit {
        return Verdict::LimitTooSmall;
    }
    let Some(after) = look.after else {
        return Verdict::Purge;
    };
    if after.resident <= rules.limit {
        return Verdict::PurgedBack;
    }
    // A busy worker frees memory while it is given back.
    if after.active + after.metadata <= rules.limit {
        return Verdict::Passing;
    }
    if look.over + 1 < PATIENCE {
        return Verdict::StillOver;
    }
    if look.age < rules.min_age {
        return Verdict::TooYoung;
    }
    if look.asked.is_some_and(|asked| asked.since < asked.pause()) {
        return Verdict::Asked;
    }
    Verdict::Replace(growth(&after))
}

fn growth(after: &MemoryFigures) -> Growth {
    if after.active.saturating_sub(after.allocated) > after.allocated {
        Growth::Fragmentation
    } else {
        Growth::Leak
    }
}

impl Asked {
    /// How long to wait before it asks again.
    fn pause(self) -> Duration {
        let doubled = 1_u32.checked_shl(self.times.saturating_sub(1));
        let pause = doubled.and_then(|factor| FIRST_PAUSE.checked_mul(factor));
        pause.map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        limit: 200,
        min_age: Duration::from_secs(60),
        idle: 50,
    };
    const OLD: u64 = 100;
    const BOOKS: u64 = 10;
    const YOUNG: u64 = 59;

    /// All that is resident is active, but what the books take.
    fn after(resident: u64, allocated: u64) -> Option<MemoryFigures> {
        Some(MemoryFigures {
            resident,
            allocated,
            active: resident - BOOKS,
            metadata: BOOKS,
            ..MemoryFigures::default()
        })
    }

    /// Much was freed while memory was given back.
    fn freed(resident: u64, active: u64) -> Option<MemoryFigures> {
        Some(MemoryFigures {
            active,
            ..after(resident, active)?
        })
    }

    #[test]
    fn a_worker_is_judged_by_what_is_left_after_giving_back() {
        use Verdict::{Fine, LimitTooSmall, Passing, Purge, PurgedBack, StillOver, TooYoung};
        const LEAK: Verdict = Verdict::Replace(Growth::Leak);
        const GAPS: Verdict = Verdict::Replace(Growth::Fragmentation);
        let cases = [
            ("within", 150, None, 0, OLD, Fine),
            ("at the limit", 200, None, 0, OLD, Fine),
            ("over", 201, None, 0, OLD, Purge),
            ("over for long", 900, None, 9, OLD, Purge),
            ("unused given back", 900, after(200, 20), 9, OLD, PurgedBack),
            ("freed since", 900, freed(800, 190), 9, OLD, Passing),
            ("partly freed since", 900, freed(800, 191), 9, OLD, LEAK),
            ("a burst", 900, after(201, 180), 0, OLD, StillOver),
            ("a long burst", 900, after(201, 180), 1, OLD, StillOver),
            ("a leak", 900, after(201, 180), 2, OLD, LEAK),
            ("half in use", 900, after(400, 195), 2, OLD, LEAK),
            ("mostly gaps", 900, after(400, 194), 2, OLD, GAPS),
            ("young", 900, after(400, 390), 2, YOUNG, TooYoung),
            ("young, a burst", 900, after(400, 390), 0, YOUNG, StillOver),
            ("old enough", 900, after(400, 390), 2, 60, LEAK),
        ];
        for (case, before, after, over, age, expected) in cases {
            let age = Duration::from_secs(age);
            let look = Look {
                before,
                after,
                over,
                age,
                asked: None,
            };
            assert_eq!(judge(&RULES, &look), expected, "{case}");
            let too_small = Rules { idle: 201, ..RULES };
            let expected = match expected {
                Fine => Fine,
                _ => LimitTooSmall,
            };
            assert_eq!(
                judge(&too_small, &look),
                expected,
                "{case}, limit too small"
            );
        }
    }

    #[test]
    fn it_asks_again_after_a_growing_time() {
        let cases = [
            (1, 59, false),
            (1, 60, true),
            (2, 119, false),
            (2, 120, true),
            (3, 240, true),
            (7, 3599, false),
            (7, 3600, true),
            (40, 3600, true),
            (u32::MAX, 3599, false),
        ];
        for (times, since, asks) in cases {
            let since = Duration::from_secs(since);
            let look = Look {
                before: 300,
                after: after(300, 290),
                over: PATIENCE,
                age: Duration::from_secs(OLD),
                asked: Some(Asked { since, times }),
            };
            let expected = match asks {
                true => Verdict::Replace(Growth::Leak),
                false => Verdict::Asked,
            };
            assert_eq!(judge(&RULES, &look), expected, "{times} × {since:?}");
        }
    }
}
