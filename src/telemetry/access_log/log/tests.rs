//! Tests of one access log: `telemetry::access_log::log`.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::*;
use crate::config::Target;
use crate::scoreboard::Seat;
use crate::telemetry::RequestLine;
use crate::telemetry::record::samples::record;

/// A record without a route, an attempt or a duration.
fn bare<'a>() -> Record<'a> {
    Record {
        route: None,
        attempts: &[],
        total: Duration::ZERO,
        ..record()
    }
}

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("hipache-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> OwnedFd {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().into()
}

/// A log into this descriptor.
fn start(target: impl Into<OwnedFd>, seat: LogSeat) -> Log {
    with_queue(target, seat, &config::Queue::default())
}

/// A log whose queue is as told.
fn with_queue(target: impl Into<OwnedFd>, seat: LogSeat, queue: &config::Queue) -> Log {
    let config = config::AccessLog::plain(Target::Stdout);
    let process = Rc::new(Process::here(0));
    let way = Way::File(target.into().into());
    Log::start(&config, way, seat, &process, Limit::new(*queue))
}

/// Four batches, more or less.
const SMALL: config::Queue = config::Queue {
    bytes: 4 * BATCH_BYTES as u64,
    wait: Duration::ZERO,
};

fn detached() -> LogSeat {
    Seat::detached().log(0)
}

/// Waits until so many lines are written or failed.
fn wait_for(shared: &Shared, lines: u64) -> bool {
    let limit = Duration::from_secs(10);
    shared.wait_until(limit, |done| done.written + done.failed >= lines)
}

fn write(log: &Log, number: usize) {
    log.write(&Record {
        client: "127.0.0.1".parse().unwrap(),
        arrived: UNIX_EPOCH,
        request: Some(RequestLine {
            method: "GET",
            target: format!("/{number}").as_bytes(),
            version: "1.1",
        }),
        status: 200,
        bytes_sent: 1,
        referer: b"",
        user_agent: b"",
        ..bare()
    });
}

/// The numbers of the lines in a file, each line whole.
fn numbers(path: &Path) -> Vec<usize> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let (head, rest) = line.split_once("GET /").expect("a whole line");
            assert_eq!(head, "::ffff:127.0.0.1 - - [01/Jan/1970:00:00:00 +0000] \"");
            let (number, rest) = rest.split_once(' ').expect("a whole line");
            assert_eq!(rest, "HTTP/1.1\" 200 1 \"\" \"\" \"-\" 0 0");
            number.parse().unwrap()
        })
        .collect()
}

#[test]
fn every_line_is_in_one_of_the_files_after_renames_under_writes() {
    const LINES: usize = 60_000;
    let directory = Directory::new("reopen");
    let path = |index: usize| directory.0.join(format!("log.{index}"));
    let seat = detached();
    let mut log = start(open(&path(0)), seat);
    for number in 0..LINES {
        if number % 10_000 == 9_999 {
            let index = number / 10_000;
            let current = path(index);
            fs::rename(&current, directory.0.join(format!("old.{index}"))).unwrap();
            log.reopen(open(&path(index + 1)));
        }
        write(&log, number);
    }
    log.finish(Duration::from_secs(20));
    let mut found = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(&directory.0).unwrap() {
        let file = entry.unwrap().path();
        found.extend(numbers(&file));
        bytes += file.metadata().unwrap().len();
    }
    found.sort_unstable();
    assert_eq!(found, (0..LINES).collect::<Vec<_>>());
    assert_eq!(seat.count(LogCounter::Written), LINES as u64);
    assert_eq!(seat.count(LogCounter::Bytes), bytes);
    assert_eq!(seat.count(LogCounter::Dropped), 0);
}

#[test]
fn a_pipe_that_nobody_reads_costs_counted_lines_and_no_time() {
    const LINES: usize = 20_000;
    let (reader, pipe) = std::io::pipe().unwrap();
    let seat = detached();
    let mut log = with_queue(pipe, seat, &SMALL);
    (0..LINES).for_each(|number| write(&log, number));
    let dropped = seat.count(LogCounter::Dropped);
    assert!(dropped > 0);
    let start = Instant::now();
    log.finish(Duration::from_millis(50));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    drop(reader);
    let dropped = seat.count(LogCounter::Dropped);
    let other = seat.count(LogCounter::Written) + seat.count(LogCounter::Failed);
    assert!(dropped + other <= LINES as u64);
    assert!(dropped > LINES as u64 / 2, "{dropped}");
}

#[test]
fn a_full_disk_is_counted_in_lines() {
    let seat = detached();
    let mut log = start(open(Path::new("/dev/full")), seat);
    (0..1_000).for_each(|number| write(&log, number));
    log.finish(Duration::from_secs(20));
    assert_eq!(seat.count(LogCounter::Failed), 1_000);
    assert_eq!(seat.count(LogCounter::Written), 0);
}

#[test]
fn bytes_that_wait_are_bounded_whatever_the_length_of_lines() {
    let (_reader, pipe) = std::io::pipe().unwrap();
    let seat = detached();
    let mut log = start(pipe, seat);
    let agent = vec![0xff; 100_000];
    for _ in 0..100 {
        log.write(&Record {
            client: "::1".parse().unwrap(),
            arrived: UNIX_EPOCH,
            request: None,
            status: 400,
            bytes_sent: 0,
            referer: b"",
            user_agent: &agent,
            ..bare()
        });
    }
    let fits = config::Queue::default().bytes / 400_000;
    let dropped = seat.count(LogCounter::Dropped);
    assert!(
        (100 - fits - 1..=100 - fits + 1).contains(&dropped),
        "{dropped}"
    );
    let capacity = log.inner.batch.borrow().bytes.capacity();
    assert!(capacity <= 2 * BATCH_BYTES, "{capacity}");
    log.finish(Duration::ZERO);
}

