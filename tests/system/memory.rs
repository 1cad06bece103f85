//! The memory watchdog: what a burst leaves is given back, what is held is told, and a limit that
//! cannot be kept is no reason to end workers.

use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};

use crate::admin::builder;
use crate::harness::{
    Backend, Client, Directory, Flow, Hipache, Redis, SOON, eventually, response, run_to_end, text,
};

const HOST: &str = "burst.test";
/// Held by a worker for each request of a burst, roughly.
const BODY: usize = 256 * 1024;
const CONNECTIONS: usize = 80;
/// What a worker may use beyond what it needs when idle: less than the burst takes.
const MARGIN: u64 = 4 << 20;

const BACK: &str = "within the limit again";
const STILL_OVER: &str = "still over the limit";
const WANTED: &str = "wants to be replaced";

/// Lets requests through when it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = |open: &mut bool| !*open;
        let _open = self.0.1.wait_while(self.0.0.lock().unwrap(), closed);
    }
}

/// A backend that reads no body before the gate is open.
fn gated(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::scripted(move |conn, request| {
        gate.pass();
        if conn.read_body(request) {
            conn.send(response(200, "", "taken"));
        }
        Flow::Close
    })
}

/// So many large requests, each on a connection of its own, none of them answered yet.
fn burst(hipache: &Hipache) -> Vec<Client> {
    let send = |_| {
        let mut client = hipache.client();
        client.post(HOST, "/", &vec![b'x'; BODY]);
        client
    };
    (0..CONNECTIONS).map(send).collect()
}

/// The figures of the only worker.
fn worker(hipache: &Hipache) -> Value {
    let status: Value = serde_json::from_str(&hipache.ask("/status").text()).unwrap();
    status["workers"][0].clone()
}

fn resident(hipache: &Hipache) -> u64 {
    worker(hipache)["allocator"]["resident"].as_u64().unwrap()
}

/// What a worker of this build uses that serves nothing.
fn idle_bytes(redis: &Redis) -> u64 {
    let keys = json!({ "server": { "memoryLimit": "off" } });
    let hipache = builder(redis).set(&keys).start();
    assert_eq!(worker(&hipache)["memoryLimit"], 0);
    eventually("the vitals", SOON, || {
        Some(resident(&hipache)).filter(|bytes| *bytes > 0)
    })
}

/// A proxy whose worker is over its limit as soon as it holds a burst.
/// Nothing but the watchdog gives memory back: jemalloc's own ways are switched off.
fn limited(redis: &Redis, backend: &Backend, interval: f64, min_age: u64) -> (Hipache, u64) {
    redis.route(HOST, &[&backend.url()]);
    let limit = idle_bytes(redis) + MARGIN;
    let keys = json!({ "server": {
        "memoryLimit": limit,
        "memoryCheckInterval": interval,
        "memoryMinAge": min_age,
    } });
    let never = "dirty_decay_ms:-1,muzzy_decay_ms:-1";
    let starter = builder(redis).set(&keys).env("_RJEM_MALLOC_CONF", never);
    let hipache = starter.start();
    assert_eq!(worker(&hipache)["memoryLimit"], limit);
    (hipache, limit)
}

fn finish(clients: Vec<Client>) {
    for mut client in clients {
        assert_eq!(client.response().text(), "taken");
    }
}

/// The number at this field of the first line with this text.
fn field(hipache: &Hipache, line: &str, name: &str) -> u64 {
    let told = hipache.stderr();
    let line = told.iter().find(|told| told.contains(line)).unwrap();
    let (_, value) = line.split_once(&format!(" {name}=")).expect(line);
    value.split(' ').next().unwrap().parse().expect(line)
}

#[test]
fn giving_memory_back_is_enough_after_a_burst() {
    let (redis, gate) = (Redis::start(), Gate::default());
    let backend = gated(&gate);
    // Three checks in a row would ask for a successor; the burst ends right after the first.
    let (hipache, limit) = limited(&redis, &backend, 3.0, 0);
    let before = hipache.workers();
    let clients = burst(&hipache);
    hipache.wait_for_stderr(STILL_OVER, 1);
    gate.open();
    finish(clients);
    hipache.wait_for_stderr(BACK, 1);
    assert!(field(&hipache, BACK, "before") > limit);
    assert!(field(&hipache, BACK, "after") <= limit);
    eventually("the figures", SOON, || {
        (resident(&hipache) <= limit).then_some(())
    });
    let scrape = hipache.scrape();
    assert!(scrape.sum("hipache_memory_over_limit_total", &[]) >= 2.0);
    assert!(scrape.sum("hipache_memory_purges_total", &[]) >= 2.0);
    assert!(scrape.sum("hipache_memory_purged_bytes_total", &[]) >= MARGIN as f64);
    assert_eq!(
        scrape.sum("hipache_worker_replacements_wanted_total", &[]),
        0.0
    );
    assert_eq!(hipache.workers(), before);
    assert_eq!(hipache.count_stderr("draining"), 0);
}

