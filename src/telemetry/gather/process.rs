//! What the kernel knows of a process of ours, read from `/proc`.

use std::sync::OnceLock;

use nix::unistd::{SysconfVar, sysconf};

/// The figures of one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) threads: u64,
    /// `None` on kernels before 6.2, which do not tell without listing all.
    pub(super) descriptors: Option<u64>,
}

/// Reads them; `None` when the process is gone.
pub(super) fn read(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Since Linux 6.2 the size of this directory is the number of its entries; listing it would
    // take milliseconds for a worker with many connections, and is not allowed to all.
    let listed = std::fs::metadata(format!("/proc/{pid}/fd"));
    let descriptors = listed
        .ok()
        .map(|listed| listed.len())
        .filter(|count| *count > 0);
    parse(&stat, descriptors)
}

/// Resident bytes; `None` when the process is gone.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    read(pid).map(|process| process.resident_bytes)
}

/// proc_pid_stat(5). The name, second, may hold anything; what follows it does not.
fn parse(stat: &str, descriptors: Option<u64>) -> Option<Process> {
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // The manual counts from 1, and the third field is the first here.
    let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
    let (ticks, page) = units();
    #[expect(clippy::cast_precision_loss, reason = "ticks of years")]
    let cpu = (field(14)? + field(15)?) as f64;
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    let ticks = ticks as f64;
    Some(Process {
        cpu_seconds: cpu / ticks,
        resident_bytes: field(24)? * page,
        virtual_bytes: field(23)?,
        threads: field(20)?,
        descriptors,
    })
}

/// Clock ticks a second, and bytes a page.
fn units() -> (u64, u64) {
    static UNITS: OnceLock<(u64, u64)> = OnceLock::new();
    let ask = |what, usual| {
        let known = sysconf(what).ok().flatten();
        known
            .and_then(|value| u64::try_from(value).ok())
            .unwrap_or(usual)
    };
    *UNITS.get_or_init(|| {
        (
            ask(SysconfVar::CLK_TCK, 100),
            ask(SysconfVar::PAGE_SIZE, 4096),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_may_hold_anything() {
        let rest = "S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 12345 1000000 25 184467";
        let stat = format!("77 (a) b) {rest}\n");
        let process = parse(&stat, Some(9)).unwrap();
        assert_eq!(process.threads, 3);
        assert_eq!(process.virtual_bytes, 1_000_000);
        assert_eq!(process.resident_bytes, 25 * units().1);
        assert!((process.cpu_seconds - 200.0 / units().0 as f64).abs() < 1e-9);
        assert_eq!(parse("77 (cut) S 1", None), None);
    }

    #[test]
    fn this_process_can_be_read_and_none_cannot() {
        let process = read(std::process::id()).unwrap();
        assert!(process.resident_bytes > 100_000 && process.threads >= 1);
        assert_eq!(read(u32::MAX), None);
    }
}
