//! Commands byte for byte, and answers of every kind.

use redis::parse_redis_value;

use super::*;
use crate::vhost::Backend;

fn host(name: &str) -> Host {
    Host::parse(name.as_bytes()).unwrap()
}

/// The commands of a pipeline, their arguments joined by blanks.
fn spoken(pipeline: &Pipeline) -> Vec<String> {
    let bytes = pipeline.get_packed_pipeline();
    let mut parser = redis::Parser::new();
    let mut rest = bytes.as_slice();
    let mut commands = Vec::new();
    for _ in 0..pipeline.len() {
        let Ok(Value::Array(parts)) = parser.parse_value(&mut rest) else {
            panic!("no command in {bytes:?}");
        };
        let parts = parts
            .iter()
            .map(|part| String::from_utf8_lossy(super::bytes(part).unwrap()));
        commands.push(parts.collect::<Vec<_>>().join(" "));
    }
    commands
}

fn error(text: &str) -> Value {
    parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap()
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn texts(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|one| text(one)).collect())
}

/// The replies to a transaction that was carried out.
fn carried_out(items: Vec<Value>) -> Vec<Value> {
    let mut replies = vec![Value::Okay];
    replies.extend(
        items
            .iter()
            .map(|_| Value::SimpleString("QUEUED".to_owned())),
    );
    replies.push(Value::Array(items));
    replies
}

#[test]
fn a_lookup_says_what_the_original_says_and_asks_for_the_remaining_time() {
    let with = spoken(&lookup(Pipeline::new(), "p:", &host("a.test"), true));
    let expected = [
        "MULTI",
        "LRANGE p:frontend:a.test 0 -1",
        "LRANGE p:frontend:*.test 0 -1",
        "LRANGE p:frontend:* 0 -1",
        "SMEMBERS p:dead:a.test",
        "PTTL p:dead:a.test",
        "EXEC",
    ];
    assert_eq!(with, expected);
    let without = spoken(&lookup(Pipeline::new(), "", &host(""), false));
    assert_eq!(
        without,
        ["MULTI", "LRANGE frontend:* 0 -1", "SMEMBERS dead:", "EXEC"]
    );
}

#[test]
fn a_mark_is_the_transaction_of_the_original() {
    let backend = Backend::parse("http://127.0.0.1:8001").unwrap();
    let said = announcement(&host("a.test"), &backend, 1, 2);
    assert_eq!(said, "a.test;http://127.0.0.1:8001/;1;2");
    let cases = [(30_000, "30"), (1_500, "2"), (1, "1"), (0, "1")];
    for (milliseconds, seconds) in cases {
        let ttl = Duration::from_millis(milliseconds);
        let expected = [
            "MULTI".to_owned(),
            "SADD p:dead:a.test 1".to_owned(),
            format!("EXPIRE p:dead:a.test {seconds}"),
            format!("PUBLISH dead {said}"),
            "EXEC".to_owned(),
        ];
        assert_eq!(
            spoken(&mark("p:", &host("a.test"), 1, ttl, &said)),
            expected
        );
    }
    assert_eq!(spoken(&publish(&said)), [format!("PUBLISH dead {said}")]);
}

#[test]
fn the_first_list_that_is_not_empty_wins_whatever_is_wrong_behind_it() {
    let wrong = || error("WRONGTYPE no list");
    let none = || texts(&[]);
    let list = |id: &str| texts(&[id, "http://a"]);
    let said = |key: &str| Err(Refusal::Said(format!("{key}: WRONGTYPE no list")));
    let cases = [
        ("exact", [list("1"), list("2"), list("3")], Ok(Some("1"))),
        ("wildcard", [none(), list("2"), list("3")], Ok(Some("2"))),
        ("any", [none(), none(), list("3")], Ok(Some("3"))),
        ("none", [none(), none(), none()], Ok(None)),
        (
            "identifier alone",
            [texts(&["1"]), list("2"), none()],
            Ok(Some("1")),
        ),
        ("wrong behind", [list("1"), wrong(), wrong()], Ok(Some("1"))),
        ("wrong before", [wrong(), list("2"), none()], said("a.test")),
        ("wrong last", [none(), none(), wrong()], said("*")),
    ];
    for (case, lists, expected) in cases {
        let mut items = Vec::from(lists);
        items.extend([none(), Value::Int(-2)]);
        let found = found(
            &host("a.test"),
            carried_out(items),
            true,
            &mut Memo::default(),
        );
        let vhost = found.map(|found| found.frontend.map(|frontend| frontend.vhost.to_string()));
        assert_eq!(vhost, expected.map(|id| id.map(str::to_owned)), "{case}");
    }
}

