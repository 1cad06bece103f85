//! TLS sessions go on whoever serves next: another worker, the successor of a dead one, the workers of
//! a reload or of an upgrade, and those of a program that came back. Changed certificates are shown by
//! each worker at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use serde_json::json;

use crate::harness::{
    Authority, Backend, Collector, Directory, Hipache, Redis, SOON, Starter, attribute, binary,
    eventually, signal,
};
use crate::https::{client, get, keep, listener, secure};

/// A proxy with HTTPS, whose log says who served and how the handshake went.
struct Scene {
    hipache: Hipache,
    redis: Redis,
    files: Directory,
    authority: Authority,
    log: PathBuf,
    asked: usize,
    _backend: Backend,
}

/// What the log says of a request.
#[derive(Clone, Debug)]
struct Served {
    path: String,
    pid: u32,
    version: String,
    is_resumed: bool,
}

impl Scene {
    fn start(starter: Starter, workers: usize) -> Self {
        let (redis, backend) = (Redis::start(), Backend::saying("here"));
        let (files, authority) = (Directory::fresh(), Authority::new());
        redis.route("*", &[&backend.url()]);
        let more = json!({ "certificates": files.path() });
        let keys = listener(&files, &authority.issue(&["a.test"]), &more);
        let log = starter.directory().join("told.log");
        let format = "$uri $pid $ssl_protocol $ssl_session_reused";
        let more = json!({ "server": {
            "workers": workers, "accessLog": { "target": &log, "format": format },
        } });
        let hipache = starter.redis(&redis).set(&keys).set(&more).start();
        Self {
            hipache,
            redis,
            files,
            authority,
            log,
            asked: 0,
            _backend: backend,
        }
    }

    fn address(&self) -> SocketAddr {
        secure(&self.hipache)
    }

    /// One request on a connection of its own; both ends must agree on how the handshake went.
    fn ask(&mut self, config: &Arc<ClientConfig>, name: &str) -> Served {
        self.asked += 1;
        let path = format!("/{}", self.asked);
        let (response, kind) = get(self.address(), config, name, &path).expect(name);
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        let served = self.told_of(&path);
        assert_eq!(served.is_resumed, kind == HandshakeKind::Resumed);
        served
    }

    fn told_of(&self, path: &str) -> Served {
        eventually(path, SOON, || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let mut lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let line = lines.find(|line| line[0] == path)?;
            Some(Served {
                path: path.to_owned(),
                pid: line[1].parse().unwrap(),
                version: line[2].to_owned(),
                is_resumed: line[3] == "r",
            })
        })
    }

    /// Asks until each of these workers has served; every handshake must have been a resumed one.
    fn resume_on(&mut self, sessions: &[(Arc<ClientConfig>, &str)], workers: &[u32]) -> Served {
        let mut last = None;
        for (config, version) in sessions {
            let mut left: BTreeSet<u32> = workers.iter().copied().collect();
            for _ in 0..200 {
                let served = self.ask(config, "a.test");
                assert!(served.is_resumed, "{served:?}");
                assert_eq!(served.version, *version);
                left.remove(&served.pid);
                last = Some(served);
                if left.is_empty() {
                    break;
                }
            }
            assert!(left.is_empty(), "{left:?} of {workers:?} never served");
        }
        last.unwrap()
    }

    /// A client of each version with a session, made with whoever served.
    fn begin_sessions(&mut self) -> Vec<(Arc<ClientConfig>, &'static str)> {
        let versions: [(&'static SupportedProtocolVersion, _); 2] = [
            (&rustls::version::TLS12, "TLSv1.2"),
            (&rustls::version::TLS13, "TLSv1.3"),
        ];
        versions
            .map(|(version, name)| {
                let config = client(&self.authority, &[version]);
                assert!(!self.ask(&config, "a.test").is_resumed, "{name}");
                (config, name)
            })
            .into()
    }
}

#[test]
fn a_session_resumes_on_every_worker_after_a_death_and_after_a_reload() {
    let collector = Collector::start();
    let telemetry = json!({ "telemetry": { "endpoint": collector.url(), "exportDelay": 0.01 } });
    let mut scene = Scene::start(Hipache::builder().set(&telemetry), 2);
    let sessions = scene.begin_sessions();
    let workers = scene.hipache.workers();
    let served = scene.resume_on(&sessions, &workers);
    let root = collector.trace_of(&served.path).remove(0);
    assert_eq!(attribute(&root, "tls.resumed").as_deref(), Some("true"));
    let victim = workers[0];
    signal(victim, Signal::SIGKILL);
    let workers = scene.hipache.wait_for_workers(2, &[victim]);
    scene.resume_on(&sessions, &workers);
    scene.hipache.reload(&json!({}));
    let workers = scene.hipache.wait_for_workers(2, &workers);
    scene.resume_on(&sessions, &workers);
}

#[test]
fn a_session_resumes_after_an_upgrade_and_after_one_that_came_to_nothing() {
    let mut scene = Scene::start(Hipache::builder().own_binary(), 2);
    let sessions = scene.begin_sessions();
    let old = scene.hipache.workers();
    scene.hipache.install(binary().as_ref());
    scene.hipache.signal(Signal::SIGUSR2);
    scene.hipache.wait_for_stderr("upgraded", 1);
    let workers = scene.hipache.wait_for_workers(2, &old);
    scene.resume_on(&sessions, &workers);
    // Right in the trial run, wrong when it counts: the one before it comes back.
    let real = binary();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--dry*) exec {real} \"$@\";; esac\nexec {real} --config /nowhere\n"
    );
    let script = scene.hipache.directory().write("script", text);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).unwrap();
    scene.hipache.install(&script);
    scene.hipache.signal(Signal::SIGUSR2);
    scene.hipache.wait_for_stderr("upgrade failed", 1);
    assert_eq!(scene.hipache.workers(), workers);
    scene.resume_on(&sessions, &workers);
    // Who is forked by it speaks TLS as well, and opens the same tickets.
    signal(workers[0], Signal::SIGKILL);
    let workers = scene.hipache.wait_for_workers(2, &workers[..1]);
    scene.resume_on(&sessions, &workers);
}

#[test]
fn every_worker_shows_a_changed_certificate_at_the_next_handshake() {
    let mut scene = Scene::start(Hipache::builder(), 4);
    let certify = |scene: &Scene| {
        let authority = Authority::new();
        keep(
            &scene.redis,
            "redis.test",
            &authority.issue(&["redis.test"]),
        );
        let shown = authority.issue(&["dir.test"]);
        scene.files.write("dir.test.crt", shown.certificate());
        scene.files.write("dir.test.key", shown.key());
        client(&authority, &[&rustls::version::TLS13])
    };
    let mut config = certify(&scene);
    let workers: BTreeSet<u32> = scene.hipache.workers().into_iter().collect();
    for round in 0..3 {
        for name in ["redis.test", "dir.test"] {
            let mut seen = BTreeSet::new();
            for _ in 0..400 {
                // A client that trusts the newest authority alone and has no session: any worker that
                // shows an older certificate fails the test, from the first handshake on.
                let fresh = Arc::new(fresh(&config));
                seen.insert(scene.ask(&fresh, name).pid);
                if seen == workers {
                    break;
                }
            }
            assert_eq!(seen, workers, "{name} in round {round}");
        }
        config = certify(&scene);
    }
}

/// The same client without its sessions.
fn fresh(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.resumption = rustls::client::Resumption::in_memory_sessions(4);
    config
}
