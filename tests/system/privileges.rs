//! Root's part: bind, open the log, drop to the user with its groups, reopen for it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::signal::Signal;
use nix::unistd::{Group, User};
use serde_json::json;

use crate::harness::{
    Backend, Directory, Hipache, Log, Redis, SOON, Starter, eventually, is_root, run_to_end,
    status, text,
};

/// Whether this test can run: as root, on a system that has this user.
fn can_run(user: &str) -> bool {
    let known = User::from_name(user).is_ok_and(|user| user.is_some());
    if !is_root() || !known {
        eprintln!("skipped: needs root and a user {user}");
    }
    is_root() && known
}

/// A proxy that drops to this user.
fn dropping(redis: &Redis, user: &str) -> Starter {
    let keys = json!({ "user": user, "server": { "workers": 2 } });
    Hipache::builder().redis(redis).set(&keys)
}

#[test]
fn workers_of_root_become_the_user_with_its_groups_and_the_master_stays_root() {
    if !can_run("www-data") {
        return;
    }
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = dropping(&redis, "www-data").start();
    let user = User::from_name("www-data").unwrap().unwrap();
    let (uid, gid) = (u64::from(user.uid.as_raw()), u64::from(user.gid.as_raw()));
    let name = std::ffi::CString::new("www-data").unwrap();
    let mut groups: Vec<u64> = nix::unistd::getgrouplist(&name, user.gid)
        .unwrap()
        .iter()
        .map(|group| u64::from(group.as_raw()))
        .collect();
    groups.sort_unstable();
    for worker in hipache.workers() {
        assert_eq!(status(worker, "Uid"), [uid; 4]);
        assert_eq!(status(worker, "Gid"), [gid; 4]);
        let mut now = status(worker, "Groups");
        now.sort_unstable();
        assert_eq!(now, groups, "supplementary groups are the user's own");
        let capabilities = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
        let effective = capabilities
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"));
        assert_eq!(effective.map(str::trim), Some("0000000000000000"));
    }
    assert_eq!(status(hipache.master(), "Uid"), [0; 4]);
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
    let file = std::fs::metadata(hipache.log().path()).unwrap();
    assert_eq!(file.mode() & 0o777, 0o644);
}

#[test]
fn a_user_whose_group_has_another_name_needs_no_group_key() {
    if !can_run("nobody") {
        return;
    }
    let redis = Redis::start();
    let mut hipache = dropping(&redis, "nobody").start();
    let gid = User::from_name("nobody").unwrap().unwrap().gid.as_raw();
    assert_eq!(status(hipache.workers()[0], "Gid"), [u64::from(gid); 4]);
    assert_eq!(hipache.exchange("a.test", "/x").0.status, 400);
}

#[test]
fn a_group_of_its_own_may_be_given() {
    if !can_run("www-data") {
        return;
    }
    let Some(group) = Group::from_name("nogroup").unwrap() else {
        eprintln!("skipped: needs a group nogroup");
        return;
    };
    let redis = Redis::start();
    let hipache = dropping(&redis, "www-data")
        .set(&json!({ "group": "nogroup" }))
        .start();
    assert_eq!(
        status(hipache.workers()[0], "Gid"),
        [u64::from(group.gid.as_raw()); 4]
    );
}

#[test]
fn a_log_in_a_directory_of_root_s_is_opened_and_reopened() {
    if !can_run("www-data") {
        return;
    }
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let starter = dropping(&redis, "www-data");
    let closed = starter.directory().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = closed.join("access.log");
    let mut hipache = starter
        .set(&json!({ "server": { "accessLog": path } }))
        .start();
    hipache.exchange("a.test", "/before");
    for round in 0..3 {
        let rotated = path.with_extension(format!("log.{round}"));
        std::fs::rename(&path, &rotated).unwrap();
        hipache.signal(Signal::SIGUSR1);
        eventually("the new file", SOON, || {
            hipache.get("a.test", "/poll");
            let file = std::fs::metadata(&path).ok()?;
            (file.len() > 0).then_some(())
        });
    }
    // A worker that is born after the drop has its log, too.
    let old = hipache.workers();
    old.iter()
        .for_each(|worker| crate::harness::signal(*worker, Signal::SIGKILL));
    hipache.wait_for_workers(2, &old);
    hipache.wait_for_stderr("worker ready", 4);
    hipache.get("a.test", "/successor");
    eventually("its line", SOON, || {
        Log::at(&path)
            .all()
            .iter()
            .any(|line| line.target() == "/successor")
            .then_some(())
    });
}

#[test]
fn root_without_a_user_is_refused() {
    if !can_run("root") {
        return;
    }
    for user in ["", "no-such-user-here"] {
        let directory = Directory::fresh();
        let config = json!({
            "server": { "accessLog": directory.join("access.log") },
            "http": { "port": 0 },
            "user": user,
        });
        directory.write("config.json", config.to_string());
        let output = run_to_end(directory.path(), &["-c", "config.json"], &[]);
        assert!(!output.status.success(), "{user:?}");
        let told = text(&output.stderr);
        assert!(told.contains("user"), "{user:?}: {told}");
    }
}