#[test]
fn dead_sets_are_read_as_far_as_they_make_sense() {
    let wrong = || error("WRONGTYPE no set");
    let cases = [
        (
            texts(&["0", "2"]),
            Value::Int(1500),
            vec![0, 2],
            Some(1500),
            false,
        ),
        (
            texts(&["x", "-1", "+1", "1.0", "", "99999", "01"]),
            Value::Int(-1),
            vec![1],
            None,
            false,
        ),
        (
            Value::Set(vec![text("1")]),
            Value::Int(0),
            vec![1],
            Some(0),
            false,
        ),
        (wrong(), Value::Int(-1), vec![], None, true),
        (Value::Nil, Value::Nil, vec![], None, true),
    ];
    for (set, remaining, members, left, is_bad) in cases {
        let case = format!("{set:?}");
        let items = vec![texts(&["id", "http://a", "http://b"]), set, remaining];
        let found = found(&host(""), carried_out(items), true, &mut Memo::default()).unwrap();
        assert_eq!(found.members, members, "{case}");
        assert_eq!(found.remaining, left.map(Duration::from_millis), "{case}");
        assert_eq!(found.problem.is_some(), is_bad, "{case}");
    }
}

#[test]
fn what_is_no_text_is_kept_readable() {
    let odd = Value::BulkString(b"\xff\r\n\"id".to_vec());
    let list = Value::Array(vec![odd, text("http://a"), Value::BulkString(vec![0xfe])]);
    let items = vec![list, texts(&[]), Value::Int(-2)];
    let frontend = found(&host(""), carried_out(items), true, &mut Memo::default())
        .unwrap()
        .frontend
        .unwrap();
    assert_eq!(&*frontend.vhost, "\u{fffd}\r\n\"id");
    assert_eq!(frontend.backends.len(), 2);
    assert!(frontend.backend(1).is_none());
}

#[test]
fn refusals_are_told_by_their_cause() {
    // Replies to MULTI, LRANGE, SMEMBERS, PTTL and EXEC; `.` is a good one.
    let cases = [
        ("NOAUTH a|NOAUTH b|NOAUTH c|NOAUTH d|NOAUTH e", "NOAUTH a"),
        (".|LOADING wait|.|.|EXECABORT", "LOADING wait"),
        (
            ".|.|NOPERM smembers|NOPERM pttl|EXECABORT",
            "NOPERM smembers",
        ),
        (".|.|.|.|MISCONF x", "MISCONF x"),
    ];
    let replies = |text: &str| -> Vec<Value> {
        let reply = |one: &str| if one == "." { Value::Okay } else { error(one) };
        text.split('|').map(reply).collect()
    };
    for (text, expected) in cases {
        let refusal = found(&host(""), replies(text), true, &mut Memo::default()).unwrap_err();
        assert_eq!(refusal, Refusal::Said(expected.to_owned()), "{text}");
    }
    let refused = replies(".|.|.|NOPERM pttl|EXECABORT");
    assert_eq!(
        found(&host(""), refused, true, &mut Memo::default()).unwrap_err(),
        Refusal::NoRemaining
    );
}

#[test]
fn nonsense_is_told_as_such() {
    let no_answer = "not an answer to what was asked";
    let no_list = "*: the answer is not a list of texts";
    let done = |list: Value| carried_out(vec![list, texts(&[]), Value::Int(0)]);
    let okay = |last: Value| vec![Value::Okay, Value::Okay, Value::Okay, Value::Okay, last];
    let cases = [
        (okay(Value::Nil), no_answer),
        (okay(texts(&["x"])), no_answer),
        (okay(Value::Int(7)), no_answer),
        (vec![], no_answer),
        (vec![Value::Array(vec![])], no_answer),
        (done(Value::Int(1)), no_list),
        (done(Value::Nil), no_list),
        (done(Value::Array(vec![Value::Nil])), no_list),
    ];
    for (replies, expected) in cases {
        let case = format!("{replies:?}");
        let refusal = found(&host(""), replies, true, &mut Memo::default()).unwrap_err();
        assert_eq!(refusal, Refusal::Said(expected.to_owned()), "{case}");
    }
}

