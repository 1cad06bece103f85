//! Tests of `telemetry::events`.

use super::super::story::tests::{objects, writes};
use super::*;

/// The lines that an event leaves, without time and process.
fn told(event: &Event<'_>) -> Vec<String> {
    let pid = format!(" {} ", std::process::id());
    let lines = writes(|| emit(event));
    let text = |line: &String| {
        let (_, rest) = line.split_once(' ').unwrap();
        rest.trim().replacen(&pid, " ", 1)
    };
    lines.iter().map(text).collect()
}

const SECOND: Duration = Duration::from_nanos(1_500_999_999);

const FIGURES: Figures = Figures {
    uptime: SECOND,
    requests: 7,
    connections: 3,
    allocated: 10,
    active: 20,
    resident: 30,
};

fn of_processes() -> [(Event<'static>, &'static str); 2] {
    let address = "[::1]:80".parse().unwrap();
    [
        (
            Event::Listening { address },
            "INFO listening address=[::1]:80",
        ),
        (
            Event::Started { pid: 1, workers: 2 },
            "INFO started pid=1 workers=2",
        ),
    ]
}

fn of_workers() -> [(Lifecycle<'static>, &'static str); 7] {
    let (seat, slot, pid) = (4, 0, 7);
    [
        (
            Lifecycle::WorkerStarted { seat, slot, pid },
            "INFO worker started seat=4 slot=0 pid=7",
        ),
        (
            Lifecycle::WorkerReady {
                seat: 4,
                slot: 0,
                pid: 7,
                took: SECOND,
            },
            "INFO worker ready seat=4 slot=0 pid=7 took=1.5s",
        ),
        (
            Lifecycle::WorkerDied(DeathReport {
                seat,
                slot,
                pid,
                status: &"signal SIGKILL",
                figures: FIGURES,
                held_connections: 2,
                held_requests: 1,
                lost_lines: 5,
                lost_spans: 6,
            }),
            "WARN worker died seat=4 slot=0 pid=7 status=\"signal SIGKILL\" uptime=1.5s requests=7 connections=3 held_requests=1 held_connections=2 lost_lines=5 lost_spans=6 allocated=10 active=20 resident=30",
        ),
        (
            Lifecycle::WorkerSilent { seat },
            "WARN worker is silent, others accept for it seat=4",
        ),
        (
            Lifecycle::Killing {
                seat,
                why: "it hangs",
            },
            "WARN killing worker seat=4 why=\"it hangs\"",
        ),
        (
            Lifecycle::Replacing {
                seat,
                slot,
                why: "memory",
            },
            "INFO replacing worker seat=4 slot=0 why=\"memory\"",
        ),
        (
            Lifecycle::Retiring {
                seat,
                slot,
                why: "memory",
                limit: None,
            },
            "INFO worker is told to leave seat=4 slot=0 why=\"memory\"",
        ),
    ]
}

fn of_renewals() -> [(Lifecycle<'static>, &'static str); 4] {
    [
        (
            Lifecycle::Upgrading {
                program: Path::new("/a"),
            },
            "INFO upgrading program=\"/a\"",
        ),
        (
            Lifecycle::Upgraded {
                version: "1",
                generation: 2,
                configuration: "ab",
            },
            "INFO upgraded version=\"1\" generation=2 configuration=\"ab\"",
        ),
        (
            Lifecycle::UpgradeFailed {
                result: "abandoned",
                reason: &"no",
            },
            "ERROR upgrade failed, the old program stays result=\"abandoned\" reason=\"no\"",
        ),
        (
            Lifecycle::ReloadFailed {
                result: "refused",
                reason: &"no",
            },
            "ERROR reload failed, the old configuration stays result=\"refused\" reason=\"no\"",
        ),
    ]
}

