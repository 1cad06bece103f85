//! The `Date` of responses, written once a second.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// The last date that was asked for.
pub(super) struct Dates {
    known: RefCell<(Duration, HeaderValue)>,
}

impl Default for Dates {
    fn default() -> Self {
        let known = (Duration::ZERO, written(UNIX_EPOCH));
        Self {
            known: RefCell::new(known),
        }
    }
}

impl Dates {
    /// This moment, as HTTP writes it (RFC 9110 §5.6.7).
    pub(super) fn at(&self, now: SystemTime) -> HeaderValue {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = Duration::from_secs(since.as_secs());
        let mut known = self.known.borrow_mut();
        if known.0 != second {
            *known = (second, written(UNIX_EPOCH + second));
        }
        known.1.clone()
    }
}

fn written(at: SystemTime) -> HeaderValue {
    // Never invalid: letters, digits, blanks, a comma and colons.
    HeaderValue::try_from(httpdate::fmt_http_date(at)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_its_second() {
        let dates = Dates::default();
        let at = |millis| dates.at(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
