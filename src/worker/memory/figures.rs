//! How large a worker is: jemalloc's own figures, and the kernel's beside them.
//!
//! jemalloc refreshes its figures only when its epoch is advanced, which merges all arenas under
//! their locks: nothing for every request or scrape. They are asked for by numbers looked up once.

use std::io;

use jemalloc_ctl::stats::{
    active, active_mib, allocated, allocated_mib, metadata, metadata_mib, resident, resident_mib,
    retained, retained_mib,
};
use jemalloc_ctl::{epoch, epoch_mib};
use nix::unistd::{SysconfVar, sysconf};

use crate::cgroup::Usage;
use crate::telemetry::MemoryFigures;

/// Measures.
pub(in crate::worker) struct Meter {
    epoch: epoch_mib,
    allocated: allocated_mib,
    active: active_mib,
    metadata: metadata_mib,
    resident: resident_mib,
    retained: retained_mib,
    page: u64,
    cgroup: Option<Usage>,
}

impl Meter {
    /// Looks up what is asked for later.
    pub(in crate::worker) fn new() -> io::Result<Self> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?;
        Ok(Self {
            epoch: epoch::mib().map_err(failed)?,
            allocated: allocated::mib().map_err(failed)?,
            active: active::mib().map_err(failed)?,
            metadata: metadata::mib().map_err(failed)?,
            resident: resident::mib().map_err(failed)?,
            retained: retained::mib().map_err(failed)?,
            page: page
                .and_then(|page| u64::try_from(page).ok())
                .unwrap_or(4096),
            cgroup: Usage::here(),
        })
    }

    /// jemalloc's figures now.
    pub(in crate::worker) fn measure(&self) -> io::Result<MemoryFigures> {
        self.read().map_err(failed)
    }

    fn read(&self) -> jemalloc_ctl::Result<MemoryFigures> {
        self.epoch.advance()?;
        Ok(MemoryFigures {
            allocated: self.allocated.read()? as u64,
            active: self.active.read()? as u64,
            metadata: self.metadata.read()? as u64,
            resident: self.resident.read()? as u64,
            retained: self.retained.read()? as u64,
            ..MemoryFigures::default()
        })
    }

    /// Adds what the kernel tells. It never decides: the resident set has more than jemalloc's
    /// pages in it, and the group's figure the page cache as well.
    pub(in crate::worker) fn beside(&self, figures: MemoryFigures) -> MemoryFigures {
        let pages = std::fs::read_to_string("/proc/self/statm");
        let pages = pages.ok().and_then(|text| resident_pages(&text));
        MemoryFigures {
            resident_set: pages.unwrap_or(0) * self.page,
            cgroup: self.cgroup.as_ref().and_then(Usage::bytes).unwrap_or(0),
            ..figures
        }
    }
}

/// jemalloc's errors are numbers with a text.
fn failed(error: jemalloc_ctl::Error) -> io::Error {
    io::Error::other(error.to_string())
}

/// The second number of proc_pid_statm(5).
fn resident_pages(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_the_resident_set() {
        assert_eq!(resident_pages("900 25 10 1 0 20 0\n"), Some(25));
        assert_eq!(resident_pages("900"), None);
    }

    #[test]
    fn the_kernel_tells_what_jemalloc_does_not() {
        let meter = Meter::new().unwrap();
        let own = MemoryFigures {
            resident: 7,
            ..MemoryFigures::default()
        };
        let figures = meter.beside(own);
        assert_eq!(figures.resident, 7);
        assert!(figures.resident_set > 100_000, "{figures:?}");
    }
}
