//! Raw system calls; the only place with `unsafe`.
//!
//! Only what `nix` and `socket2` cannot offer safely stands here, each as a function that is safe
//! to call: the condition that makes it sound is either checked or holds for the whole program.

#![expect(
    unsafe_code,
    reason = "the one module that may; each block says what makes it sound"
)]

use std::ffi::CStr;
use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::ptr::null_mut;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::libc::{
    F_GETFD, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAPBSET_DROP, PR_CAPBSET_READ,
    SYS_capset, c_ulong, fcntl, ioctl, prctl, syscall,
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{ForkResult, Pid, fork};
use smallvec::SmallVec;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As many capabilities as a set of the kernel has room for.
const CAPABILITIES: c_ulong = 64;
/// An argument that prctl(2) wants to be zero, in full width.
const UNUSED: c_ulong = 0;
/// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// On which side of a fork the caller finds itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forked {
    /// In the master; the worker's process id.
    Master(Pid),
    /// In the new worker.
    Worker,
}

/// Forks a worker. Refuses when the process has a second thread: in the child that thread would be
/// missing, with whatever locks it held left locked for ever.
pub(crate) fn fork_worker() -> io::Result<Forked> {
    require_one_thread("a fork")?;
    // SAFETY: this process has one thread (checked above; the master starts none), so the child
    // inherits no lock held by another and may go on with any code, not only with what is safe in
    // a signal handler.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Master(child)),
        ForkResult::Child => Ok(Forked::Worker),
    }
}

fn require_one_thread(at: &str) -> io::Result<()> {
    // Where /proc is not mounted nothing can be counted; the rule holds all the same.
    if let Ok(threads) = std::fs::read_dir("/proc/self/task") {
        let count = threads.count();
        if count != 1 {
            return Err(io::Error::other(format!(
                "this process has {count} threads at {at}, expected 1"
            )));
        }
    }
    Ok(())
}

/// Removes variables from the environment. Refuses when the process has a second thread, which
/// could read them meanwhile.
pub(crate) fn unset_variables(names: &[&str]) -> io::Result<()> {
    require_one_thread("a change of the environment")?;
    for name in names {
        // SAFETY: this process has one thread (checked above), so nobody else reads or writes the
        // environment.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

/// Maps this many cells of a memory file, shared with every process forked later. The file must be
/// long enough: it is checked. The mapping lives as long as the process.
pub(crate) fn share_cells(memory: &OwnedFd, cells: usize) -> io::Result<&'static [AtomicU64]> {
    let bytes = cells * size_of::<AtomicU64>();
    let length = NonZeroUsize::new(bytes)
        .ok_or_else(|| io::Error::other("a shared mapping of no cells, expected at least 1"))?;
    let held = nix::sys::stat::fstat(memory)?.st_size;
    if usize::try_from(held).is_ok_and(|held| held < bytes) {
        return Err(io::Error::other(format!(
            "the shared memory holds {held} bytes, expected at least {bytes}"
        )));
    }
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: the kernel chooses the address, so no existing mapping is touched.
    let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0) }?;
    // SAFETY: the mapping is page aligned, `bytes` long, readable, writable, zero or written by
    // this program through atomics alone, and is never unmapped. Any bit pattern is a valid u64.
    Ok(unsafe { std::slice::from_raw_parts(start.as_ptr().cast::<AtomicU64>(), cells) })
}

/// What jemalloc does other than usual. Every stream of HTTP/2 needs a few pieces of some thousand
/// bytes, a hundred at a time: 20 free ones of a size are too few to keep at hand, and looking after
/// each 64 KiB that were given out, as it does by default, is more than every third request.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_CONFIG: Option<&'static u8> =
    Some(&b"tcache_nslots_small_min:200,tcache_gc_incr_bytes:1048576\0"[0]);

/// Gives every unused page of jemalloc's back to the kernel, at once and from all arenas. Takes a
/// while where there is much to give: not for the thread that serves.
pub(crate) fn purge_arenas() -> io::Result<()> {
    // 4096 stands for all arenas (`MALLCTL_ARENAS_ALL`).
    tell_allocator(c"arena.4096.purge")
}

/// Lets go of the free pieces that jemalloc keeps at hand for this thread: they hold pages.
pub(crate) fn flush_thread_cache() -> io::Result<()> {
    tell_allocator(c"thread.tcache.flush")
}

