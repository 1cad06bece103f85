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

fn of_processes() -> [(Event<'static>, &'static str); 5] {
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
        (
            Event::WorkerStarted { slot: 0, pid: 7 },
            "INFO worker started slot=0 pid=7",
        ),
        (
            Event::WorkerReady {
                slot: 0,
                pid: 7,
                took: SECOND,
            },
            "INFO worker ready slot=0 pid=7 took=1.5s",
        ),
        (
            Event::WorkerDied {
                slot: 0,
                pid: 7,
                status: "signal SIGKILL",
                uptime: SECOND,
                lost_lines: 3,
            },
            "WARN worker died slot=0 pid=7 status=\"signal SIGKILL\" uptime=1.5s lost_lines=3",
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
            Event::Draining { limit: SECOND * 2 },
            "INFO draining limit=3.001999998s",
        ),
        (
            Event::Drained {
                took: SECOND,
                forced: 0,
            },
            "INFO drained took=1.5s forced=0",
        ),
        (
            Event::Drained {
                took: SECOND,
                forced: 4,
            },
            "WARN drained, not everything was finished took=1.5s forced=4",
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
    let all = of_processes().into_iter().chain(of_ends());
    for (event, expected) in all.chain(of_surroundings()) {
        assert_eq!(told(&event), [expected]);
    }
}

#[test]
fn every_event_has_a_name_and_the_document_has_a_row_for_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md");
    let document = std::fs::read_to_string(path).unwrap();
    let all = of_processes().into_iter().chain(of_ends());
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
