//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `hipache` with these arguments, the program's name first; the only place with exit codes.
pub fn run(_arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    todo!("command line")
}
