//! What the master tells of itself and of what it did, in the header.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::counted::{Death, Reload, Replacement};
use super::{MOVES, Scoreboard};

const PID: usize = 4;
const STARTED: usize = 5;
const GENERATION: usize = 6;
const RELOADED: usize = 7;
const DEATHS: usize = 8;
const REPLACEMENTS: usize = DEATHS + Death::ALL.len();
const RELOADS: usize = REPLACEMENTS + Replacement::ALL.len();
const UPGRADES: usize = RELOADS + Reload::ALL.len();
const _: () = assert!(UPGRADES + Reload::ALL.len() <= MOVES, "no room");

impl Scoreboard {
    /// Writes this process into a new board.
    pub(super) fn name_master(self) {
        self.put(PID, u64::from(std::process::id()));
        self.put(STARTED, wall_millis());
    }

    /// The master's process id.
    pub(crate) fn master(self) -> u32 {
        u32::try_from(self.get(PID)).unwrap_or(0)
    }

    /// When the master started, by the wall clock.
    pub(crate) fn started(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.get(STARTED))
    }

    /// Tells which generation of workers serves from now on, and with it its configuration.
    pub(crate) fn begin_generation(self, number: u64) {
        self.put(GENERATION, number);
        self.put(RELOADED, wall_millis());
    }

    /// The generation of workers that serves; the first is 1.
    pub(crate) fn generation(self) -> u64 {
        self.get(GENERATION)
    }

    /// Counts the death of a worker.
    pub(crate) fn count_death(self, death: Death) {
        self.add(DEATHS + death as usize);
    }

    /// How many workers died so.
    pub(crate) fn deaths(self, death: Death) -> u64 {
        self.get(DEATHS + death as usize)
    }

    /// Counts a worker whose place another takes.
    pub(crate) fn count_replacement(self, why: Replacement) {
        self.add(REPLACEMENTS + why as usize);
    }

    /// How many workers were replaced for this reason.
    pub(crate) fn replacements(self, why: Replacement) -> u64 {
        self.get(REPLACEMENTS + why as usize)
    }

    /// Counts a reload that is over.
    pub(crate) fn count_reload(self, result: Reload) {
        self.add(RELOADS + result as usize);
    }

    /// Counts an upgrade that is over.
    pub(crate) fn count_upgrade(self, result: Reload) {
        self.add(UPGRADES + result as usize);
    }

    /// How many upgrades ended so.
    pub(crate) fn upgrades(self, result: Reload) -> u64 {
        self.get(UPGRADES + result as usize)
    }

    /// How many reloads ended so.
    pub(crate) fn reloads(self, result: Reload) -> u64 {
        self.get(RELOADS + result as usize)
    }

    /// Since when the configuration in force is, by the wall clock.
    pub(crate) fn configured(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.get(RELOADED))
    }

    fn cell(self, index: usize) -> &'static AtomicU64 {
        &self.cells[index]
    }

    fn get(self, index: usize) -> u64 {
        self.cell(index).load(Ordering::Relaxed)
    }

    fn put(self, index: usize, value: u64) {
        self.cell(index).store(value, Ordering::Relaxed);
    }

    fn add(self, index: usize) {
        self.cell(index).fetch_add(1, Ordering::Relaxed);
    }
}

/// Milliseconds since 1970.
pub(super) fn wall_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0)
}