#[test]
fn a_mark_counts_as_written_when_every_command_was_carried_out() {
    let one = || Value::Int(1);
    assert_eq!(
        marked(carried_out(vec![one(), one(), Value::Int(0)])),
        Ok(())
    );
    let wrong = carried_out(vec![error("WRONGTYPE no set"), one(), one()]);
    assert_eq!(marked(wrong), Err("WRONGTYPE no set".to_owned()));
    let refused = vec![Value::Okay, error("READONLY replica"), error("EXECABORT x")];
    assert_eq!(marked(refused), Err("READONLY replica".to_owned()));
}

#[test]
fn announcements_are_understood_or_passed_over() {
    type Case = (&'static [u8], Option<(&'static str, &'static str, usize)>);
    let cases: [Case; 14] = [
        (
            b"a.test;http://127.0.0.1:80/;1;2",
            Some(("a.test", "http://127.0.0.1:80/", 1)),
        ),
        // PlanB writes no slash.
        (b"a.test;http://b;0;2", Some(("a.test", "http://b/", 0))),
        (b";http://b/;0;2", Some(("", "http://b/", 0))),
        (
            b"[::1];http://[::1]:80/;0;2",
            Some(("[::1]", "http://[::1]:80/", 0)),
        ),
        (b"a.test;http://b/x;y;0;2", Some(("a.test", "http://b/", 0))),
        (b"A.Test;http://b/;0;2", None),
        (b"a.test:80;http://b/;0;2", None),
        (b"*.test;http://b/;0;2", None),
        (b"a.test;nonsense;0;2", None),
        (b"a.test;http://b/;x;2", None),
        (b"a.test;http://b/;99999999999999999999;2", None),
        (b"a.test;http://b/", None),
        (b"", None),
        (b"a.test;http://\xff/;0;2", None),
    ];
    for (message, expected) in cases {
        let case = String::from_utf8_lossy(message);
        let found = parse_announcement(message);
        let found = found
            .as_ref()
            .map(|(host, backend, id)| (host.as_str(), &*backend.url, *id));
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn the_time_of_a_checker_is_a_number_or_nothing() {
    let cases = [
        (vec![text("1700000000")], Some(1_700_000_000.0)),
        (vec![text(" 1700000000.5\n")], Some(1_700_000_000.5)),
        (vec![text("soon")], None),
        (vec![text("inf")], None),
        (vec![Value::Nil], None),
        (vec![error("WRONGTYPE x")], None),
        (vec![], None),
    ];
    for (replies, expected) in cases {
        assert_eq!(checked(&replies), expected, "{replies:?}");
    }
}

#[test]
fn a_connection_starts_with_login_and_database() {
    let cases = [
        (hello(None, None, 0), "PING"),
        (hello(None, Some("secret"), 0), "AUTH secret|PING"),
        (
            hello(Some("app"), Some("secret"), 2),
            "AUTH app secret|SELECT 2|PING",
        ),
        (hello(Some("app"), None, 1), "SELECT 1|PING"),
    ];
    for (pipeline, expected) in cases {
        assert_eq!(spoken(&pipeline).join("|"), expected);
    }
    let pong = || Value::SimpleString("PONG".to_owned());
    let no = |text: &str| Err(text.to_owned());
    let cases = [
        (vec![Value::Okay, pong()], Ok(())),
        (vec![pong()], Ok(())),
        (vec![Value::Okay, error("NOPERM no ping")], Ok(())),
        (
            vec![error("NOPERM no select"), error("NOPERM no ping")],
            no("NOPERM no select"),
        ),
        (
            vec![error("WRONGPASS x"), error("NOAUTH y")],
            no("WRONGPASS x"),
        ),
        (vec![error("LOADING x")], no("LOADING x")),
    ];
    for (replies, expected) in cases {
        assert_eq!(welcomed(&replies), expected, "{replies:?}");
    }
}
