//! Giving up privileges, for good.
//!
//! Runs before the worker starts a thread: user and group of a process are changed thread by
//! thread, and nothing that belongs to root is ever touched by code that serves clients.

use std::ffi::CString;
use std::io;

use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, getresgid, getresuid, initgroups, setresgid, setresuid};

use crate::config::Identity;

const ROOT: Uid = Uid::from_raw(0);

/// Becomes the configured user, if there is one, and never gains a privilege again.
pub(super) fn assume(identity: Option<&Identity>) -> io::Result<()> {
    if let Some(identity) = identity {
        become_user(identity).map_err(|cause| {
            let Identity { user, uid, gid } = identity;
            let text = format!("cannot become user {user} (uid {uid}, gid {gid}): {cause}");
            io::Error::new(cause.kind(), text)
        })?;
    }
    set_no_new_privs()?;
    Ok(())
}

fn become_user(identity: &Identity) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let name = CString::new(identity.user.as_str())?;
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
