//! How a worker ends, and the exit status by which the master knows.

use std::fmt;
use std::process::ExitCode;

/// How a worker ended when it chose to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All that it had was finished.
    Drained = 0,
    /// The limit cut something.
    Forced = 3,
    /// It cannot serve as it was told to, and neither can a successor.
    CouldNotStart = 4,
}

impl Exit {
    /// What an exit status means; `None` for one that we did not choose, such as a panic's.
    pub(crate) fn of(status: i32) -> Option<Self> {
        [Self::Drained, Self::Forced, Self::CouldNotStart]
            .into_iter()
            .find(|exit| i32::from(*exit as u8) == status)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drained => "drained",
            Self::Forced => "drained by force",
            Self::CouldNotStart => "could not start",
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
