//! What one image of this program hands to the next, and the execution itself.
//!
//! All is written into a sealed piece of memory, whose number is in a variable of the environment that
//! is removed as soon as it was read. Descriptors stay open through the execution and are known by
//! their numbers. Signals stay blocked, so none is lost; whatever comes meanwhile waits in sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::execve;
use serde::{Deserialize, Serialize};

use super::supervisor::Standing;
use crate::control;
use crate::listener::Handed;
use crate::sys;

/// Where the number of the memory is.
const VARIABLE: &str = "HIPACHE_HANDOVER";
/// Raised with every change that an older reader would misread.
const VERSION: u32 = 1;

/// The versions that an image understands: of a handover, and of the messages to its workers.
pub(super) fn versions() -> String {
    format!("{VERSION}.{}", control::VERSION)
}

/// What is handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    versions: String,
    /// The command line of the image that hands over, to go back to it.
    arguments: Vec<Vec<u8>>,
    /// Its executable file.
    binary: RawFd,
    /// Why the image in between came back.
    pub(super) failure: Option<String>,
    /// Generations prepared so far.
    pub(super) generations: u64,
    pub(super) current: Era,
    pub(super) past: Vec<Era>,
    pub(super) listeners: Vec<Vec<Handed>>,
    pub(super) admin: Vec<Vec<Handed>>,
    pub(super) board: Option<RawFd>,
    /// The keys of session tickets; an image that has none to hand over says nothing of them.
    #[serde(default)]
    pub(super) tickets: Option<RawFd>,
    pub(super) workers: Vec<Worker>,
}

/// A generation: its number, and the text of its configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Era {
    pub(super) number: u64,
    pub(super) text: String,
}

/// A worker that lives.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) standing: Standing,
    pub(super) pid: i32,
    /// The master's end.
    pub(super) channel: Option<RawFd>,
    pub(super) lived_millis: u64,
    pub(super) is_leaving: bool,
    pub(super) is_hung: bool,
}

/// What was handed to this image. Its descriptors stay open as long as it may have to go back.
#[derive(Debug)]
pub struct Handover {
    pub(super) state: State,
    kept: BTreeMap<RawFd, OwnedFd>,
}

/// The descriptors that go along.
#[derive(Debug, Default)]
pub(super) struct Luggage<'a> {
    descriptors: Vec<BorrowedFd<'a>>,
}

impl<'a> Luggage<'a> {
    /// Takes one along; gives its number.
    pub(super) fn add(&mut self, descriptor: BorrowedFd<'a>) -> RawFd {
        self.descriptors.push(descriptor);
        descriptor.as_raw_fd()
    }

    fn keep_open(&self, flags: FdFlag) -> io::Result<()> {
        for descriptor in &self.descriptors {
            fcntl(descriptor, FcntlArg::F_SETFD(flags))?;
        }
        Ok(())
    }
}

impl State {
    /// What every image says of itself; `binary` is its executable file.
    pub(super) fn of_this_image(current: Era, binary: RawFd) -> Self {
        let arguments = std::env::args_os();
        Self {
            versions: versions(),
            arguments: arguments.map(|it| it.as_bytes().to_vec()).collect(),
            binary,
            failure: None,
            generations: current.number,
            current,
            past: Vec::new(),
            listeners: Vec::new(),
            admin: Vec::new(),
            board: None,
            tickets: None,
            workers: Vec::new(),
        }
    }

    /// Goes back to the image that handed over `former`, which is to find itself as it was.
    pub(super) fn back_to(&mut self, former: &Former, reason: &str) {
        self.failure = Some(reason.to_owned());
        self.arguments.clone_from(&former.arguments);
    }

