//! Root's part: bind, open the log, drop to the user with its groups, reopen for it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::signal::Signal;
use nix::unistd::{Group, User};
use serde_json::json;

use crate::harness::{
    Backend, Directory, Hipache, Log, Notify, Redis, SOON, Starter, eventually, is_root,
    run_to_end, status, text,
};

/// Whether this test can run: as root, on a system that has this user.
pub(crate) fn can_run(user: &str) -> bool {
    let known = User::from_name(user).is_ok_and(|user| user.is_some());
    if !is_root() || !known {
        eprintln!("skipped: needs root and a user {user}");
    }
    is_root() && known
}

/// A hexadecimal set of `/proc/<pid>/status`.
fn mask(pid: u32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = text.lines();
    let set = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    u64::from_str_radix(set.unwrap().trim(), 16).unwrap()
}

/// What the descriptors of a process are open on, without those that this test itself was started
/// with and passes on.
fn descriptors(pid: u32) -> Vec<String> {
    let is_passed_on = |number: &str| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
        let flags = info.unwrap_or_default();
        let flags = flags.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.map(|flags| u64::from_str_radix(flags.trim(), 8).unwrap());
        let closed = u64::try_from(nix::libc::O_CLOEXEC).unwrap();
        number.parse::<u32>().unwrap() > 2 && flags.is_some_and(|flags| flags & closed == 0)
    };
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let entry = entry.unwrap();
        if let Ok(target) = std::fs::read_link(entry.path())
            && !is_passed_on(entry.file_name().to_str().unwrap())
        {
            targets.push(target.display().to_string());
        }
    }
    targets.sort_unstable();
    targets
}

/// The soft and the hard limit of the size of cores, as `/proc` words them.
fn core_limits(pid: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max core file size"));
    let words = line.unwrap().split_whitespace().take(2);
    words.map(str::to_owned).collect()
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
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(mask(worker, set), 0, "{set}");
        }
        assert_eq!(status(worker, "NoNewPrivs"), [1]);
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

#[test]
fn a_worker_holds_the_descriptors_that_it_needs_and_no_other() {
    if !can_run("www-data") {
        return;
    }
    let redis = Redis::start();
    let notify = Notify::listen();
    let hipache = dropping(&redis, "www-data")
        .env("NOTIFY_SOCKET", notify.path().to_str().unwrap())
        .set(&json!({ "admin": { "bind": [{ "address": "127.0.0.1", "port": 0 }] } }))
        .start();
    assert_eq!(hipache.ask("/healthz").status, 200);
    let log = hipache.directory().join("access.log");
    let log = log.display().to_string();
    let stdout = hipache.directory().join("stdout").display().to_string();
    let expected = [
        ("/dev/null", 1),
        (stdout.as_str(), 1),
        ("pipe:", 1), // standard error
        (log.as_str(), 1),
        ("/memfd:hipache-scoreboard", 1),
        ("anon_inode:[eventpoll]", 2),
        ("anon_inode:[eventfd]", 1),
        // Listening: those of both slots and the admin's, and a second descriptor for each that it
        // accepts from; the end of its channel; the runtime's pair for signals; the link to Redis.
        ("socket:", 9),
    ];
    for worker in hipache.workers() {
        let open = descriptors(worker);
        let mut named = 0;
        for (what, most) in expected {
            let count = open.iter().filter(|it| it.starts_with(what)).count();
            assert!(count <= most, "{what}: {open:#?}");
            named += count;
        }
        assert_eq!(named, open.len(), "nothing else: {open:#?}");
    }
}

#[test]
fn signals_are_as_a_worker_needs_them() {
    if !can_run("www-data") {
        return;
    }
    let redis = Redis::start();
    let hipache = dropping(&redis, "www-data").start();
    let ignored = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        // Rust's own: a write to a connection that is gone is an error, not an end.
        Signal::SIGPIPE,
    ];
    let expected = ignored
        .iter()
        .fold(0, |set, it| set | 1 << (*it as u64 - 1));
    for worker in hipache.workers() {
        // The C library's own begin at 32.
        assert_eq!(mask(worker, "SigIgn") & 0x7FFF_FFFF, expected);
        assert_eq!(mask(worker, "SigBlk"), 0);
    }
    let caught = 1 << (Signal::SIGTERM as u64 - 1) | 1 << (Signal::SIGCHLD as u64 - 1);
    assert_eq!(mask(hipache.master(), "SigBlk") & caught, caught);
}

