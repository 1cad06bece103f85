//! Several access logs at once: formats, targets, filters, masks, and what a full disk does to each.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Directory, Hipache, Load, Redis, Refused, SOON, Starter, eventually, ok, run_to_end,
    text,
};

/// A proxy to be started, with a backend that answers `/error` with 500, and these logs.
fn scene(logs: impl FnOnce(&Directory) -> Value) -> (Redis, Backend, Starter) {
    let redis = Redis::start();
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/error" => crate::harness::Reply::Keep(crate::harness::response(500, "", "no")),
        _ => ok("here"),
    });
    redis.route("a.test", &[&backend.url()]);
    let starter = Hipache::builder().redis(&redis);
    let logs = logs(starter.directory());
    let starter = starter.set(&json!({ "server": { "accessLog": logs } }));
    (redis, backend, starter)
}

/// The lines of a file, when there are so many.
#[track_caller]
fn lines(path: &Path, count: usize) -> Vec<String> {
    eventually(
        &format!("{count} lines in {}", path.display()),
        SOON,
        || {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count && text.ends_with('\n')).then_some(lines)
        },
    )
}

/// A log of each format, and one on standard error.
fn one_of_each(directory: &Directory) -> Value {
    json!([
        directory.join("plain.log"),
        { "target": directory.join("json.log"), "format": "json" },
        { "target": directory.join("combined.log"), "format": "combined" },
        { "target": directory.join("planb.log"), "format": "planb" },
        { "target": directory.join("own.log"),
          "format": "$request|$status|$body_bytes_sent|$http_x_one|$cookie_c|$remote_user|$hipache_end",
          "mask": { "headers": [] } },
        { "target": "stderr", "format": "told on stderr: $uri" },
    ])
}

#[test]
fn one_request_leaves_a_line_in_each_log_in_its_own_format() {
    let (_redis, _backend, starter) = scene(one_of_each);
    let hipache = starter.start();
    let mut client = hipache.client();
    client.send(
        "GET /x?a=1&sig=s3cret HTTP/1.1\r\nHost: a.test\r\nX-One: 1\r\nX-One: 2\r\nCookie: c=\"q\"\r\n\
         Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nX-Request-ID: id7\r\n\
         Referer: http://u:p@ref/?Signature=s3cret\r\n\r\n",
    );
    let response = client.response();
    assert_eq!(response.status, 200);
    let of = |name: &str| lines(&hipache.directory().join(name), 1).remove(0);
    let plain = of("plain.log");
    assert!(
        plain.contains("\"GET /x?a=1&sig=REDACTED HTTP/1.1\" 200"),
        "{plain}"
    );
    assert!(
        plain.contains("\"http://REDACTED:REDACTED@ref/?Signature=REDACTED\""),
        "{plain}"
    );
    let json: Value = serde_json::from_str(&of("json.log")).unwrap();
    assert_eq!(json["target"], "/x?a=1&sig=REDACTED");
    assert_eq!(json["bytes_sent"], response.raw_length);
    assert_eq!(json["body_bytes_sent"], 4);
    assert_eq!(
        (&json["end"], &json["vhost"]),
        (&json!("ok"), &json!("id-a.test"))
    );
    let (duration, proxy) = (json["duration"].as_f64(), json["proxy_time"].as_f64());
    assert!(proxy > Some(0.0) && proxy < duration, "{json}");
    let combined = of("combined.log");
    assert!(combined.starts_with("127.0.0.1 - Aladdin ["), "{combined}");
    assert!(
        combined.contains("\" 200 4 \"http://REDACTED"),
        "{combined}"
    );
    let planb = of("planb.log");
    assert!(planb.contains("\"GET /x HTTP/1.1\" 200 4 "), "{planb}");
    assert!(
        planb.contains("\"X-Request-ID:id7\" \"a.test\" \"\" 0.0"),
        "{planb}"
    );
    assert_eq!(
        of("own.log"),
        "GET /x?a=1&sig=REDACTED HTTP/1.1|200|4|1, 2|\\x22q\\x22|Aladdin|ok"
    );
    hipache.wait_for_stderr("told on stderr: /x", 1);
    let all = [
        "plain.log",
        "json.log",
        "combined.log",
        "planb.log",
        "own.log",
    ]
    .map(of);
    assert!(all.iter().all(|line| !line.contains("s3cret")), "{all:?}");
}

