//! The way in and out: allocator, command line, exit status.

use std::process::ExitCode;

/// jemalloc, because its statistics drive the memory watchdog.
#[global_allocator]
static ALLOCATOR: jemallocator::Jemalloc = jemallocator::Jemalloc;

fn main() -> ExitCode {
    hipache::cli::run(std::env::args_os())
}