#[test]
fn a_worker_leaves_a_core_only_when_it_is_asked_to() {
    if !can_run("www-data") {
        return;
    }
    let redis = Redis::start();
    let root = nix::unistd::getuid().as_raw();
    let user = User::from_name("www-data").unwrap().unwrap().uid.as_raw();
    for (asked, owner) in [(false, root), (true, user)] {
        let keys = json!({
            "server": { "coreDumps": asked },
            "admin": { "bind": [{ "address": "127.0.0.1", "port": 0 }] },
        });
        let mut hipache = dropping(&redis, "www-data").set(&keys).start();
        let hard = core_limits(hipache.master())[1].clone();
        let limit = if asked { hard } else { "0".to_owned() };
        for worker in hipache.workers() {
            assert_eq!(core_limits(worker), [limit.as_str(); 2]);
            // The entries of a process that may not be dumped belong to root.
            let entry = std::fs::metadata(format!("/proc/{worker}/environ")).unwrap();
            assert_eq!(entry.uid(), owner, "dumpable, as asked: {asked}");
        }
        // What the workers read of each other in /proc is still there.
        let scrape = hipache.scrape();
        for figure in ["process_memory_usage_bytes", "process_open_fds"] {
            let processes = scrape.values(figure, "process");
            assert_eq!(processes, ["0", "1", "master"], "{figure}");
        }
        hipache.stop();
    }
}

#[test]
fn a_start_without_root_keeps_its_one_capability_from_the_workers() {
    if !can_run("www-data") {
        return;
    }
    let redis = Redis::start();
    let hipache = Hipache::builder()
        .redis(&redis)
        .set(&json!({ "server": { "accessLog": "off" } }))
        .through(&[
            "setpriv",
            "--reuid=www-data",
            "--regid=www-data",
            "--clear-groups",
            "--inh-caps=+net_bind_service",
            "--ambient-caps=+net_bind_service",
        ])
        .start();
    let net_bind_service = 1 << 10;
    assert_eq!(mask(hipache.master(), "CapEff"), net_bind_service);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(mask(hipache.workers()[0], set), 0, "{set}");
    }
    assert_eq!(hipache.get("a.test", "/x").status, 400);
}

#[test]
fn the_capabilities_of_the_unit_file_are_enough_for_the_master() {
    if !can_run("www-data") {
        return;
    }
    let unit = include_str!("../../config/systemd/hipache.service");
    let mut lines = unit.lines();
    let kept = lines.find_map(|line| line.strip_prefix("CapabilityBoundingSet=CAP_"));
    let kept = kept.unwrap().to_lowercase().replace(" cap_", ",+");
    let redis = Redis::start();
    let starter = dropping(&redis, "www-data");
    let log = starter.directory().join("theirs/access.log");
    let theirs = log.parent().unwrap();
    std::fs::create_dir(theirs).unwrap();
    std::fs::set_permissions(theirs, std::fs::Permissions::from_mode(0o700)).unwrap();
    let nobody = User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    std::os::unix::fs::chown(theirs, Some(nobody), None).unwrap();
    let mut hipache = starter
        .set(&json!({ "server": { "accessLog": log } }))
        .through(&["setpriv", &format!("--bounding-set=-all,+{kept}")])
        .start();
    for worker in hipache.workers() {
        assert_eq!(mask(worker, "CapBnd"), 0);
        assert_ne!(status(worker, "Uid"), [0; 4]);
    }
    std::fs::rename(&log, log.with_extension("old")).unwrap();
    hipache.signal(Signal::SIGUSR1);
    eventually("the new file", SOON, || log.exists().then_some(()));
    assert_eq!(std::fs::metadata(&log).unwrap().mode() & 0o777, 0o644);
    // A worker that hangs is killed in the end: another user's process.
    let hung = hipache.workers()[0];
    crate::harness::signal(hung, Signal::SIGSTOP);
    hipache.signal(Signal::SIGTERM);
    hipache.wait_for_stderr("stopping", 1);
    hipache.signal(Signal::SIGTERM);
    hipache.wait(SOON);
    assert!(!crate::harness::is_alive(hung));
}