#[test]
fn a_worker_that_stays_over_its_limit_asks_once_to_be_replaced() {
    let (redis, gate) = (Redis::start(), Gate::default());
    let backend = gated(&gate);
    let (hipache, limit) = limited(&redis, &backend, 0.1, 0);
    let clients = burst(&hipache);
    hipache.wait_for_stderr(WANTED, 1);
    assert!(field(&hipache, WANTED, "resident") > limit);
    assert!(field(&hipache, WANTED, "allocated") > 0);
    assert!(field(&hipache, WANTED, "resident_set") > field(&hipache, WANTED, "allocated"));
    let line = hipache.stderr();
    let line = line.iter().find(|line| line.contains(WANTED)).unwrap();
    assert!(
        line.contains("cause=\"leak\"") && line.contains("times=1"),
        "{line}"
    );
    gate.open();
    finish(clients);
    let wanted = hipache
        .scrape()
        .sum("hipache_worker_replacements_wanted_total", &[]);
    assert_eq!(wanted, 1.0);
}

#[test]
fn a_young_worker_is_not_replaced() {
    let (redis, gate) = (Redis::start(), Gate::default());
    let backend = gated(&gate);
    let (hipache, _) = limited(&redis, &backend, 0.05, 3600);
    let before = hipache.workers();
    let clients = burst(&hipache);
    hipache.wait_for_stderr("over the memory limit soon after the start", 1);
    let purges = || hipache.scrape().sum("hipache_memory_purges_total", &[]);
    let further = purges() + 10.0;
    eventually("further checks", SOON, || {
        (purges() >= further).then_some(())
    });
    gate.open();
    finish(clients);
    assert_eq!(hipache.count_stderr("soon after the start"), 1, "told once");
    assert_eq!(hipache.count_stderr(STILL_OVER), 1, "told once");
    assert_eq!(hipache.count_stderr(WANTED), 0);
    assert_eq!(hipache.workers(), before);
}

#[test]
fn a_limit_that_no_worker_can_keep_is_told_and_ends_nobody() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route(HOST, &[&backend.url()]);
    let keys = json!({ "server": {
        "memoryLimit": "1 MB",
        "memoryCheckInterval": 0.02,
        "memoryMinAge": 0,
    } });
    let hipache = builder(&redis).set(&keys).start();
    let before = hipache.workers();
    eventually("many checks", SOON, || {
        let checks = hipache.scrape().sum("hipache_memory_over_limit_total", &[]);
        (checks >= 50.0).then_some(())
    });
    let told = "below what an idle worker needs";
    assert_eq!(hipache.count_stderr(told), 1, "told once");
    assert!(field(&hipache, told, "idle") > field(&hipache, told, "limit"));
    assert_eq!(hipache.count_stderr(WANTED), 0);
    assert_eq!(
        hipache.scrape().sum("hipache_memory_purges_total", &[]),
        0.0
    );
    assert_eq!(hipache.get(HOST, "/").text(), "here");
    assert_eq!(hipache.workers(), before);
}

#[test]
fn a_dry_run_shows_the_bytes_of_one_worker() {
    let directory = Directory::fresh();
    let run = |limit: Value, workers: u32| {
        let config = json!({
            "server": { "memoryLimit": limit, "workers": workers, "accessLog": "off" },
            "user": crate::harness::current_user(),
        });
        let file = directory.write("config.json", config.to_string());
        let output = run_to_end(
            directory.path(),
            &["--dry", "--config", &file.display().to_string()],
            &[],
        );
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (
            shown["server"]["memoryLimit"].as_u64(),
            text(&output.stderr),
        )
    };
    assert_eq!(run(json!("off"), 1).0, Some(0));
    assert_eq!(run(json!("5 MB"), 1).0, Some(5_000_000));
    let whole = run(json!("100%"), 1).0.unwrap();
    let part = run(json!("50%"), 2).0.unwrap();
    assert!(whole.abs_diff(part * 4) < 8, "{whole} {part}");
    let (shown, told) = run(json!("5 MX"), 1);
    assert_eq!(shown, None);
    assert!(
        told.contains("server.memoryLimit: \"5 MX\" is no amount"),
        "{told}"
    );
    let (shown, told) = run(json!(whole), 2);
    assert_eq!(shown, Some(whole));
    assert!(
        told.contains("warning") && told.contains("server.memoryLimit: 2 workers"),
        "{told}"
    );
}

/// In a build that leaks on purpose: nothing but the allocator's figures can tell.
#[cfg(feature = "provoke-leak")]
#[test]
fn a_leak_is_found_by_its_figures_alone() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    let bytes = 64 * 1024;
    redis.route(HOST, &[&backend.url()]);
    let limit = idle_bytes(&redis) + MARGIN;
    let keys = json!({ "server": {
        "memoryLimit": limit,
        "memoryCheckInterval": 0.1,
        "memoryMinAge": 0,
    } });
    let leak = bytes.to_string();
    let starter = builder(&redis).set(&keys).env("HIPACHE_LEAK_BYTES", &leak);
    let hipache = starter.start();
    // What each of them needs itself is freed before the next: only the leak grows.
    for _ in 0..2 * MARGIN / bytes {
        assert_eq!(hipache.get(HOST, "/").text(), "here");
    }
    hipache.wait_for_stderr(WANTED, 1);
    let line = hipache.stderr();
    let line = line.iter().find(|line| line.contains(WANTED)).unwrap();
    assert!(line.contains("cause=\"leak\""), "{line}");
    assert!(field(&hipache, WANTED, "resident") > limit);
}
