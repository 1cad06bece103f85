//! Tests of `telemetry::writer`.

use std::fs::OpenOptions;
use std::io::Read as _;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::*;
use crate::scoreboard::Seat;

fn writer(target: impl Into<OwnedFd>) -> (LineWriter, Arc<Shared>, LogSeat) {
    let (shared, seat) = (Arc::new(Shared::default()), Seat::detached().log(0));
    let way = Way::File(File::from(target.into()));
    let writer = LineWriter::new(way, Arc::clone(&shared), seat);
    (writer, shared, seat)
}

fn counts(seat: LogSeat) -> (u64, u64, u64) {
    (
        seat.count(LogCounter::Written),
        seat.count(LogCounter::Failed),
        seat.count(LogCounter::Bytes),
    )
}

#[test]
fn a_full_device_fails_every_line_and_counts_it() {
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let (mut writer, shared, seat) = writer(full);
    writer.write_all(b"one\ntwo\n").unwrap();
    writer.write_all(b"three\n").unwrap();
    assert_eq!(counts(seat), (0, 3, 0));
    let done = shared.done();
    assert_eq!((done.written, done.failed, done.taken_bytes), (0, 3, 14));
}

#[test]
fn a_torn_line_is_ended_before_the_next_and_counts_as_failed() {
    let (mut reader, pipe) = io::pipe().unwrap();
    let (mut writer, shared, seat) = writer(pipe);
    // As after a disk that took `one\ntw` of `one\ntwo\n`.
    let Way::File(target) = &mut writer.way else {
        panic!("no file")
    };
    assert_eq!(send(target, b"one\ntw").0, 6);
    writer.is_torn = true;
    let torn = Sent {
        lines: 1,
        bytes: 6,
        failed: 1,
    };
    writer.count(torn, 8);
    writer.write_all(b"three\nfour\n").unwrap();
    writer.write_all(b"five\n").unwrap();
    assert_eq!(counts(seat), (4, 1, 6 + 1 + 11 + 5));
    let all = |lines| move |done: &Done| done.written + done.failed >= lines;
    assert!(shared.wait_until(Duration::ZERO, all(5)));
    assert!(!shared.wait_until(Duration::ZERO, all(6)));
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntw\nthree\nfour\nfive\n");
}

#[test]
fn a_torn_line_stays_torn_while_nothing_can_be_written() {
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let (mut writer, shared, seat) = writer(full);
    writer.is_torn = true;
    writer.write_all(b"one\n").unwrap();
    assert!(writer.is_torn);
    assert_eq!(counts(seat), (0, 1, 0));
    let (mut reader, pipe) = io::pipe().unwrap();
    shared.replace(pipe.into());
    writer.write_all(b"two\n").unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "two\n", "a new file has no torn line");
}

#[test]
fn a_non_blocking_pipe_is_waited_for_and_its_end_fails_the_rest() {
    let (mut reader, pipe) = io::pipe().unwrap();
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let (mut writer, _, seat) = writer(pipe);
    let line = [&[b'x'; 4095][..], b"\n"].concat();
    let batch = line.repeat(64); // four times what a pipe holds
    let slow = std::thread::spawn(move || {
        let mut half = vec![0; 4096 * 32];
        reader.read_exact(&mut half).unwrap();
        half.len() // and the reader goes away
    });
    writer.write_all(&batch).unwrap();
    assert_eq!(slow.join().unwrap(), 4096 * 32);
    let (written, failed, bytes) = counts(seat);
    assert_eq!(written + failed, 64);
    assert!(
        written >= 32 && failed > 0,
        "written {written}, failed {failed}"
    );
    assert!(bytes >= 4096 * written && bytes < 4096 * (written + 1));
}
