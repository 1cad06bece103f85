//! `/metrics`: the sums are those of the clients and of the access log, and nothing goes back.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::admin::{answering, builder};
use crate::harness::{
    Backend, Client, Collector, Hipache, Load, Redis, Refused, SOON, Scrape, eventually,
};

const DURATION: &str = "http_server_request_duration_seconds_count";

const LINES: &str = "hipache_access_log_lines_total";

/// What each exchange is counted in, in this order, and its line after that.
const COUNTS: [&str; 4] = [
    "hipache_worker_exchanges_total",
    "hipache_exchanges_total",
    DURATION,
    "hipache_vhost_requests_total",
];

/// Clients at a time, each with one request.
const CLIENTS: usize = 3;

/// Asks until the metrics say what they ought to: a client may be faster than the end of its
/// exchange.
#[track_caller]
fn wait_for(hipache: &Hipache, what: &str, is_right: impl Fn(&Scrape) -> bool) -> Scrape {
    eventually(what, SOON, || Some(hipache.scrape()).filter(&is_right))
}

/// Waits, where nobody asks any more, until every exchange is counted to the end, which is its line.
#[track_caller]
fn settled(hipache: &Hipache) -> Scrape {
    wait_for(hipache, "the end of all exchanges", |scrape| {
        let is_idle = scrape.sum("http_server_active_requests", &[]) == 0.0;
        is_idle && scrape.sum(LINES, &[]) == scrape.sum(COUNTS[0], &[])
    });
    // That one was read in pieces, the first perhaps before the last exchange was counted.
    hipache.scrape()
}

/// A proxy that has finished eight exchanges, one good and seven others.
fn eight_exchanges() -> (Hipache, Scrape) {
    let redis = Redis::start();
    let (good, refused) = (Backend::saying("here"), Refused::new());
    let (broken, teapot) = (answering(503), answering(418));
    redis.route("good.test", &[&good.url()]);
    redis.route("refused.test", &[&refused.url()]);
    redis.route("broken.test", &[&broken.url()]);
    redis.route("teapot.test", &[&teapot.url()]);
    let mut hipache = builder(&redis).start();
    let hosts = "good.test good.test refused.test broken.test teapot.test no.test";
    for host in hosts.split(' ') {
        hipache.exchange(host, "/x");
    }
    let mut client = hipache.client();
    client.send("BREW / HTTP/1.1\r\nhost: good.test\r\n\r\n");
    client.response();
    let mut client = hipache.client();
    client.send("GET / HTTP/9\r\n\r\n");
    let _ = client.try_response("GET");
    let written = [("outcome", "written")];
    wait_for(&hipache, "eight lines, and the vitals", |scrape| {
        scrape.sum(LINES, &written) == 8.0 && scrape.sum("hipache_redis_links_up", &[]) == 1.0
    });
    // That one was read in pieces, the first perhaps before the last exchange was counted.
    let scrape = hipache.scrape();
    (hipache, scrape)
}

#[test]
fn each_request_is_counted_with_its_labels() {
    let (_, scrape) = eight_exchanges();
    assert_eq!(scrape.sum("hipache_exchanges_total", &[]), 8.0);
    let (method, status) = ("http_request_method", "http_response_status_code");
    let (error, version) = ("error_type", "network_protocol_version");
    let cases: [(&[(&str, &str)], f64); 8] = [
        (&[], 8.0),
        (&[(method, "GET"), (status, "200")], 2.0),
        (&[(method, "_OTHER"), (status, "200")], 1.0),
        (&[(error, "connection_refused"), (status, "502")], 1.0),
        (&[(error, "503"), (status, "503")], 1.0),
        (&[(status, "418")], 1.0),
        (&[(error, "no_such_host"), (version, "1.1")], 1.0),
        (&[(error, "bad_request")], 1.0),
    ];
    for (labels, count) in cases {
        let text = &scrape.text;
        assert_eq!(scrape.sum(DURATION, labels), count, "{labels:?}\n{text}");
    }
    let errors = scrape.values(DURATION, error);
    assert_eq!(errors.len(), 4, "418 is no error: {errors:?}");
}

