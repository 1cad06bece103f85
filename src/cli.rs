//! The command line: from arguments to a configuration, and to what is done with it.
//!
//! The only place with exit codes: 0 is success, 1 a configuration or a start that is not possible,
//! 2 a wrong use of the command line. All problems are told before the end, one a line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{self, Config, Findings, Loaded, Origin, QuickRoute};
use crate::master::{self, Handover};
use crate::telemetry::{self, Event};

/// A distributed HTTP and WebSocket proxy for very many virtual hosts.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Cli {
    /// The configuration file
    ///
    /// Without it: ./config/config.json, /etc/hipache/config.json or /etc/hipache.json, the first
    /// that exists; with SETTINGS_FLAVOR=x in the environment, config_x.json in the first two places.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check everything that can be checked, print what would be in force, and stop
    #[arg(short, long)]
    dry: bool,

    /// With --dry: unknown and deprecated keys are errors
    #[arg(long, requires = "dry")]
    strict: bool,

    /// Quick start: an address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", requires = "route", conflicts_with = "config", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,

    /// Quick start: serve these backends under this host, with no file and no Redis
    ///
    /// HOST is a name, `*.` and a name, or `*`.
    #[arg(long, value_name = "HOST=URL[,URL…]", conflicts_with = "config")]
    route: Vec<QuickRoute>,
}

const AFTER_HELP: &str = "\
Quick start:
  hipache --listen 127.0.0.1:8080 --route '*=http://127.0.0.1:3000'
";

/// Runs `hipache` with these arguments, the program's name first; the only place with exit codes.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let handover = match Handover::take() {
        Ok(handover) => handover,
        Err(error) => {
            say(format_args!("error: taking over: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(usage) => {
            let code = tell_usage(&usage);
            go_back(handover, "its command line is refused");
            return code;
        }
    };
    let mut findings = Findings::default();
    let origin = cli.origin(&mut findings);
    let loaded = origin.as_ref().and_then(|origin| {
        // Back from another image, it goes on with what was in force, whatever the file says.
        match handover.as_ref().and_then(Handover::text) {
            Some(text) => origin.load_text(text.to_owned(), &mut findings),
            None => origin.load(&mut findings),
        }
    });
    if cli.dry {
        findings.be_punctual();
    }
    if cli.strict {
        findings.be_strict();
    }
    match origin.zip(loaded).filter(|_| !findings.has_errors()) {
        None => {
            tell(&findings);
            go_back(handover, "its configuration is refused");
            ExitCode::FAILURE
        }
        Some((_, loaded)) if cli.dry => {
            tell(&findings);
            print(&loaded.config)
        }
        Some((origin, loaded)) => start((loaded, origin), &findings, handover),
    }
}

impl Cli {
    /// Where the configuration comes from, unless there is none at all.
    fn origin(&self, findings: &mut Findings) -> Option<Origin> {
        if !self.route.is_empty() {
            let listen = match self.listen.as_slice() {
                [] => vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
                listen => listen.to_vec(),
            };
            let routes = self.route.clone();
            return Some(Origin::CommandLine { listen, routes });
        }
        let path = match &self.config {
            Some(path) => path.clone(),
            None => find(findings)?,
        };
        Some(Origin::File(path))
    }
}

fn find(findings: &mut Findings) -> Option<PathBuf> {
    let flavour = std::env::var("SETTINGS_FLAVOR").ok();
    config::find(flavour.as_deref())
        .map_err(|tried| {
            let tried: Vec<_> = tried.iter().map(|path| path.display().to_string()).collect();
            let text = format_args!(
                "no configuration file: tried {}; name one with --config FILE, or start without one, \
                 as in: hipache --route '*=http://127.0.0.1:3000'",
                tried.join(", ")
            );
            findings.error("", text);
        })
        .ok()
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080".to_owned())
}

/// Help and version go to standard output, mistakes to standard error.
fn tell_usage(usage: &clap::Error) -> ExitCode {
    // Nobody is left to be told when standard error is closed.
    let _ = usage.print();
    ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
}

/// Writes all findings to standard error, one a line.
fn tell(findings: &Findings) {
    let mut stderr = io::stderr().lock();
    for finding in findings.iter() {
        let weight = if finding.is_error() {
            "error"
        } else {
            "warning"
        };
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(stderr, "{weight}: {}{finding}", findings.source());
    }
}

/// Becomes the program again that handed over to this one, if one did.
fn go_back(handover: Option<Handover>, reason: &str) {
    if let Some(handover) = handover {
        let error = handover.go_back(reason);
        say(format_args!(
            "error: going back to the former program: {error}"
        ));
    }
}

fn say(text: std::fmt::Arguments<'_>) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints what is in force; or, when a program asks that this one may take over from, the answer.
fn print(config: &Config) -> ExitCode {
    match master::answer() {
        None => {}
        Some(Ok(answer)) => return print_line(&answer),
        Some(Err(refusal)) => {
            say(format_args!("error: {refusal}"));
            return ExitCode::FAILURE;
        }
    }
    let shown = config::show(config, &telemetry::example_line);
    print_line(&format_args!("{shown:#}"))
}

fn print_line(line: &dyn std::fmt::Display) -> ExitCode {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Starts to serve, and returns when it is over.
fn start(
    (loaded, origin): (Loaded, Origin),
    findings: &Findings,
    handover: Option<Handover>,
) -> ExitCode {
    telemetry::init(&loaded.config);
    for finding in findings.iter() {
        telemetry::emit(&Event::ConfigurationNotice { finding });
    }
    master::run(loaded, origin, handover)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(arguments: &[&str]) -> Option<i32> {
        let arguments = ["hipache"].iter().chain(arguments);
        Cli::try_parse_from(arguments)
            .err()
            .map(|usage| usage.exit_code())
    }

    #[test]
    fn wrong_use_is_two_and_help_is_none() {
        let table: &[(&[&str], Option<i32>)] = &[
            (&[], None),
            (&["-c", "x.json"], None),
            (&["--config", "x.json", "--dry", "--strict"], None),
            (&["-d", "-c", "x.json"], None),
            (&["--route", "a=http://b"], None),
            (
                &[
                    "--route",
                    "a=http://b",
                    "--route",
                    "*=http://b",
                    "--listen",
                    "[::]:1",
                    "--dry",
                ],
                None,
            ),
            (&["--help"], Some(0)),
            (&["-V"], Some(0)),
            (&["--strict"], Some(2)),
            (&["--listen", "127.0.0.1:1"], Some(2)),
            (&["--listen", "8080", "--route", "a=http://b"], Some(2)),
            (&["--route", "a"], Some(2)),
            (&["--route", "a=http://b", "-c", "x.json"], Some(2)),
            (&["--listen", "127.0.0.1:1", "-c", "x.json"], Some(2)),
            (&["x.json"], Some(2)),
        ];
        for (arguments, expected) in table {
            assert_eq!(exit_code(arguments), *expected, "{arguments:?}");
        }
    }

    #[test]
    fn missing_file_and_wrong_file_fail_before_the_start() {
        for file in ["/nonexistent/config.json", "/dev/null"] {
            let arguments = ["hipache", "-c", file].map(OsString::from);
            assert_eq!(run(arguments), ExitCode::FAILURE, "{file}");
        }
    }

    #[test]
    fn definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