    /// Becomes another program, which finds this state. Returns only when that is not possible.
    pub(super) fn execute(&self, program: &Path, luggage: &Luggage<'_>) -> io::Error {
        match self.try_execute(program, luggage) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_execute(&self, program: &Path, luggage: &Luggage<'_>) -> io::Result<Infallible> {
        let memory = self.seal()?;
        let program = CString::new(program.as_os_str().as_bytes())?;
        let arguments = self.arguments.iter().map(|it| CString::new(it.as_slice()));
        let arguments: Vec<CString> = arguments.collect::<Result<_, _>>()?;
        let variables = std::env::vars_os()
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
        let own = CString::new(format!("{VARIABLE}={}", memory.as_raw_fd()));
        let variables: Vec<CString> = variables.chain([own]).collect::<Result<_, _>>()?;
        luggage.keep_open(FdFlag::empty())?;
        let error = match execve(&program, &arguments, &variables) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        luggage.keep_open(FdFlag::FD_CLOEXEC)?;
        Err(error.into())
    }

    /// Nobody changes it any more; not closed by an execution.
    fn seal(&self) -> io::Result<File> {
        let memory = memfd_create(c"hipache-handover", MFdFlags::MFD_ALLOW_SEALING)?;
        let mut memory = File::from(memory);
        memory.write_all(&serde_json::to_vec(self)?)?;
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK;
        fcntl(
            &memory,
            FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL),
        )?;
        Ok(memory)
    }

    fn descriptors(&self) -> BTreeSet<RawFd> {
        let sockets = self.listeners.iter().chain(&self.admin).flatten();
        let sockets = sockets.map(|socket| socket.descriptor);
        let channels = self.workers.iter().filter_map(|worker| worker.channel);
        let others = [self.binary]
            .into_iter()
            .chain(self.board)
            .chain(self.tickets);
        sockets.chain(channels).chain(others).collect()
    }
}

impl Handover {
    /// What this process was handed, if anything; to be called once, before anything is opened.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        let Ok(number) = std::env::var(VARIABLE) else {
            return Ok(None);
        };
        sys::unset_variables(&[VARIABLE])?;
        let number = number
            .parse()
            .map_err(|_| io::Error::other(format!("{VARIABLE} is no number: {number:?}")))?;
        let mut text = String::new();
        let mut memory = File::from(sys::own_handed_over(number)?);
        memory.rewind()?;
        memory.read_to_string(&mut text)?;
        let state: State = serde_json::from_str(&text)?;
        if state.versions != versions() {
            let (theirs, ours) = (&state.versions, versions());
            let text = format!("handed over in version {theirs}, expected {ours}");
            return Err(io::Error::other(text));
        }
        let mut kept = BTreeMap::new();
        for number in state.descriptors() {
            let descriptor = sys::own_handed_over(number)?;
            fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
            kept.insert(number, descriptor);
        }
        Ok(Some(Self { state, kept }))
    }

    /// The text of the configuration in force, where this image is back and goes on as it was.
    pub(crate) fn text(&self) -> Option<&str> {
        let is_back = self.state.failure.is_some();
        is_back.then_some(self.state.current.text.as_str())
    }

    /// Becomes the image again that handed over. Returns only when that is not possible.
    pub(crate) fn go_back(mut self, reason: &str) -> io::Error {
        if self.state.failure.is_some() {
            return io::Error::other("this is the former program");
        }
        self.state.failure = Some(reason.to_owned());
        let mut luggage = Luggage::default();
        for descriptor in self.kept.values() {
            luggage.add(descriptor.as_fd());
        }
        self.state
            .execute(&of_descriptor(self.state.binary), &luggage)
    }

    /// A descriptor of its own for what was handed over under this number.
    pub(super) fn copy(&self, number: RawFd) -> io::Result<OwnedFd> {
        let kept = self.kept.get(&number);
        kept.ok_or_else(|| io::Error::other(format!("descriptor {number} was not handed over")))?
            .try_clone()
    }

    /// The image that handed over, to go back to.
    pub(super) fn former(&self) -> io::Result<Former> {
        Ok(Former {
            binary: self.copy(self.state.binary)?,
            arguments: self.state.arguments.clone(),
        })
    }
}

/// The image before this one.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) binary: OwnedFd,
    arguments: Vec<Vec<u8>>,
}

/// The path by which an open file is executed, also when its name is another's by now.
pub(super) fn of_descriptor(descriptor: RawFd) -> std::path::PathBuf {
    format!("/proc/self/fd/{descriptor}").into()
}