#[test]
fn lookups_attempts_vhosts_and_bytes_agree_with_the_log() {
    let (hipache, scrape) = eight_exchanges();
    let mut hipache = hipache;
    let lookups = "hipache_route_lookup_duration_seconds_count";
    let found = [("source", "redis"), ("outcome", "found")];
    assert_eq!(scrape.sum(lookups, &found), 6.0);
    assert_eq!(scrape.sum(lookups, &[("outcome", "not_found")]), 1.0);
    let attempts = "hipache_upstream_attempts_total";
    let started = scrape.sum("hipache_upstream_attempts_started_total", &[]);
    assert_eq!(scrape.sum(attempts, &[]), started);
    assert!(scrape.sum(attempts, &[("end", "connection_refused")]) >= 1.0);
    assert_eq!(scrape.sum(attempts, &[("end", "ok")]), 5.0);
    let vhost = [("vhost", "id-good.test"), ("status_class", "2xx")];
    assert_eq!(scrape.sum("hipache_vhost_requests_total", &vhost), 3.0);
    let vhost = [("vhost", "id-refused.test")];
    assert_eq!(
        scrape.sum("hipache_vhost_requests_failed_total", &vhost),
        1.0
    );
    let lines = hipache.log().all();
    let bytes: u64 = lines.iter().map(|line| line.bytes).sum();
    assert_eq!(scrape.sum("hipache_sent_bytes_total", &[]), bytes as f64);
    assert!(scrape.sum("hipache_allocator_bytes", &[("state", "resident")]) > 1e5);
    assert!(scrape.sum("process_memory_usage_bytes", &[("process", "0")]) > 1e5);
    let master = [("process", "master")];
    assert_eq!(scrape.sum("process_threads", &master), 1.0);
}

#[test]
fn one_scrape_shows_all_workers_and_nothing_resets_when_one_is_killed() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let workers = json!({ "server": { "workers": 3 } });
    let mut hipache = builder(&redis).set(&workers).start();
    let load = Load::connecting(hipache.address(), "a.test", CLIENTS);
    load.wait_for(300);
    let before = hipache.scrape();
    for worker in ["0", "1", "2"] {
        let slot = [("worker", worker)];
        assert!(
            before.sum("hipache_worker_exchanges_total", &slot) > 0.0,
            "{worker}"
        );
    }
    let victim = hipache.workers()[1];
    crate::harness::signal(victim, Signal::SIGKILL);
    load.wait_for(50);
    let after = hipache.scrape();
    assert_eq!(after.gone_back_since(&before), [] as [&str; 0]);
    hipache.wait_for_stderr("worker ready", 4);
    load.wait_for(300);
    let answered = load
        .stop()
        .iter()
        .filter(|outcome| outcome.result == Ok(200))
        .count();
    let scrape = settled(&hipache);
    assert_eq!(scrape.gone_back_since(&after), [] as [&str; 0]);
    let counts = COUNTS.map(|name| scrape.sum(name, &[]));
    // A kill may fall between a response's last byte and its count: one for each client at most.
    assert!(
        counts[3] + CLIENTS as f64 >= answered as f64,
        "{counts:?} for {answered}"
    );
    // It may fall between the counts of the one exchange that its worker is counting, too.
    assert!(
        counts.is_sorted_by(|earlier, later| earlier >= later) && counts[0] - counts[3] <= 1.0,
        "{counts:?}"
    );
    assert_eq!(
        scrape.sum("hipache_worker_deaths_total", &[("reason", "signal")]),
        1.0
    );
    let last = all_counts_agree_on_more(&hipache, &scrape);
    hipache.stop();
    let lines = |outcome| last.sum(LINES, &[("outcome", outcome)]);
    let in_the_file = hipache.log().all().len() as f64;
    // Or between the write of some lines and their count: the master takes them for lost.
    let known = lines("written")..=lines("written") + lines("lost_at_death");
    assert!(known.contains(&in_the_file), "{in_the_file} of {known:?}");
}