fn tell_allocator(name: &CStr) -> io::Result<()> {
    // SAFETY: the name is ended by a zero byte, and its control neither reads nor writes a value.
    let error =
        unsafe { jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Lets the kernel discard a signal, also one that is already pending.
pub(crate) fn ignore_signal(which: Signal) -> io::Result<()> {
    // SAFETY: no handler of ours is installed, so no code runs in signal context.
    unsafe { signal(which, SigHandler::SigIgn) }?;
    Ok(())
}

/// Gives a signal back its default action, whatever was inherited from the process that started us.
pub(crate) fn reset_signal(which: Signal) -> io::Result<()> {
    // SAFETY: as for `ignore_signal`.
    unsafe { signal(which, SigHandler::SigDfl) }?;
    Ok(())
}

/// Takes ownership of a descriptor that has just been received over a socket.
///
/// To be called once for each number in an `SCM_RIGHTS` message, and with nothing else.
pub(crate) fn own_received(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for us; nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Takes ownership of a listening socket that this program was started with. Refuses any other
/// descriptor, so none that another part of this program has opened.
///
/// To be called once for each number, before this program opens a listening socket of its own.
pub(crate) fn own_inherited_listener(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only asks for the descriptor's flags, and the number need not be open for that.
    Errno::result(unsafe { fcntl(descriptor, F_GETFD) })?;
    // SAFETY: it is open (checked above), and nothing closes it while it is borrowed here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if !matches!(getsockopt(&borrowed, sockopt::AcceptConn), Ok(true)) {
        return Err(io::Error::other("not a listening socket"));
    }
    // SAFETY: it is open and listens, which nothing does that this program has opened so far: it
    // was inherited, and nobody here knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes ownership of an open descriptor that the image before this one has handed over by number.
///
/// To be called once for each number of a handover, before anything else is opened.
pub(crate) fn own_handed_over(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks for flags only; the kernel refuses a number that is not open.
    Errno::result(unsafe { nix::libc::fcntl(descriptor, nix::libc::F_GETFD) })?;
    // SAFETY: it is open, and was before this image ran: nobody else here knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes every capability from the bounding set, so that none can come back by executing a program.
pub(crate) fn drop_bounding_capabilities() -> io::Result<()> {
    for capability in 0..CAPABILITIES {
        // SAFETY: neither call touches memory of ours; a number that the kernel does not know is
        // an error.
        if unsafe { prctl(PR_CAPBSET_READ, capability, UNUSED, UNUSED, UNUSED) } == 1 {
            // SAFETY: as above.
            Errno::result(unsafe { prctl(PR_CAPBSET_DROP, capability, UNUSED, UNUSED, UNUSED) })?;
        }
    }
    Ok(())
}

/// Gives up every capability that this thread has, could raise, or would pass on.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    const CLEAR_ALL: c_ulong = PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
    // SAFETY: touches no memory of ours.
    Errno::result(unsafe { prctl(PR_CAP_AMBIENT, CLEAR_ALL, UNUSED, UNUSED, UNUSED) })?;
    // capset(2): the version, and the thread by number, 0 for the caller; then twice the effective,
    // permitted and inheritable sets, 32 capabilities in each.
    let mut header: [u32; 2] = [CAPABILITY_VERSION_3, 0];
    let none = [0_u32; 6];
    // SAFETY: both arrays have the layout above and live until the call returns; it writes at most
    // the version of the header back, and only when it does not know ours.
    Errno::result(unsafe { syscall(SYS_capset, header.as_mut_ptr(), none.as_ptr()) })?;
    Ok(())
}

/// Reads from a Tokio stream straight into hyper's buffer, and says how many bytes came; 0 is the
/// end of the stream (or a full buffer). `inspect` sees them pass.
///
/// hyper offers the memory that it has reserved, uninitialised. The safe ways over it cost a copy or
/// the zeroing of at least 8 KiB for every read, so both HTTP sides read through this function.
pub(crate) fn poll_read_into(
    io: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    mut cursor: hyper::rt::ReadBufCursor<'_>,
    inspect: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    // SAFETY: `ReadBuf` never de-initialises a byte, which is all that `as_mut` asks for.
    let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
    let start = buffer.filled().as_ptr();
    ready!(io.poll_read(cx, &mut buffer))?;
    if buffer.filled().as_ptr() != start {
        return Poll::Ready(Err(io::Error::other(
            "the stream put another buffer in place",
        )));
    }
    inspect(buffer.filled());
    let count = buffer.filled().len();
    // SAFETY: `ReadBuf::filled` covers initialised bytes only, and begins at the cursor: a stream
    // could have put another buffer in its place, which was ruled out above.
    unsafe { cursor.advance(count) };
    Poll::Ready(Ok(count))
}

/// Bytes that are copied together rather than handed to the kernel in pieces.
const JOINED_BYTES: usize = 1024;

/// Writes these pieces, small ones as one: for the kernel a plain send is cheaper than a list
/// of pieces, by more than the copy of a small head and body costs.
pub(crate) fn poll_write_slices(
    io: Pin<&mut impl AsyncWrite>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [slice] = slices {
        return io.poll_write(cx, slice);
    }
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > JOINED_BYTES {
        return io.poll_write_vectored(cx, slices);
    }
    let mut joined = SmallVec::<[u8; JOINED_BYTES]>::new();
    for slice in slices {
        joined.extend_from_slice(slice);
    }
    io.poll_write(cx, &joined)
}

/// Bytes in the send queue of a TCP socket that its peer has not acknowledged: `SIOCOUTQ` of tcp(7),
/// which is `TIOCOUTQ` by another name.
pub(crate) fn unsent_bytes(socket: &impl AsRawFd) -> io::Result<u32> {
    let mut bytes: nix::libc::c_int = 0;
    // SAFETY: the descriptor is open while its owner is borrowed, and the kernel writes one `int`.
    let result = unsafe { ioctl(socket.as_raw_fd(), nix::libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result)?;
    Ok(bytes.unsigned_abs())
}

/// Whether a packet filter is attached to a socket: `SO_GET_FILTER` of socket(7), which gives its
/// length where no room for the instructions is offered.
pub(crate) fn has_filter(socket: &impl AsRawFd) -> io::Result<bool> {
    let mut instructions: nix::libc::socklen_t = 0;
    // SAFETY: the descriptor is open while its owner is borrowed; with a length of zero the kernel
    // writes nothing but that length.
    let result = unsafe {
        nix::libc::getsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            nix::libc::SO_GET_FILTER,
            null_mut(),
            &raw mut instructions,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(instructions > 0)
}

/// Puts a descriptor on the poller of the current Tokio runtime. The caller does not exchange it
/// through `AsyncFd::get_mut`.
pub(crate) fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, names one open file until it is dropped, and is dropped by the
    // `AsyncFd` after its registration.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}