#[test]
fn attempts_are_listed_as_nginx_lists_them() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    let refused = Refused::new();
    redis.route("a.test", &[&refused.url(), &backend.url()]);
    let starter = Hipache::builder().redis(&redis);
    let path = starter.directory().join("own.log");
    let format = "$upstream_addr|$upstream_status|$upstream_connect_time|$upstream_header_time|\
                  $hipache_upstream_end|$hipache_attempts|$hipache_backend_url";
    let log = json!({ "target": path, "format": format });
    let hipache = starter
        .set(&json!({ "server": { "accessLog": log } }))
        .start();
    let retried = eventually("a retried request", SOON, || {
        hipache.get("a.test", "/x");
        redis.run(&["DEL", "dead:a.test"]);
        let all = std::fs::read_to_string(&path).unwrap_or_default();
        all.lines()
            .find(|line| line.contains("|2|"))
            .map(str::to_owned)
    });
    let fields: Vec<_> = retried.split('|').collect();
    assert_eq!(
        fields[0],
        format!("{}, 127.0.0.1:{}", refused.address(), backend.port())
    );
    assert_eq!(fields[1], "-, 200");
    assert!(
        fields[2].starts_with("-, 0.0") && fields[3].starts_with("-, 0.0"),
        "{retried}"
    );
    assert_eq!(fields[4], "connection_refused, -");
    assert_eq!(fields[6], format!("{}/", backend.url()));
}

#[test]
fn filters_and_samples_choose_lines_and_never_leave_errors_out() {
    let (_redis, _backend, starter) = scene(|directory| {
        json!([
            { "target": directory.join("errors.log"), "format": "$status", "filter": { "errorsOnly": true } },
            { "target": directory.join("404.log"), "format": "$status", "filter": { "status": 404 } },
            { "target": directory.join("ends.log"), "format": "$hipache_end", "filter": { "end": "no_such_host" } },
            { "target": directory.join("sample.log"), "format": "$status", "sample": 5 },
            { "target": directory.join("slow.log"), "filter": { "minDuration": 30 } },
        ])
    });
    let mut hipache = starter.start();
    for _ in 0..20 {
        hipache.get("a.test", "/x");
    }
    hipache.get("a.test", "/error");
    hipache.get("b.test", "/x");
    hipache.stop();
    let of = |name: &str| std::fs::read_to_string(hipache.directory().join(name)).unwrap();
    assert_eq!(of("errors.log"), "500\n400\n");
    assert_eq!(of("404.log"), "");
    assert_eq!(of("ends.log"), "no_such_host\n");
    assert_eq!(of("sample.log"), "200\n200\n200\n200\n500\n400\n");
    assert_eq!(of("slow.log"), "");
}

#[test]
fn a_killed_worker_with_filtered_logs_has_lost_nothing_that_it_wrote() {
    let (_redis, _backend, starter) = scene(|directory| {
        json!([
            directory.join("all.log"),
            { "target": directory.join("none.log"), "filter": { "status": 999 } },
        ])
    });
    let hipache = starter.start();
    for _ in 0..5 {
        hipache.get("a.test", "/x");
    }
    lines(&hipache.directory().join("all.log"), 5);
    let worker = hipache.workers()[0];
    crate::harness::signal(worker, Signal::SIGKILL);
    hipache.wait_for_stderr("worker died", 1);
    let died = hipache
        .stderr()
        .into_iter()
        .find(|line| line.contains("worker died"));
    assert!(
        died.as_ref()
            .is_some_and(|line| line.contains("lost_lines=0")),
        "{died:?}"
    );
}