/// Exchanges after this scrape, and no kill: each is in every count, and its line is written.
fn all_counts_agree_on_more(hipache: &Hipache, before: &Scrape) -> Scrape {
    let load = Load::connecting(hipache.address(), "a.test", CLIENTS);
    load.wait_for(300);
    let more = load.stop().len() as f64;
    let after = settled(hipache);
    let increase = |name, labels| after.sum(name, labels) - before.sum(name, labels);
    assert_eq!(COUNTS.map(|name| increase(name, &[])), [more; 4]);
    assert_eq!(increase(LINES, &[("outcome", "written")]), more);
    after
}

#[test]
fn a_thousand_vhosts_are_bounded_and_none_is_lost() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    let hosts: Vec<_> = (0..1_000).map(|number| format!("h{number}.test")).collect();
    for host in &hosts {
        redis.route(host, &[&backend.url()]);
    }
    let hipache = builder(&redis)
        .set(&json!({ "admin": { "vhosts": 20 } }))
        .start();
    let mut client = hipache.client();
    for host in &hosts {
        client.get(host, "/x");
        assert_eq!(client.response().status, 200);
    }
    let total = "hipache_vhost_requests_total";
    let scrape = wait_for(&hipache, "a thousand", |scrape| {
        scrape.sum(total, &[]) == 1_000.0
    });
    assert_eq!(scrape.values(total, "vhost").len(), 21);
    assert_eq!(scrape.sum(total, &[("vhost", "other")]), 980.0);
    assert!(scrape.text.len() < 100_000, "{} bytes", scrape.text.len());
}

#[test]
fn a_tunnel_is_counted_as_such_and_not_as_a_request() {
    let redis = Redis::start();
    let backend = Backend::scripted(|conn, _| {
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        conn.wait_for_end(Duration::from_secs(10));
        crate::harness::Flow::Close
    });
    redis.route("a.test", &[&backend.url()]);
    let hipache = builder(&redis).start();
    let mut client = hipache.client();
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    assert_eq!(client.response_to_head().status, 101);
    wait_for(&hipache, "an open tunnel", |scrape| {
        scrape.sum("hipache_tunnels_open", &[]) == 1.0
    });
    drop(client);
    let scrape = wait_for(&hipache, "its end", |scrape| {
        scrape.sum("hipache_tunnel_duration_seconds_count", &[]) == 1.0
    });
    assert_eq!(scrape.sum("hipache_tunnels_open", &[]), 0.0);
    assert_eq!(scrape.sum(DURATION, &[]), 0.0);
}

#[test]
fn both_formats_are_well_formed() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let mut hipache = builder(&redis).start();
    hipache.exchange("a.test", "/x");
    let mut client = Client::connect(hipache.admin());
    client.send(
        "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
    );
    let response = client.response();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(response.field("content-type"), Some(content_type));
    assert!(response.text().ends_with("\n# EOF\n"));
    Scrape::parse(response.text());
    let scrape = hipache.scrape();
    let mut families: Vec<_> = scrape
        .text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count, "a family twice");
    check_with_promtool(&scrape.text);
}

/// Prometheus' own opinion, where it is installed (Debian: `prometheus`).
fn check_with_promtool(text: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("promtool is not installed, its check is left out");
        return;
    };
    let mut stdin = promtool.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

#[test]
fn spans_and_labels_know_the_same_methods() {
    let (redis, collector) = (Redis::start(), Collector::start());
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let telemetry = json!({ "endpoint": collector.url(), "exportDelay": 0.01 });
    let hipache = builder(&redis)
        .set(&json!({ "telemetry": telemetry }))
        .env("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "PURGE,GET")
        .start();
    for (method, name) in [("PURGE", "PURGE"), ("DELETE", "HTTP")] {
        let mut client = hipache.client();
        client.send(format!(
            "{method} /{method} HTTP/1.1\r\nHost: a.test\r\n\r\n"
        ));
        assert_eq!(client.response().status, 200);
        assert_eq!(collector.trace_of(&format!("/{method}"))[0].name, name);
    }
    let methods = hipache.scrape().values(DURATION, "http_request_method");
    assert_eq!(methods, ["PURGE", "_OTHER"]);
}
