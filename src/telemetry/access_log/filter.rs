//! Which lines a log is given: those that pass its filter, and of the normal ones a sample.

use std::cell::Cell;

use crate::config::{AccessLog, Filter};
use crate::telemetry::Record;

/// The filter of one log, in one worker.
pub(super) struct Sieve {
    filter: Filter,
    /// Of normal lines, one of so many.
    sample: u32,
    /// Normal lines to leave out before the next.
    to_skip: Cell<u32>,
}

impl Sieve {
    /// That of this log.
    pub(super) fn new(log: &AccessLog) -> Self {
        Self {
            filter: log.filter.clone(),
            sample: log.sample,
            to_skip: Cell::new(0),
        }
    }

    /// Whether the line of a record is to be written. Errors are never left out by the sample.
    pub(super) fn passes(&self, record: &Record<'_>) -> bool {
        self.filter.passes(record) && (self.sample == 1 || record.is_error() || self.is_drawn())
    }

    /// Counts a normal line, of which the first of each round is written.
    fn is_drawn(&self) -> bool {
        let to_skip = self.to_skip.get();
        self.to_skip.set(match to_skip {
            0 => self.sample - 1,
            more => more - 1,
        });
        to_skip == 0
    }
}

impl Filter {
    fn passes(&self, record: &Record<'_>) -> bool {
        let status = record.logged_status();
        let is_in = |words: &[String], word| words.is_empty() || words.iter().any(|w| w == word);
        (self.status.is_empty() || self.status.iter().any(|range| range.contains(&status)))
            && record.total >= self.min_duration
            && is_in(&self.ends, record.end)
            && is_in(&self.vhosts, record.vhost())
            && (!self.errors_only || record.is_error())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Target;
    use crate::telemetry::record::samples::record;

    fn sieve(filter: Filter, sample: u32) -> Sieve {
        let log = AccessLog::plain(Target::Stdout);
        Sieve::new(&AccessLog {
            filter,
            sample,
            ..log
        })
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table")]
    fn a_line_passes_every_filter_or_none() {
        let ok = record();
        let failed = Record {
            status: 502,
            end: "connection_refused",
            ..ok
        };
        let cut = Record {
            end: "connection_terminated",
            ..ok
        };
        let all = Filter::default;
        let table = [
            (all(), [true, true, true]),
            (
                Filter {
                    status: vec![500..=599, 404..=404],
                    ..all()
                },
                [false, true, false],
            ),
            (
                Filter {
                    min_duration: Duration::from_millis(12),
                    ..all()
                },
                [true; 3],
            ),
            (
                Filter {
                    min_duration: Duration::from_millis(13),
                    ..all()
                },
                [false; 3],
            ),
            (
                Filter {
                    ends: vec!["ok".into()],
                    ..all()
                },
                [true, false, false],
            ),
            (
                Filter {
                    vhosts: vec!["id-a.test".into()],
                    ..all()
                },
                [true; 3],
            ),
            (
                Filter {
                    vhosts: vec!["a.test".into()],
                    ..all()
                },
                [false; 3],
            ),
            (
                Filter {
                    errors_only: true,
                    ..all()
                },
                [false, true, true],
            ),
            (
                Filter {
                    errors_only: true,
                    status: vec![200..=200],
                    ..all()
                },
                [false, false, true],
            ),
        ];
        for (filter, expected) in table {
            let told = format!("{filter:?}");
            let sieve = sieve(filter, 1);
            let found = [ok, failed, cut].map(|record| sieve.passes(&record));
            assert_eq!(found, expected, "{told}");
        }
    }

    #[test]
    fn a_sample_leaves_normal_lines_out_and_never_an_error() {
        let sieve = sieve(Filter::default(), 3);
        let normal = record();
        let errors = [
            Record {
                status: 404,
                ..normal
            },
            Record {
                end: "client_gone",
                ..normal
            },
            Record {
                status: 0,
                end: "client_gone",
                ..normal
            },
        ];
        let mut written = 0;
        for _ in 0..30 {
            written += usize::from(sieve.passes(&normal));
            assert!(errors.iter().all(|error| sieve.passes(error)));
        }
        assert_eq!(written, 10);
    }
}
