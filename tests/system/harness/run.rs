//! The binary under test, run until it ends by itself.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{SOON, process};

/// The binary under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_hipache")
}

/// Runs the binary with these arguments until it ends; kills it when it does not.
#[track_caller]
pub(crate) fn run_to_end(directory: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let (out, err) = (directory.join("stdout"), directory.join("stderr"));
    let mut child = Command::new(binary())
        .args(arguments)
        .current_dir(directory)
        .env_remove("SETTINGS_FLAVOR")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > SOON {
            process::signal(child.id(), Signal::SIGTERM);
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "{arguments:?} did not end: {}",
                std::fs::read_to_string(&err).unwrap()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Output {
        status,
        stdout: std::fs::read(out).unwrap(),
        stderr: std::fs::read(err).unwrap(),
    }
}
