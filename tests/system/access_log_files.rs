//! The access log as a file: rotation, several writers, disks that are full.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Backend, Hipache, Load, Log, Outcome, Redis, SOON, eventually};

/// A proxy with this many workers and a backend that answers at once.
fn scene(workers: usize) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let hipache = Hipache::with(&redis, &json!({ "server": { "workers": workers } }));
    (redis, backend, hipache)
}

/// Fails unless each answer has exactly one line, with its bytes, in one of the files.
fn check_account(outcomes: &[Outcome], files: &[PathBuf]) {
    let mut owed: BTreeMap<(String, u64), i32> = BTreeMap::new();
    for outcome in outcomes {
        assert_eq!(outcome.result, Ok(200), "{outcome:?}");
        *owed
            .entry((outcome.target.clone(), outcome.bytes))
            .or_default() += 1;
    }
    for line in files.iter().flat_map(|file| Log::at(file).all()) {
        *owed
            .entry((line.target().to_owned(), line.bytes))
            .or_default() -= 1;
    }
    owed.retain(|_, count| *count != 0);
    assert!(
        owed.is_empty(),
        "owed (positive) or too many (negative): {owed:?}"
    );
}

#[test]
fn rotation_under_load_accounts_for_every_line() {
    let (_redis, _backend, mut hipache) = scene(2);
    let path = hipache.log().path().to_owned();
    let kept = Load::keeping(hipache.address(), "a.test", 3);
    let fresh = Load::connecting(hipache.address(), "a.test", 1);
    let mut files = Vec::new();
    for round in 0..6 {
        kept.wait_for(100);
        let rotated = path.with_extension(format!("log.{round}"));
        std::fs::rename(&path, &rotated).unwrap();
        // logrotate with `create` and without it.
        if round % 2 == 1 {
            std::fs::write(&path, "").unwrap();
        }
        hipache.signal(Signal::SIGUSR1);
        eventually("lines in the new file", SOON, || {
            std::fs::metadata(&path)
                .is_ok_and(|file| file.len() > 0)
                .then_some(())
        });
        files.push(rotated);
    }
    kept.wait_for(100);
    let outcomes = [kept.stop(), fresh.stop()].concat();
    hipache.stop();
    files.push(path);
    check_account(&outcomes, &files);
}

#[test]
fn after_a_reopen_nothing_holds_the_old_file() {
    let (_redis, _backend, mut hipache) = scene(2);
    let path = hipache.log().path().to_owned();
    hipache.exchange("a.test", "/before");
    let rotated = path.with_extension("log.old");
    std::fs::rename(&path, &rotated).unwrap();
    hipache.signal(Signal::SIGUSR1);
    let processes = [hipache.workers(), vec![hipache.master()]].concat();
    eventually("the old file let go", SOON, || {
        let held = processes.iter().any(|process| {
            let files = std::fs::read_dir(format!("/proc/{process}/fd"));
            let mut links = files.into_iter().flatten().flatten();
            links.any(|link| std::fs::read_link(link.path()).is_ok_and(|file| file == rotated))
        });
        (!held).then_some(())
    });
    hipache.get("a.test", "/after");
    let mut new = Log::at(&path);
    assert_eq!(new.next().target(), "/after");
    assert_eq!(Log::at(&rotated).all().len(), 1);
}

#[test]
fn lines_of_several_workers_are_whole_and_appended() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let starter = Hipache::builder()
        .redis(&redis)
        .set(&json!({ "server": { "workers": 3 } }));
    let old = "::1 - - [22/Nov/2026:05:31:29 +0000] \"GET /old HTTP/1.1\" 200 170 \"\" \"\" \"id\" 0.008 0.006\n";
    let path = starter.directory().write("access.log", old);
    let mut hipache = starter.start();
    let load = Load::connecting(hipache.address(), "a.test", 3);
    load.wait_for(300);
    // Lines longer than a pipe's or page's atomic write.
    let long = format!("/{}", "long".repeat(3000));
    for _ in 0..10 {
        assert_eq!(hipache.get("a.test", &long).status, 200);
    }
    let outcomes = load.stop();
    hipache.stop();
    let lines = Log::at(&path).all();
    assert_eq!(lines[0].target(), "/old");
    assert_eq!(lines.len(), outcomes.len() + 11);
    assert_eq!(
        lines.iter().filter(|line| line.target() == long).count(),
        10
    );
}

#[test]
fn a_new_log_is_readable_by_all_and_writable_by_its_owner() {
    let (_redis, _backend, mut hipache) = scene(1);
    hipache.exchange("a.test", "/x");
    let mode = std::fs::metadata(hipache.log().path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn a_full_disk_does_not_hurt_traffic_and_is_told() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let starter = Hipache::builder().redis(&redis);
    std::os::unix::fs::symlink("/dev/full", starter.directory().join("access.log")).unwrap();
    let mut hipache = starter.start();
    let workers = hipache.workers();
    let load = Load::keeping(hipache.address(), "a.test", 2);
    load.wait_for(300);
    eventually("a word on the lost lines", SOON, || {
        let told = hipache.stderr().join("\n").to_lowercase();
        (told.contains("access log") || told.contains("access-log")).then_some(())
    });
    let outcomes = load.stop();
    assert!(outcomes.iter().all(|outcome| outcome.result == Ok(200)));
    assert_eq!(hipache.workers(), workers);
    let told = hipache
        .stderr()
        .iter()
        .filter(|line| line.contains("os error 28"))
        .count();
    assert!(told <= 3, "at most once a minute, not {told} times");
    hipache.stop();
}

#[test]
fn the_log_may_be_standard_output_or_nothing_at_all() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    for (target, lines) in [(json!("-"), 3), (json!(false), 0)] {
        let keys = json!({ "server": { "accessLog": target, "workers": 2 } });
        let mut hipache = Hipache::with(&redis, &keys);
        for _ in 0..3 {
            assert_eq!(hipache.get("a.test", "/x").status, 200);
        }
        hipache.stop();
        let log = Log::at(&hipache.directory().join("stdout"));
        assert_eq!(log.all().len(), lines, "{target}");
    }
}

#[test]
fn a_reopen_that_fails_keeps_the_old_file() {
    let (_redis, _backend, mut hipache) = scene(1);
    hipache.exchange("a.test", "/before");
    let path = hipache.log().path().to_owned();
    let rotated = path.with_extension("log.old");
    std::fs::rename(&path, &rotated).unwrap();
    std::fs::create_dir(&path).unwrap();
    hipache.signal(Signal::SIGUSR1);
    let told = || hipache.stderr().join("\n");
    eventually("a word on it", SOON, || {
        told().contains("access.log").then_some(())
    });
    hipache.get("a.test", "/after");
    eventually("the line in the old file", SOON, || {
        Log::at(&rotated)
            .all()
            .iter()
            .any(|line| line.target() == "/after")
            .then_some(())
    });
}