#[test]
fn a_syslog_daemon_gets_a_message_a_request_also_after_its_restart() {
    let (_redis, _backend, starter) = scene(
        |directory| json!({ "target": format!("syslog:{}", directory.join("log").display()), "format": "$uri" }),
    );
    let path = starter.directory().join("log");
    let hipache = starter.start();
    for target in ["/before", "/after"] {
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon.set_read_timeout(Some(SOON)).unwrap();
        hipache.get("a.test", target);
        let mut bytes = [0; 1000];
        let length = daemon.recv(&mut bytes).unwrap();
        let message = text(&bytes[..length]);
        let (head, rest) = message
            .split_once(" hipache ")
            .expect("a message of RFC 5424");
        assert!(
            head.starts_with("<190>1 20") && head.contains("Z "),
            "{message}"
        );
        assert_eq!(rest, format!("{} - - {target}", hipache.workers()[0]));
        std::fs::remove_file(&path).unwrap();
    }
    // Nobody is there: traffic goes on, and the loss is told.
    assert_eq!(hipache.get("a.test", "/lost").status, 200);
    hipache.wait_for_stderr("writing the access log", 1);
}

#[test]
fn udp_carries_messages_too() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(SOON)).unwrap();
    let target = format!("syslog://{}", server.local_addr().unwrap());
    let (_redis, _backend, starter) = scene(|_| json!({ "target": target, "format": "json" }));
    let hipache = starter.start();
    hipache.get("a.test", "/x");
    let mut bytes = [0; 4000];
    let length = server.recv(&mut bytes).unwrap();
    let message = text(&bytes[..length]);
    let json: Value = serde_json::from_str(&message[message.find('{').unwrap()..]).unwrap();
    assert_eq!(json["target"], "/x");
}

#[test]
fn a_reopen_gives_every_file_anew() {
    let (_redis, _backend, starter) = scene(|directory| {
        json!([
            { "target": directory.join("one.log"), "format": "$uri" },
            "stdout",
            { "target": directory.join("two.log"), "format": "$uri" },
        ])
    });
    let mut hipache = starter.start();
    let path = |name: &str| hipache.directory().join(name);
    let (one, two) = (path("one.log"), path("two.log"));
    hipache.get("a.test", "/before");
    for log in [&one, &two] {
        assert_eq!(lines(log, 1), ["/before"]);
        std::fs::rename(log, log.with_extension("old")).unwrap();
    }
    hipache.signal(Signal::SIGUSR1);
    hipache.wait_for_stderr("access log reopened", 2);
    eventually("lines in both new files", SOON, || {
        hipache.get("a.test", "/after");
        let has_lines = |log: &Path| std::fs::metadata(log).is_ok_and(|file| file.len() > 0);
        (has_lines(&one) && has_lines(&two)).then_some(())
    });
    hipache.stop();
    for log in [&one, &two] {
        let both = [log.with_extension("old"), log.clone()].map(|log| lines(&log, 1).len());
        assert_eq!(
            both[0] + both[1],
            lines(&hipache.directory().join("stdout"), 2).len()
        );
    }
}

