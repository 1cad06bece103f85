//! Upgrade in place: another program under the same process id, and nobody notices.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Backend, Hipache, Load, Redis, SOON, Starter, binary, check_all_answered, eventually, is_root,
    signal,
};

/// A proxy of two workers, from a copy of the binary.
fn scene() -> (Redis, Backend, Hipache) {
    scene_from(Hipache::builder().own_binary())
}

fn scene_from(starter: Starter) -> (Redis, Backend, Hipache) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let keys = json!({
        "server": { "workers": 2 },
        "admin": { "bind": "127.0.0.1", "port": 0 },
    });
    let hipache = starter.redis(&redis).set(&keys).start();
    (redis, backend, hipache)
}

/// Upgrades and waits until that is done.
fn upgrade(hipache: &Hipache) {
    let before = hipache.count_stderr("upgraded");
    hipache.signal(Signal::SIGUSR2);
    hipache.wait_for_stderr("upgraded", before + 1);
}

/// The image that a process runs.
fn image(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

#[test]
fn upgrades_in_a_row_under_load_fail_no_request_and_keep_process_sockets_and_counts() {
    let (_redis, _backend, mut hipache) = scene();
    let kept = Load::keeping(hipache.address(), "a.test", 4);
    let fresh = Load::connecting(hipache.address(), "a.test", 2);
    fresh.wait_for(50);
    let (master, before) = (hipache.master(), hipache.scrape());
    for _ in 0..3 {
        let old = hipache.workers();
        hipache.install(binary().as_ref());
        assert!(image(master).display().to_string().ends_with("(deleted)"));
        upgrade(&hipache);
        assert_eq!(image(master), hipache.directory().join("hipache"));
        kept.wait_for(50);
        fresh.wait_for(50);
        eventually("the old ones' end", SOON, || {
            let now = hipache.workers();
            (now.len() == 2 && !old.iter().any(|worker| now.contains(worker))).then_some(())
        });
    }
    // All is as it was: a death is noticed, a reload works.
    let victim = hipache.workers()[0];
    let outcomes = [kept.stop(), fresh.stop()].concat();
    hipache.log().wait_for(outcomes.len());
    signal(victim, Signal::SIGKILL);
    hipache.wait_for_workers(2, &[victim]);
    hipache.reload(&json!({ "server": { "workers": 3 } }));
    eventually("the new ones", SOON, || {
        (hipache.workers().len() == 3).then_some(())
    });
    let after = hipache.scrape();
    assert_eq!(after.gone_back_since(&before), [""; 0]);
    for (name, label, count) in [
        ("hipache_upgrades_total", ("result", "done"), 3.0),
        (
            "hipache_worker_replacements_total",
            ("reason", "upgrade"),
            6.0,
        ),
        ("hipache_worker_replacements_total", ("reason", "died"), 1.0),
        (
            "hipache_access_log_lines_total",
            ("outcome", "lost_at_death"),
            0.0,
        ),
    ] {
        let found = after.sum(name, &[label]);
        assert!((found - count).abs() < 0.1, "{name} {label:?}: {found}");
    }
    check_all_answered(&outcomes, &mut hipache);
}

/// A script in the place of the program.
fn script(hipache: &Hipache, text: &str) {
    let path = hipache.directory().write("script", text);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    hipache.install(&path);
}

/// Fails unless the proxy is as it was, and a right program still takes over.
fn check_unharmed(hipache: &Hipache, workers: &[u32]) {
    assert_eq!(hipache.workers(), workers);
    for _ in 0..10 {
        assert_eq!(hipache.get("a.test", "/x").status, 200);
    }
    hipache.install(binary().as_ref());
    upgrade(hipache);
    assert_eq!(hipache.get("a.test", "/x").status, 200);
}

#[test]
fn a_program_that_cannot_take_over_is_found_out_before() {
    let (_redis, _backend, hipache) = scene();
    let workers = hipache.workers();
    let cases: [(&dyn Fn(), &str); 4] = [
        (
            &|| hipache.install(Path::new("/bin/false")),
            "ended with status 1: it said nothing",
        ),
        (
            &|| script(&hipache, "#!/bin/sh\nexit 0\n"),
            "it is another program",
        ),
        (
            &|| script(&hipache, "#!/bin/sh\necho takes over in version 0.0\n"),
            "it is another program",
        ),
        (
            &|| std::fs::remove_file(hipache.directory().join("hipache")).unwrap(),
            "No such file",
        ),
    ];
    for (number, (install, expected)) in cases.iter().enumerate() {
        install();
        hipache.signal(Signal::SIGUSR2);
        hipache.wait_for_stderr("upgrade failed", number + 1);
        let told = hipache.stderr();
        let told = told
            .iter()
            .rfind(|line| line.contains("upgrade failed"))
            .unwrap();
        assert!(
            told.contains(expected) && told.contains("result=\"refused\""),
            "{told}"
        );
    }
    check_unharmed(&hipache, &workers);
}

#[test]
fn a_file_that_is_wrong_by_now_prevents_an_upgrade() {
    let (_redis, _backend, mut hipache) = scene();
    let workers = hipache.workers();
    hipache.configure(&json!({ "server": { "retryOnError": "x" } }));
    hipache.signal(Signal::SIGUSR2);
    hipache.wait_for_stderr("upgrade failed", 1);
    assert!(hipache.count_stderr("server.retryOnError") >= 1);
    hipache.configure(&json!({ "server": { "retryOnError": 1 } }));
    check_unharmed(&hipache, &workers);
}

#[test]
fn a_program_that_refuses_its_configuration_afterwards_gives_the_former_one_back() {
    let (_redis, _backend, mut hipache) = scene();
    let (master, workers) = (hipache.master(), hipache.workers());
    let load = Load::connecting(hipache.address(), "a.test", 2);
    let real = binary();
    // Right in the trial run, wrong when it counts.
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--dry*) exec {real} \"$@\";; esac\nexec {real} --config /nowhere\n"
    );
    for round in 1..=2 {
        script(&hipache, &text);
        hipache.signal(Signal::SIGUSR2);
        hipache.wait_for_stderr("upgrade failed", round);
        assert_eq!(hipache.count_stderr("its configuration is refused"), round);
        assert_eq!(
            (hipache.master(), hipache.workers()),
            (master, workers.clone())
        );
        load.wait_for(50);
    }
    // What is in force is what was, whatever the file says now; and deaths are made good.
    hipache.directory().write("config.json", "{");
    signal(workers[0], Signal::SIGKILL);
    hipache.wait_for_workers(2, &workers[..1]);
    hipache.wait_for_stderr("worker ready", 3);
    let abandoned = hipache
        .scrape()
        .sum("hipache_upgrades_total", &[("result", "abandoned")]);
    assert!((abandoned - 2.0).abs() < 0.1, "{abandoned}");
    hipache.configure(&json!({}));
    let workers = hipache.workers();
    drop(load.stop());
    check_unharmed(&hipache, &workers);
    hipache.stop();
}

