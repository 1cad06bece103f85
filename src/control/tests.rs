//! The channel over a real pair of sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use super::*;

fn on_a_worker<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap()
        .block_on(test)
}

#[test]
fn files_are_asked_for_by_name_and_come_as_two_descriptors() {
    on_a_worker(async {
        let (mut master, worker) = pair().unwrap();
        let worker = WorkerEnd::new(worker).unwrap();
        let question = ToMaster::Borrow {
            request: 9,
            name: "a.test".into(),
        };
        worker.tell(&question).await.unwrap();
        assert!(matches!(master.hear().unwrap(), Heard::Message(m) if m == question));
        let pipe = || OwnedFd::from(File::open("/dev/null").unwrap());
        let answers = [
            (Lent::Files([pipe(), pipe()]), "Files"),
            (Lent::Nothing, "Nothing"),
            (Lent::Refused, "Refused"),
        ];
        for (what, expected) in answers {
            master.tell(ToWorker::Lent { request: 9, what }).unwrap();
            let Some(ToWorker::Lent { request: 9, what }) = worker.hear().await.unwrap() else {
                panic!("no answer: {expected}");
            };
            assert!(format!("{what:?}").starts_with(expected), "{what:?}");
        }
    });
}

#[test]
fn messages_arrive_whole_and_in_order() {
    on_a_worker(async {
        let (mut master, worker) = pair().unwrap();
        let worker = WorkerEnd::new(worker).unwrap();
        let limit = Duration::from_millis(1500);
        for message in [
            ToWorker::Adopt(3),
            ToWorker::Release(usize::MAX),
            ToWorker::Drain {
                why: Why::Stop,
                limit: Some(limit),
            },
            ToWorker::Drain {
                why: Why::Reload,
                limit: None,
            },
        ] {
            master.tell(message).unwrap();
        }
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(format!("{:?}", worker.hear().await.unwrap().unwrap()));
        }
        let expected = [
            "Adopt(3)",
            "Release(18446744073709551615)",
            "Drain { why: Stop, limit: Some(1.5s) }",
            "Drain { why: Reload, limit: None }",
        ];
        assert_eq!(heard, expected);
        for report in [
            ToMaster::Ready,
            ToMaster::WantsReplacement(Why::Memory),
            ToMaster::Stopped,
            ToMaster::OnlyTunnels,
            ToMaster::Drained { forced: 12 },
        ] {
            worker.tell(&report).await.unwrap();
            assert!(matches!(master.hear().unwrap(), Heard::Message(m) if m == report));
        }
        assert!(matches!(master.hear().unwrap(), Heard::Nothing));
    });
}

#[test]
fn a_descriptor_travels_with_its_message() {
    on_a_worker(async {
        let (mut master, worker) = pair().unwrap();
        let worker = WorkerEnd::new(worker).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        master.tell(ToWorker::Reopen(3, writer.into())).unwrap();
        let Some(ToWorker::Reopen(3, received)) = worker.hear().await.unwrap() else {
            panic!("expected a reopen");
        };
        File::from(received).write_all(b"line").unwrap();
        // Ends only if the master kept no copy of the writing end.
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "line");
    });
}

#[test]
fn each_side_learns_that_the_other_is_gone() {
    on_a_worker(async {
        let (mut master, worker) = pair().unwrap();
        let worker = WorkerEnd::new(worker).unwrap();
        worker.tell(&ToMaster::Ready).await.unwrap();
        // Closed with a message unread: the kernel says "reset" rather than end-of-file.
        drop(master);
        assert!(worker.hear().await.unwrap().is_none());
        assert!(worker.tell(&ToMaster::Ready).await.is_err());

        (master, _) = pair().unwrap();
        assert!(matches!(master.hear().unwrap(), Heard::Gone));
        assert!(master.tell(ToWorker::Adopt(0)).is_err());
    });
}

#[test]
fn a_worker_that_does_not_read_costs_a_bounded_queue_and_no_wait() {
    let (mut master, worker) = pair().unwrap();
    let mut told = 0;
    while master.tell(ToWorker::Adopt(told)).is_ok() {
        told += 1;
        assert!(told < 100_000, "the queue has no bound");
    }
    assert!(master.is_waiting());
    let heard = on_a_worker(async {
        let worker = WorkerEnd::new(worker).unwrap();
        for expected in 0..told {
            master.flush().unwrap();
            let message = worker.hear().await.unwrap();
            assert!(matches!(message, Some(ToWorker::Adopt(slot)) if slot == expected));
        }
        told
    });
    assert_eq!(heard, told);
    assert!(!master.is_waiting());
}

#[test]
fn a_malformed_message_is_an_error_and_the_next_is_heard() {
    let (mut master, worker) = pair().unwrap();
    for bytes in [&[9, 9, 9][..], &[1; 40]] {
        nix::unistd::write(&worker, bytes).unwrap();
        let error = master.hear().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
    send(&worker, &ToMaster::Ready.to_frame(), &[]).unwrap();
    assert!(matches!(
        master.hear().unwrap(),
        Heard::Message(ToMaster::Ready)
    ));
}