#[test]
fn an_old_batch_is_written_without_further_lines_and_an_idle_log_follows_a_reopen() {
    let directory = Directory::new("flush");
    let (first, second) = (directory.0.join("first"), directory.0.join("second"));
    let mut log = start(open(&first), detached());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let written = |path: PathBuf, count: usize| async move {
        let limit = Instant::now() + Duration::from_secs(10);
        while numbers(&path).len() < count && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        numbers(&path)
    };
    runtime.block_on(async {
        write(&log, 1);
        write(&log, 2);
        assert_eq!(written(first.clone(), 2).await, [1, 2]);
        write(&log, 3);
        assert_eq!(written(first.clone(), 3).await, [1, 2, 3]);
        let (mut gone, end) = std::io::pipe().unwrap();
        log.reopen(end.into());
        log.reopen(open(&second));
        // The pipe was given up by an idle writer: its reader sees the end without another line.
        let end = std::io::Read::read(&mut gone, &mut [0; 1]).unwrap();
        assert_eq!(end, 0);
        write(&log, 4);
        assert_eq!(written(second.clone(), 1).await, [4]);
    });
    drop(runtime);
    log.finish(Duration::from_secs(1));
}

#[test]
fn a_dropped_log_keeps_its_lines() {
    let directory = Directory::new("drop");
    let path = directory.0.join("log");
    let log = start(open(&path), detached());
    let shared = Arc::clone(&log.inner.shared);
    write(&log, 1);
    drop(log);
    assert!(wait_for(&shared, 1));
    assert_eq!(numbers(&path), [1]);
}

#[test]
fn a_log_that_waits_loses_nothing_to_a_slow_reader_and_hangs_once_on_none() {
    const LINES: usize = 20_000;
    let patient = config::Queue {
        wait: Duration::from_secs(5),
        ..SMALL
    };
    let (mut reader, pipe) = std::io::pipe().unwrap();
    let seat = detached();
    let mut log = with_queue(pipe, seat, &patient);
    let slow = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
        bytes.iter().filter(|&&byte| byte == b'\n').count()
    });
    (0..LINES).for_each(|number| write(&log, number));
    log.finish(Duration::from_secs(20));
    drop(log);
    assert_eq!(slow.join().unwrap(), LINES);
    assert_eq!(seat.count(LogCounter::Dropped), 0);

    let stuck = config::Queue {
        wait: Duration::from_millis(200),
        ..SMALL
    };
    let (_reader, pipe) = std::io::pipe().unwrap();
    let mut log = with_queue(pipe, seat, &stuck);
    let began = Instant::now();
    (0..LINES).for_each(|number| write(&log, number));
    let took = began.elapsed();
    assert!(seat.count(LogCounter::Dropped) > 0);
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(2),
        "{took:?}"
    );
    log.finish(Duration::ZERO);
}

#[test]
fn lines_that_are_filtered_are_counted_apart() {
    let seat = detached();
    let mut config = config::AccessLog::plain(Target::Stdout);
    config.sample = 4;
    let process = Rc::new(Process::here(0));
    let way = Way::File(std::fs::File::from(open(Path::new("/dev/null"))));
    let limit = Limit::new(config.queue);
    let mut log = Log::start(&config, way, seat, &process, limit);
    (0..20).for_each(|number| write(&log, number));
    log.finish(Duration::from_secs(10));
    let counts = [LogCounter::Written, LogCounter::Filtered].map(|counter| seat.count(counter));
    assert_eq!(counts, [5, 15]);
}

#[test]
fn workers_that_share_a_file_do_not_break_each_others_lines() {
    const LINES: usize = 20_000;
    let directory = Directory::new("shared");
    let path = directory.0.join("log");
    let workers = [0, 1, 2].map(|worker| {
        let target = open(&path);
        std::thread::spawn(move || {
            let mut log = start(target, detached());
            (0..LINES).for_each(|number| write(&log, worker * LINES + number));
            log.finish(Duration::from_secs(20));
        })
    });
    for worker in workers {
        worker.join().unwrap();
    }
    let mut found = numbers(&path);
    found.sort_unstable();
    assert_eq!(found, (0..3 * LINES).collect::<Vec<_>>());
}

#[test]
fn losses_are_told_as_they_grow_at_most_once_a_minute_and_at_the_end() {
    let seat = detached();
    let log = start(open(Path::new("/dev/null")), seat);
    let told =
        |is_end: bool| crate::telemetry::story::tests::writes(|| log.inner.tell_losses(is_end));
    let lose = |lines: u64| seat.add(LogCounter::Dropped, lines);
    assert!(told(true).is_empty(), "nothing was lost");
    lose(5);
    assert!(told(false)[0].ends_with("dropped=5 failed=0\n"));
    lose(2);
    assert!(told(false).is_empty(), "within the minute");
    lose(1);
    assert!(told(true)[0].ends_with("dropped=3 failed=0\n"));
    assert!(told(true).is_empty(), "all is told");
}