#[test]
fn after_a_full_disk_lines_are_written_again() {
    if !crate::harness::is_root() {
        return;
    }
    let disk = Directory::fresh();
    let mounted = |arguments: &[&str]| Command::new(arguments[0]).args(&arguments[1..]).status();
    let place = disk.path().display().to_string();
    let mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", &place];
    if !mounted(&mount).is_ok_and(|status| status.success()) {
        // Not every container may mount.
        return;
    }
    let _unmount = Unmount(place);
    let (_redis, _backend, starter) = scene(|directory| {
        // A line that is cut lacks its end mark; without one a cut number would look whole.
        let marked = format!("begin $request $status {} end", "-".repeat(60));
        json!([
            { "target": disk.join("full.log"), "format": marked },
            { "target": directory.join("all.log"), "format": "$uri" },
        ])
    });
    let mut hipache = starter.start();
    std::fs::write(disk.join("ballast"), vec![0; 200 * 1024]).unwrap();
    let load = Load::keeping(hipache.address(), "a.test", 2);
    hipache.wait_for_stderr("os error 28", 1);
    std::fs::remove_file(disk.join("ballast")).unwrap();
    let before = std::fs::metadata(disk.join("full.log")).unwrap().len();
    eventually("lines after the disk has room again", SOON, || {
        let length = std::fs::metadata(disk.join("full.log")).unwrap().len();
        (length > before).then_some(())
    });
    let outcomes = load.stop();
    hipache.stop();
    assert!(outcomes.iter().all(|outcome| outcome.result == Ok(200)));
    assert_eq!(
        lines(&hipache.directory().join("all.log"), 1).len(),
        outcomes.len()
    );
    let lost = hipache.stderr().into_iter().filter_map(|line| {
        let (_, count) = line.split_once("failed=")?;
        count.trim().parse::<usize>().ok()
    });
    let full = std::fs::read_to_string(disk.join("full.log")).unwrap();
    let whole = full
        .lines()
        .filter(|line| line.starts_with("begin ") && line.ends_with(" end"));
    assert_eq!(whole.count() + lost.sum::<usize>(), outcomes.len());
}

/// Takes a file system away at the end.
struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_dry_run_shows_each_log_with_an_example_and_tells_every_mistake_at_its_path() {
    let directory = Directory::fresh();
    let dry = |logs: Value| {
        let config =
            json!({ "server": { "accessLog": logs }, "user": crate::harness::current_user() });
        directory.write("config.json", config.to_string());
        run_to_end(directory.path(), &["--dry", "--config", "config.json"], &[])
    };
    let good = dry(json!(["stdout", { "target": "stderr", "format": "$status ${host}" }]));
    assert!(good.status.success(), "{}", text(&good.stderr));
    let shown: Value = serde_json::from_slice(&good.stdout).unwrap();
    let logs = &shown["server"]["accessLog"];
    assert_eq!(logs[0]["format"], "hipache");
    let example = logs[0]["example"].as_str().unwrap();
    assert!(
        example.starts_with("::ffff:192.0.2.7 - - [22/Nov/2026:05:01:23 +0000]"),
        "{example}"
    );
    assert_eq!(logs[1]["example"], "200 www.example.com");
    let bad = dry(json!([
        { "target": "stdout", "format": "$statsu $reqest_time" },
        { "target": "syslog:here", "sample": 0 },
        { "target": "stdout", "format": "json", "escape": "none" },
        { "target": "stdout", "filter": { "end": "okay", "status": "6x" }, "quue": {} },
    ]));
    assert_eq!(bad.status.code(), Some(1));
    let told = text(&bad.stderr);
    for expected in [
        "server.accessLog[0].format: the variable $statsu is unknown; did you mean $status?",
        "server.accessLog[1].target: \"syslog:here\" is no",
        "server.accessLog[1].sample: 0 is not in",
        "server.accessLog[2].escape: only a template",
        "server.accessLog[3].filter.end: \"okay\" is no end of a request: expected ok,",
        "server.accessLog[3].filter.status: \"6x\" is no status",
        "server.accessLog[3].quue: this key is unknown; did you mean `queue`?",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn a_log_that_waits_lets_traffic_wait_and_loses_nothing() {
    let (_redis, _backend, starter) = scene(|directory| {
        let pipe = directory.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        json!({ "target": pipe, "queue": { "bytes": 65536, "full": "wait", "wait": 10 } })
    });
    let pipe = starter.directory().join("pipe");
    let open = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let mut hipache = starter.start();
    let load = Load::keeping(hipache.address(), "a.test", 2);
    let reader = std::thread::spawn(move || {
        use std::io::Read;
        let (mut count, mut bytes) = (0, [0; 4096]);
        let mut file = std::fs::File::open(&pipe).unwrap();
        loop {
            let length = file.read(&mut bytes).unwrap();
            if length == 0 {
                return count;
            }
            count += bytes[..length]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    load.wait_for(3000);
    let outcomes = load.stop();
    hipache.stop();
    drop(open);
    assert_eq!(reader.join().unwrap(), outcomes.len());
}
