//! As process 1 of a container: signals reach it, and it reaps what others leave behind.

use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Backend, Hipache, Redis, SOON, children, eventually, is_alive, is_root, signal, status,
};

const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Whether process-id namespaces can be made here.
fn can_run() -> bool {
    let mut probe = Command::new(UNSHARE[0]);
    probe.args(&UNSHARE[1..]).arg("true").stderr(Stdio::null());
    let can = is_root() && probe.status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("skipped: needs root and a namespace of process ids");
    }
    can
}

/// Leaves an orphan in the namespace of this process, and gives its id out here.
fn leave_orphan(master: u32, known: &[u32]) -> u32 {
    let pid = master.to_string();
    let left = Command::new("nsenter")
        .args(["--target", &pid, "--pid", "--mount", "sh", "-c"])
        .arg("sleep 60 >/dev/null 2>&1 &")
        .status()
        .unwrap();
    assert!(left.success());
    eventually("the orphan's adoption by process 1", SOON, || {
        let mut all = children(master).into_iter();
        all.find(|child| !known.contains(child))
    })
}

#[test]
fn process_1_serves_reaps_orphans_and_stops_on_a_signal() {
    if !can_run() {
        return;
    }
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = Hipache::builder()
        .redis(&redis)
        .set(&json!({ "server": { "workers": 2 } }))
        .through(&UNSHARE)
        .start();
    let master = hipache.workers()[0];
    assert_eq!(status(master, "NSpid").last(), Some(&1));
    let workers = children(master);
    assert_eq!(workers.len(), 2);
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");

    let orphan = leave_orphan(master, &workers);
    signal(orphan, Signal::SIGKILL);
    let entry = format!("/proc/{orphan}");
    eventually("its end, zombie and all", SOON, || {
        (!std::path::Path::new(&entry).exists()).then_some(())
    });
    assert_eq!(children(master), workers, "no worker was taken for it");

    signal(workers[0], Signal::SIGKILL);
    hipache.wait_for_stderr("worker ready", 3);

    signal(master, Signal::SIGUSR1);
    hipache.wait_for_stderr("access log reopened", 1);
    signal(master, Signal::SIGTERM);
    let ended = hipache.wait(SOON);
    assert_eq!(ended.code(), Some(0), "as the master's own");
    assert!(!is_alive(master));
}
