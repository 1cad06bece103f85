//! Session tickets that any worker can open (RFC 5077, RFC 8446 §4.6.1).
//!
//! The master makes the keys and replaces them from time to time, in memory that all processes
//! share: a session resumes on any worker, and on the successor of the one that began it. The last
//! keys stay for a while, so that no ticket dies young. An image that takes over in place goes on
//! with them, so an upgrade costs no session either. Written under a sequence number by the master
//! alone: a reader that meets a change reads again.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::ftruncate;
use rustls::server::ProducesTickets;

use crate::sys;

/// How long a key makes tickets.
pub(crate) const ROTATION: Duration = Duration::from_secs(6 * 3600);
/// Keys kept: the one that makes tickets, and those before it.
const KEYS: usize = 3;
/// Cells of a key: its name, then its 32 bytes.
const KEY_CELLS: usize = 5;
/// `tickets` and the layout, raised with every change of it.
const MAGIC: u64 = u64::from_le_bytes(*b"tickets\x01");
/// The sequence number.
const SEQUENCE: usize = 1;
const FIRST_KEY: usize = SEQUENCE + 1;
/// The time of the last change, behind the keys.
const CHANGED: usize = FIRST_KEY + KEYS * KEY_CELLS;
const CELLS: usize = CHANGED + 1;
/// Bytes of a key's name.
const NAME: usize = 8;
/// A reader gives up after so many changes in a row; the client then shakes hands in full.
const TRIES: usize = 100;

/// The keys, in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct TicketKeys {
    cells: &'static [AtomicU64],
}

/// The keys with the memory that they are in, which is the master's: an image that takes over in
/// place gets the keys through it.
#[derive(Clone, Debug)]
pub(crate) struct TicketMemory {
    pub(crate) keys: TicketKeys,
    descriptor: Rc<OwnedFd>,
}

/// One key: what marks its tickets, and what seals them.
#[derive(Clone, Copy, Default)]
struct Key {
    name: [u8; NAME],
    secret: [u8; 32],
}

impl TicketMemory {
    /// Maps the keys and makes the first; before the first fork.
    pub(crate) fn create() -> io::Result<Self> {
        let memory = memfd_create(c"hipache-tickets", MFdFlags::MFD_CLOEXEC)?;
        let length = i64::try_from(CELLS * size_of::<AtomicU64>()).map_err(io::Error::other)?;
        ftruncate(&memory, length)?;
        let this = Self::map(memory)?;
        this.keys.cells[0].store(MAGIC, Ordering::Relaxed);
        this.keys.rotate()?;
        Ok(this)
    }

    /// Maps the keys of the image before this one; `None` when they are of another kind.
    pub(crate) fn take_over(memory: OwnedFd) -> io::Result<Option<Self>> {
        let length = usize::try_from(fstat(&memory)?.st_size).unwrap_or(0);
        if length != CELLS * size_of::<AtomicU64>() {
            return Ok(None);
        }
        let this = Self::map(memory)?;
        let is_ours = this.keys.cells[0].load(Ordering::Relaxed) == MAGIC;
        Ok(is_ours.then_some(this))
    }

    fn map(memory: OwnedFd) -> io::Result<Self> {
        let cells = sys::share_cells(&memory, CELLS)?;
        Ok(Self {
            keys: TicketKeys { cells },
            descriptor: Rc::new(memory),
        })
    }
}

/// To be handed over.
impl AsFd for TicketMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl TicketKeys {
    /// Begins with a new key when the one in use is old enough.
    pub(crate) fn rotate_if_due(self) -> io::Result<()> {
        let now = uptime_seconds();
        let made = self.cells[CHANGED].load(Ordering::Relaxed);
        if now.saturating_sub(made) >= ROTATION.as_secs() {
            self.rotate()?;
        }
        Ok(())
    }

