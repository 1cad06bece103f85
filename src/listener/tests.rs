//! Binding and accepting with real sockets.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

fn loopback() -> Vec<SocketAddr> {
    vec!["127.0.0.1:0".parse().unwrap()]
}

fn bound(addresses: &[SocketAddr], slots: usize) -> Result<Listeners, bind::BindError> {
    bind(addresses, slots, &mut Activated::default())
}

fn again(existing: &Listeners, addresses: &[SocketAddr], slots: usize) -> Listeners {
    rebind(existing, addresses, slots, &mut Activated::default()).unwrap()
}

fn on_a_worker<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap()
        .block_on(test)
}

#[test]
fn all_slots_share_the_port_that_the_first_socket_chose() {
    let addresses = ["127.0.0.1:0", "[::1]:0"].map(|address| address.parse().unwrap());
    let listeners = bound(&addresses, 3).unwrap();
    let chosen: Vec<_> = listeners.addresses().collect();
    assert_eq!(chosen.len(), 2);
    for slot in 0..3 {
        let own: Vec<_> = listeners
            .of_slot(slot)
            .iter()
            .map(|listener| listener.socket.local_addr().unwrap())
            .collect();
        assert_eq!(own, chosen, "slot {slot}");
    }
    assert!(chosen.iter().all(|address| address.port() != 0));
    assert!(listeners.of_slot(3).is_empty());
}

#[test]
fn an_address_in_use_is_named_also_when_its_owner_shares_ports() {
    let first = bound(&loopback(), 2).unwrap();
    let address = first.addresses().next().unwrap();
    let error = bound(&[address], 2).unwrap_err().to_string();
    let expected = format!("no socket on {address}: ");
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("in use"), "{error}");
    let twice = bound(&[address, address], 1).unwrap_err().to_string();
    assert!(twice.contains("in use"), "{twice}");
    drop(first);
    bound(&[address], 2).expect("the port is free again");
}

#[test]
fn closing_sockets_leaves_the_others() {
    let mut listeners = bound(&loopback(), 3).unwrap();
    let kept = listeners.of_slot(1)[0].id();
    listeners.retain(|id| id == kept);
    let left: Vec<_> = (0..3).map(|slot| listeners.of_slot(slot).len()).collect();
    assert_eq!(left, [0, 1, 0]);
}

fn ids(listeners: &Listeners) -> Vec<Vec<u64>> {
    let of_slot = |slot| listeners.of_slot(slot).iter().map(Listener::id).collect();
    (0..listeners.slots()).map(of_slot).collect()
}

#[test]
fn what_stays_is_the_same_socket_and_what_is_new_lets_nobody_in_before_it_is_served() {
    let two: Vec<SocketAddr> = ["127.0.0.1:0", "[::1]:0"]
        .map(|a| a.parse().unwrap())
        .into();
    let old = bound(&two, 2).unwrap();
    let chosen: Vec<_> = old.addresses().collect();
    // By the port that was asked for, by the one in force, in another order, with more slots.
    let next = again(&old, &[chosen[1], two[0], two[0]], 3);
    for slot in 0..2 {
        assert_eq!(
            ids(&next)[slot][..2],
            [ids(&old)[slot][1], ids(&old)[slot][0]]
        );
    }
    assert_eq!(next.slots(), 3);
    let fresh: Vec<_> = next.addresses().collect();
    assert_eq!(fresh[..2], [chosen[1], chosen[0]]);
    assert!(fresh[2].port() != 0 && !chosen.contains(&fresh[2]));
    assert_eq!(
        ids(&next.without(&old)),
        [
            vec![ids(&next)[0][2]],
            vec![ids(&next)[1][2]],
            ids(&next)[2].clone()
        ]
    );
    assert!(
        TcpStream::connect(fresh[2]).is_err(),
        "nobody accepts there"
    );
    on_a_worker(async {
        let _queue = next.of_slot(0)[2].open_queue().unwrap();
        TcpStream::connect(fresh[2]).unwrap();
    });
    // Fewer slots are wanted: the sockets stay, for their queues.
    let fewer = again(&next, &chosen[..1], 1);
    assert_eq!(fewer.slots(), 3);
    assert_eq!(ids(&fewer.without(&next)), vec![Vec::<u64>::new(); 3]);
}