#[test]
fn workers_that_cannot_start_afterwards_give_the_former_program_back() {
    if !is_root() {
        eprintln!("skipped: needs root, without the right to become another user");
        return;
    }
    let keeping = ["setpriv", "--bounding-set=-setuid,-setgid"];
    let (_redis, _backend, mut hipache) =
        scene_from(Hipache::builder().own_binary().through(&keeping));
    let workers = hipache.workers();
    let load = Load::connecting(hipache.address(), "a.test", 2);
    let kept = Load::keeping(hipache.address(), "a.test", 2);
    let user = crate::harness::current_user();
    hipache.configure(&json!({ "user": "www-data" }));
    hipache.signal(Signal::SIGUSR2);
    hipache.wait_for_stderr("upgrade failed", 1);
    assert_eq!(hipache.count_stderr("took over"), 1);
    assert!(hipache.count_stderr("a worker could not start with it") >= 1);
    eventually("the new ones' end", SOON, || {
        (hipache.workers().len() == 2).then_some(())
    });
    assert_eq!(hipache.workers(), workers);
    load.wait_for(50);
    hipache.configure(&json!({ "user": user }));
    upgrade(&hipache);
    load.wait_for(50);
    let outcomes = [load.stop(), kept.stop()].concat();
    check_all_answered(&outcomes, &mut hipache);
}