    /// Begins with a new key; the oldest is forgotten, and the tickets that it made with it.
    pub(crate) fn rotate(self) -> io::Result<()> {
        let mut key = Key::default();
        let fill = |bytes: &mut [u8]| {
            rand::fill(bytes).map_err(|_| io::Error::other("the system has no random numbers"))
        };
        fill(&mut key.name)?;
        fill(&mut key.secret)?;
        let sequence = self.cells[SEQUENCE].load(Ordering::Relaxed);
        // Odd while the keys change.
        self.cells[SEQUENCE].store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let keys = &self.cells[FIRST_KEY..CHANGED];
        for cell in (KEY_CELLS..keys.len()).rev() {
            keys[cell].store(
                keys[cell - KEY_CELLS].load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
        }
        for (cell, word) in keys.iter().zip(key.words()) {
            cell.store(word, Ordering::Relaxed);
        }
        self.cells[CHANGED].store(uptime_seconds(), Ordering::Relaxed);
        self.cells[SEQUENCE].store(sequence + 2, Ordering::Release);
        Ok(())
    }

    /// The key of this place: 0 is the one in use.
    fn read(self, place: usize) -> Option<Key> {
        for _ in 0..TRIES {
            let before = self.cells[SEQUENCE].load(Ordering::Acquire);
            let start = FIRST_KEY + place * KEY_CELLS;
            let mut words = [0; KEY_CELLS];
            for (word, cell) in words.iter_mut().zip(&self.cells[start..]) {
                *word = cell.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            let after = self.cells[SEQUENCE].load(Ordering::Relaxed);
            if before == after && before.is_multiple_of(2) {
                return Some(Key::from_words(words));
            }
        }
        None
    }
}

impl Key {
    fn words(self) -> [u64; KEY_CELLS] {
        let mut words = [u64::from_le_bytes(self.name); KEY_CELLS];
        for (word, bytes) in words[1..].iter_mut().zip(self.secret.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }

    fn from_words(words: [u64; KEY_CELLS]) -> Self {
        let mut secret = [0; 32];
        for (bytes, word) in secret.as_chunks_mut::<8>().0.iter_mut().zip(&words[1..]) {
            *bytes = word.to_le_bytes();
        }
        Self {
            name: words[0].to_le_bytes(),
            secret,
        }
    }

    fn cipher(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.secret).ok()
    }
}

/// Seconds of the monotonic clock.
fn uptime_seconds() -> u64 {
    // Cannot fail for a clock that every Linux has; then keys are never too old.
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    now.as_secs()
}

/// Never shows a key.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

/// A ticket: name of its key, nonce, sealed session.
impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // A ticket made just before a rotation lives through this many more.
        let rotations = u32::try_from(KEYS - 1).unwrap_or(1);
        u32::try_from((ROTATION * rotations).as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.read(0)?;
        let mut sealed = plain.to_vec();
        let nonce = key
            .cipher()?
            .seal_in_place_append_tag(Aad::from(key.name), &mut sealed)
            .ok()?;
        Some([&key.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = (0..KEYS)
            .filter_map(|place| self.read(place))
            .find(|key| key.name == *name && key.secret != [0; 32])?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key
            .cipher()?
            .open_in_place(nonce, Aad::from(key.name), &mut opened)
            .ok()?
            .len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_outlives_two_rotations_and_no_more() {
        let keys = TicketMemory::create().unwrap().keys;
        let ticket = keys.encrypt(b"session").unwrap();
        assert_ne!(ticket, keys.encrypt(b"session").unwrap());
        for rotation in 0..KEYS {
            assert_eq!(keys.decrypt(&ticket).unwrap(), b"session", "{rotation}");
            keys.rotate().unwrap();
        }
        assert_eq!(keys.decrypt(&ticket), None);
    }

    #[test]
    fn another_image_goes_on_with_the_keys_and_with_no_other_memory() {
        let first = TicketMemory::create().unwrap();
        let keys = first.keys;
        let ticket = keys.encrypt(b"session").unwrap();
        let take = || {
            let memory = first.as_fd().try_clone_to_owned().unwrap();
            TicketMemory::take_over(memory).unwrap()
        };
        let taken = take().unwrap().keys;
        assert_eq!(taken.decrypt(&ticket).unwrap(), b"session");
        keys.cells[0].store(MAGIC + 1, Ordering::Relaxed);
        assert!(take().is_none(), "another layout");
        keys.cells[0].store(MAGIC, Ordering::Relaxed);
        for length in [0, CELLS - 1, CELLS + 1] {
            let length = i64::try_from(length * size_of::<AtomicU64>()).unwrap();
            let memory = memfd_create(c"another", MFdFlags::MFD_CLOEXEC).unwrap();
            ftruncate(&memory, length).unwrap();
            assert!(
                TicketMemory::take_over(memory).unwrap().is_none(),
                "{length}"
            );
        }
    }

    #[test]
    fn what_was_changed_or_is_no_ticket_opens_nothing() {
        let keys = TicketMemory::create().unwrap().keys;
        let ticket = keys.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(keys.decrypt(&changed), None, "byte {at}");
            assert_eq!(keys.decrypt(&ticket[..at]), None, "cut at {at}");
        }
        // An empty place among the keys is no key.
        assert_eq!(keys.decrypt(&[0; 100]), None);
    }
}
