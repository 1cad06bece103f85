//! Giving up privileges, for good.
//!
//! Runs before the worker starts a thread: user, group and capabilities of a process are changed
//! thread by thread, and nothing that belongs to root is ever touched by code that serves clients.
//!
//! | what | given up |
//! | --- | --- |
//! | user, group, supplementary groups | for those of the configured user, all of them |
//! | capabilities | all, unless the workers stay root because the file says so |
//! | gaining any by executing a program | always |
//! | core dumps, and being traced by others than root | unless `server.coreDumps` |
//! | speaking to the service manager | always: that is the master's |

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::sys::prctl::{set_dumpable, set_no_new_privs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, geteuid, getresgid, getresuid, initgroups, setresgid, setresuid};
use tracing::debug;

use crate::config::{Config, Identity};
use crate::sys;

const ROOT: Uid = Uid::from_raw(0);

/// How a service manager is spoken to: sd_notify(3), sd_watchdog_enabled(3).
const MASTERS_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// Becomes the configured user, if there is one, and never gains a privilege again.
pub(super) fn assume(config: &Config) -> io::Result<()> {
    sys::unset_variables(&MASTERS_VARIABLES)?;
    if let Some(identity) = &config.identity {
        become_user(identity).map_err(|cause| {
            let Identity { user, uid, gid } = identity;
            let text = format!("cannot become user {user} (uid {uid}, gid {gid}): {cause}");
            io::Error::new(cause.kind(), text)
        })?;
    }
    if geteuid() != ROOT {
        sys::clear_capabilities()?;
    }
    set_no_new_privs()?;
    // After the change of user, which sets it anew.
    decide_about_dumps(config.server.core_dumps)
}

fn become_user(identity: &Identity) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let name = CString::new(identity.user.as_str())?;
    // A container may have taken this right from root, too. The other sets end up empty all the
    // same, and without new privileges no program that is executed could fill them.
    if let Err(error) = sys::drop_bounding_capabilities() {
        debug!(%error, "the bounding set of capabilities stays");
    }
    // The user last: without root's privileges the groups can no longer be changed.
    initgroups(&name, gid)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    verify(uid, gid)
}

/// Trusts no return value: a kernel module or a filter of system calls may have lied.
fn verify(uid: Uid, gid: Gid) -> io::Result<()> {
    let (users, groups) = (getresuid()?, getresgid()?);
    let is_changed = [users.real, users.effective, users.saved] == [uid; 3]
        && [groups.real, groups.effective, groups.saved] == [gid; 3];
    if !is_changed {
        return Err(io::Error::other("user and group did not change"));
    }
    if uid != ROOT && setresuid(ROOT, ROOT, ROOT).is_ok() {
        return Err(io::Error::other("root can be regained"));
    }
    Ok(())
}

/// A core holds what clients sent, and keys. The limit stops files; a handler that the kernel pipes
/// cores to is not bound by it, so the process is marked, too, which also keeps other processes of
/// the same user out of its memory. What it reads of itself in `/proc` it still may.
fn decide_about_dumps(are_wanted: bool) -> io::Result<()> {
    let limit = if are_wanted {
        getrlimit(Resource::RLIMIT_CORE)?.1
    } else {
        0
    };
    setrlimit(Resource::RLIMIT_CORE, limit, limit)?;
    set_dumpable(are_wanted).map_err(Errno::into)
}
