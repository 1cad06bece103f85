//! Certificates of vhosts that only root may read, served by workers that are another user.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::harness::{Authority, Backend, Directory, Hipache, Redis, SOON, eventually};
use crate::https::{client, get, listener, secure};
use crate::privileges::can_run;

struct Scene {
    hipache: Hipache,
    /// Where certificates of vhosts are.
    shown: Directory,
    log: std::path::PathBuf,
    asked: usize,
    _kept: (Redis, Backend, Directory),
}

impl Scene {
    /// Two workers that are another user.
    fn start() -> Self {
        let (redis, backend) = (Redis::start(), Backend::saying("here"));
        let (files, shown) = (Directory::fresh(), Directory::fresh());
        redis.route("*", &[&backend.url()]);
        let more = json!({ "certificates": shown.path() });
        let keys = listener(&files, &Authority::new().issue(&["default.test"]), &more);
        let starter = Hipache::builder().redis(&redis).set(&keys);
        let log = starter.directory().join("told.log");
        let hipache = starter
            .set(&json!({ "user": "www-data", "server": {
                "workers": 2, "accessLog": { "target": &log, "format": "$uri $pid" },
            } }))
            .start();
        Self {
            hipache,
            shown,
            log,
            asked: 0,
            _kept: (redis, backend, files),
        }
    }

    /// One request of a client without a session that trusts this authority; who served it.
    fn ask(&mut self, authority: &Authority, name: &str) -> Result<u32, String> {
        self.asked += 1;
        let path = format!("/{}", self.asked);
        let config = client(authority, &[&rustls::version::TLS13]);
        get(secure(&self.hipache), &Arc::clone(&config), name, &path)?;
        Ok(eventually(&path, SOON, || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let mut words = text.lines().filter_map(|line| line.split_once(' '));
            words.find(|(uri, _)| *uri == path)?.1.parse().ok()
        }))
    }

    /// Asks until each worker has served; each must have shown a certificate of this authority.
    fn ask_each(&mut self, authority: &Authority, name: &str) {
        let workers: BTreeSet<u32> = self.hipache.workers().into_iter().collect();
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            seen.insert(self.ask(authority, name).expect(name));
            if seen == workers {
                return;
            }
        }
        panic!("{seen:?} of {workers:?} served {name}");
    }
}

fn restrict(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Certificate and key for a name, which only root may read.
fn certify(directory: &Directory, name: &str) -> Authority {
    let authority = Authority::new();
    let identity = authority.issue(&[name]);
    let key = directory.write(&format!("{name}.key"), identity.key());
    restrict(&key, 0o600);
    let chain = directory.write(&format!("{name}.crt"), identity.certificate());
    restrict(&chain, 0o600);
    authority
}

#[test]
fn each_worker_shows_what_only_root_may_read_and_its_change_at_the_next_handshake() {
    if !can_run("www-data") {
        return;
    }
    let mut scene = Scene::start();
    let archive = Directory::fresh();
    restrict(archive.path(), 0o700);
    // The directory may be looked at, then it may not.
    for mode in [0o755, 0o700] {
        restrict(scene.shown.path(), mode);
        for _ in 0..2 {
            let authority = certify(&scene.shown, "a.test");
            scene.ask_each(&authority, "a.test");
        }
        let authority = certify(&scene.shown, "*.wild.test");
        scene.ask_each(&authority, "x.wild.test");
        // As Let's Encrypt keeps them.
        let authority = certify(&archive, "linked.test");
        for kind in ["crt", "key"] {
            let name = format!("linked.test.{kind}");
            let link = scene.shown.join(&name);
            std::fs::remove_file(&link).ok();
            symlink(archive.join(&name), link).unwrap();
        }
        scene.ask_each(&authority, "linked.test");
        let refused = scene.ask(&authority, "none.test").unwrap_err();
        assert!(refused.contains("invalid peer certificate"), "{refused}");
    }
    assert_eq!(scene.hipache.count_stderr("certificate"), 0);
}

#[test]
fn a_directory_that_others_may_write_to_lends_nothing_and_says_why() {
    if !can_run("www-data") {
        return;
    }
    let mut scene = Scene::start();
    restrict(scene.shown.path(), 0o777);
    let authority = certify(&scene.shown, "a.test");
    let refused = scene.ask(&authority, "a.test").unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    let said = "expected uid 0 and nobody else with the right to write";
    scene.hipache.wait_for_stderr(said, 1);
    restrict(scene.shown.path(), 0o700);
    scene.ask_each(&authority, "a.test");
    // What is known goes on while it cannot be looked at.
    restrict(scene.shown.path(), 0o777);
    scene.ask_each(&authority, "a.test");
    assert_eq!(scene.hipache.count_stderr(said), 1);
}