fn of_ends() -> [(Event<'static>, &'static str); 6] {
    [
        (
            Event::Stopping { signal: "SIGTERM" },
            "INFO stopping signal=\"SIGTERM\"",
        ),
        (
            Event::Stopped { uptime: SECOND },
            "INFO stopped uptime=1.5s",
        ),
        (
            Event::Draining {
                why: "stop",
                limit: Some(SECOND * 2),
            },
            "INFO draining why=\"stop\" limit=3.001999998s",
        ),
        (
            Event::Drained(Closing {
                why: "stop",
                took: SECOND,
                forced: 0,
                figures: FIGURES,
            }),
            "INFO drained why=\"stop\" took=1.5s forced=0 uptime=1.5s requests=7 connections=3 allocated=10 active=20 resident=30",
        ),
        (
            Event::Drained(Closing {
                why: "reload",
                took: SECOND,
                forced: 4,
                figures: FIGURES,
            }),
            "WARN drained, not everything was finished why=\"reload\" took=1.5s forced=4 uptime=1.5s requests=7 connections=3 allocated=10 active=20 resident=30",
        ),
        (
            Event::LogLosses {
                log: "server.accessLog[1]",
                dropped: 1,
                failed: 2,
            },
            "WARN access-log lines were lost log=\"server.accessLog[1]\" dropped=1 failed=2",
        ),
    ]
}

fn of_surroundings() -> [(Event<'static>, &'static str); 7] {
    let path = Path::new("/var/log/a \"b\"");
    [
        (
            Event::Reopened { path },
            "INFO access log reopened path=\"/var/log/a \\\"b\\\"\"",
        ),
        (
            Event::RedisLost {
                server: "127.0.0.1:6379",
                error: &"refused",
            },
            "WARN redis does not answer server=\"127.0.0.1:6379\" error=\"refused\"",
        ),
        (
            Event::RedisBack {
                server: "127.0.0.1:6379",
                after: SECOND,
            },
            "INFO redis answers again server=\"127.0.0.1:6379\" took=1.5s",
        ),
        (
            Event::RoutesReloaded {
                path: Path::new("r.json"),
                hosts: 9,
            },
            "INFO routes reloaded path=\"r.json\" hosts=9",
        ),
        (
            Event::MarkedDead {
                host: "a.test",
                backend: "http://b/",
                id: 1,
                announced_only: true,
            },
            "WARN backend marked dead host=\"a.test\" backend=\"http://b/\" id=1 announced_only=true",
        ),
        (
            Event::AttemptFailed {
                host: "a\" end=\"ok",
                backend: "http://b/",
                id: 0,
                end: "connection_refused",
                detail: &"os error 111\n",
            },
            "INFO attempt failed host=\"a\\\" end=\\\"ok\" backend=\"http://b/\" id=0 end=\"connection_refused\" detail=\"os error 111\\n\"",
        ),
        (
            Event::Problem {
                doing: "binding",
                error: &"in use",
            },
            "ERROR problem doing=\"binding\" error=\"in use\"",
        ),
    ]
}

#[test]
fn each_event_has_its_level_text_and_fields_on_one_line() {
    let of_workers = of_workers().into_iter().chain(of_renewals());
    let of_workers = of_workers.map(|(event, line)| (Event::Lifecycle(event), line));
    let all = of_processes()
        .into_iter()
        .chain(of_workers)
        .chain(of_ends());
    for (event, expected) in all.chain(of_surroundings()) {
        assert_eq!(told(&event), [expected]);
    }
}

#[test]
fn every_event_has_a_name_and_the_document_has_a_row_for_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md");
    let document = std::fs::read_to_string(path).unwrap();
    let of_workers = of_workers().map(|(event, line)| (Event::Lifecycle(event), line));
    let all = of_processes()
        .into_iter()
        .chain(of_workers)
        .chain(of_ends());
    for (event, expected) in all.chain(of_surroundings()) {
        let told = objects(|| emit(&event));
        let name = told[0]["event"]
            .as_str()
            .unwrap_or_else(|| panic!("{expected}"));
        let is_row = |line: &&str| line.starts_with("| `") && line.contains(&format!("`{name}`"));
        let row = document.lines().find(is_row).expect(name);
        let own = ["time", "level", "process", "event", "message"];
        let fields = told[0].as_object().unwrap().keys();
        for field in fields.filter(|field| !own.contains(&field.as_str())) {
            assert!(row.contains(&format!("`{field}`")), "{name}: {field}");
        }
        assert!(row.contains(told[0]["level"].as_str().unwrap()), "{name}");
    }
}

#[test]
fn a_flood_is_cut_and_says_so() {
    let throttle = Throttle::new(EVENTS_PER_SECOND);
    let mut passed = 0;
    let lines = writes(|| {
        passed = (0..1_000).filter(|_| passes(&throttle, "attempt")).count();
    });
    // The second may turn once while this runs.
    assert!((100..=200).contains(&passed), "{passed}");
    assert!(lines[0].contains("too many events a second"), "{lines:?}");
    assert!(lines.len() <= 3, "{lines:?}");
}
