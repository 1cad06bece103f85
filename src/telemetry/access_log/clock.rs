//! Moments as text, in UTC. Keeps the text of the last second, which most lines share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::{DIGITS, digit};

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// 31 December 9999, 23:59:59: the last second that a year of four digits can tell.
pub(super) const LAST_SECOND: u64 = 253_402_300_799;

/// Two texts of one second.
#[derive(Debug)]
pub(in super::super) struct Clock {
    second: u64,
    /// `22/Nov/2026:05:01:23`
    common: [u8; 20],
    /// `2026-11-22T05:01:23`
    iso: [u8; 19],
}

impl Clock {
    /// A clock that remembers nothing but the epoch.
    pub(in super::super) fn new() -> Self {
        let (common, iso) = second_texts(0);
        Self {
            second: 0,
            common,
            iso,
        }
    }

    /// `22/Nov/2026:05:01:23`
    pub(super) fn common(&mut self, moment: SystemTime) -> &[u8; 20] {
        self.turn_to(moment);
        &self.common
    }

    /// `2026-11-22T05:01:23`
    pub(in super::super) fn iso(&mut self, moment: SystemTime) -> &[u8; 19] {
        self.turn_to(moment);
        &self.iso
    }

    /// Lines come in order of completion, so the second may jump either way.
    fn turn_to(&mut self, moment: SystemTime) {
        let second = since_epoch(moment).as_secs().min(LAST_SECOND);
        if second != self.second {
            self.second = second;
            (self.common, self.iso) = second_texts(second);
        }
    }
}

/// The time since 1970; zero before.
pub(super) fn since_epoch(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `22/Nov/2026:05:01:23` and `2026-11-22T05:01:23` in UTC.
fn second_texts(second: u64) -> ([u8; 20], [u8; 19]) {
    let (year, month, day) = civil_date(second / 86_400);
    let of_day = second % 86_400;
    let time = [of_day / 3_600, of_day / 60 % 60, of_day % 60];
    let mut common = *b"00/Jan/0000:00:00:00";
    let mut iso = *b"0000-00-00T00:00:00";
    put(&mut common, [0, 7, 9], [day, year / 100, year]);
    put(&mut common, [12, 15, 18], time);
    common[3..6].copy_from_slice(MONTHS[month]);
    put(&mut iso, [0, 2, 5], [year / 100, year, month as u64 + 1]);
    put(&mut iso, [8, 11, 14], [day, time[0], time[1]]);
    put(&mut iso, [17, 17, 17], [time[2]; 3]);
    (common, iso)
}

/// Puts the last two digits of each value at each place.
fn put(text: &mut [u8], places: [usize; 3], values: [u64; 3]) {
    for (at, value) in places.into_iter().zip(values) {
        text[at] = digit(value / 10);
        text[at + 1] = DIGITS[(value % 10) as usize];
    }
}

/// Year, month from 0 and day from 1 of a number of days since 1970. Counted in years that begin in
/// March, so that the leap day is the last of its year.
fn civil_date(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468; // from 1 March of the year 0
    let era = days / 146_097; // 400 years
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_the_cached_second_follows_both_ways() {
        let cases = [
            (0, "01/Jan/1970:00:00:00", "1970-01-01T00:00:00"),
            (951_782_399, "28/Feb/2000:23:59:59", "2000-02-28T23:59:59"),
            (951_782_400, "29/Feb/2000:00:00:00", "2000-02-29T00:00:00"),
            (951_868_800, "01/Mar/2000:00:00:00", "2000-03-01T00:00:00"),
            (4_107_542_400, "01/Mar/2100:00:00:00", "2100-03-01T00:00:00"),
            (1_795_323_683, "22/Nov/2026:05:01:23", "2026-11-22T05:01:23"),
            (1_798_761_599, "31/Dec/2026:23:59:59", "2026-12-31T23:59:59"),
            (1_795_323_683, "22/Nov/2026:05:01:23", "2026-11-22T05:01:23"),
            (LAST_SECOND, "31/Dec/9999:23:59:59", "9999-12-31T23:59:59"),
            (
                LAST_SECOND + 1,
                "31/Dec/9999:23:59:59",
                "9999-12-31T23:59:59",
            ),
        ];
        let mut clock = Clock::new();
        for (second, common, iso) in cases {
            let moment = UNIX_EPOCH + Duration::from_secs(second);
            assert_eq!(clock.common(moment), common.as_bytes(), "{second}");
            assert_eq!(clock.iso(moment), iso.as_bytes(), "{second}");
        }
        let before = clock.common(UNIX_EPOCH - Duration::from_secs(9));
        assert_eq!(before, b"01/Jan/1970:00:00:00");
    }
}