#[test]
fn an_address_that_takes_in_one_of_ours_is_no_conflict() {
    let old = bound(&loopback(), 1).unwrap();
    let mut all = old.addresses().next().unwrap();
    all.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    assert!(bound(&[all], 1).is_err(), "of others it is");
    let next = again(&old, &[all], 1);
    assert_eq!(next.addresses().collect::<Vec<_>>(), [all]);
}

#[test]
fn a_connection_that_queued_before_anyone_accepted_is_received() {
    let listeners = bound(&loopback(), 1).unwrap();
    let address = listeners.addresses().next().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let seen = Rc::new(RefCell::new(Vec::new()));
    on_a_worker(async {
        let shortage = Shortage::new();
        let queue = listeners.of_slot(0)[0].open_queue().unwrap();
        let accepting = queue.accept_each(&shortage, |accepted| {
            assert!(accepted.stream.nodelay().unwrap());
            assert_eq!(accepted.asked, loopback()[0]);
            seen.borrow_mut().push((accepted.peer, accepted.local));
        });
        let _ = tokio::time::timeout(Duration::from_millis(200), accepting).await;
    });
    assert_eq!(*seen.borrow(), [(client.local_addr().unwrap(), address)]);
}

#[test]
fn once_newcomers_are_refused_a_queued_connection_lives_and_a_new_one_is_not_answered() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listeners = bound(&[address.parse().unwrap()], 1).unwrap();
        let address = listeners.addresses().next().unwrap();
        let mut early = TcpStream::connect(address).unwrap();
        assert!(!listeners.of_slot(0)[0].refuses_newcomers());
        listeners.refuse_newcomers().unwrap();
        assert!(listeners.of_slot(0)[0].refuses_newcomers());
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{address}");
        let answered = on_a_worker(async {
            listeners.of_slot(0)[0].empty_queue(|accepted| {
                let mut stream = accepted.stream.into_std().unwrap();
                stream.write_all(b"hello").unwrap();
            })
        });
        assert_eq!(answered.unwrap(), 1, "{address}");
        let mut text = String::new();
        early.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello", "{address}");
    }
}

/// Connects, reads the greeting; `Err` is a reset of a connection that was established.
fn visit(address: SocketAddr) -> Option<Result<(), io::Error>> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok()?;
    let mut text = Vec::new();
    Some(
        stream
            .read_to_end(&mut text)
            .map(|_| ())
            .and_then(|()| match text.as_slice() {
                b"hello" => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }),
    )
}

#[test]
fn no_established_connection_is_reset_when_the_sockets_close_under_load() {
    let mut listeners = bound(&loopback(), 2).unwrap();
    let address = listeners.addresses().next().unwrap();
    let is_over = AtomicBool::new(false);
    let (visits, resets) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        outcomes.extend(visit(address));
                    }
                    outcomes
                })
            })
            .collect();
        let greet = |accepted: Accepted| {
            let _ = accepted.stream.into_std().unwrap().write_all(b"hello");
        };
        on_a_worker(async {
            let accept_all = || {
                (0..2).for_each(|slot| {
                    listeners.of_slot(slot)[0].empty_queue(greet).unwrap();
                });
            };
            let serve_for = |limit| {
                let until = Instant::now() + limit;
                while Instant::now() < until {
                    accept_all();
                }
            };
            serve_for(Duration::from_millis(200));
            listeners.refuse_newcomers().unwrap();
            serve_for(Duration::from_millis(20));
        });
        listeners.retain(|_| false);
        is_over.store(true, Ordering::Relaxed);
        let outcomes: Vec<_> = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect();
        let resets = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        (outcomes.len(), resets)
    });
    assert!(visits > 100, "{visits} visits are no load");
    assert_eq!(resets, 0, "of {visits} established connections");
}
