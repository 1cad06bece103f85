//! Listening sockets that a service manager lends: who takes them, and that they outlive the proxy.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::harness::{Backend, Client, Hipache, Load, Redis, SOON, eventually, run_to_end, text};

/// A socket as `ListenStream=` opens it, with or without `ReusePort=yes`.
fn open(address: &str, reuse_port: bool) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(reuse_port).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}

fn keys(workers: usize, socket: &TcpListener) -> Value {
    let port = socket.local_addr().unwrap().port();
    json!({ "server": { "workers": workers, "debug": true }, "http": { "port": port } })
}

fn scene() -> (Redis, Backend) {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    (redis, backend)
}

/// How many sockets of this machine listen on this port.
fn listening(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            Some((*fields.get(1)?, *fields.get(3)?))
        })
        .filter(|(address, state)| address.ends_with(&local) && *state == "0A")
        .count()
}

#[test]
fn without_reuse_port_all_workers_share_the_one_socket() {
    let (redis, _backend) = scene();
    let socket = open("127.0.0.1:0", false);
    let address = socket.local_addr().unwrap();
    let mut hipache = Hipache::builder()
        .redis(&redis)
        .set(&keys(3, &socket))
        .lend(&[("web", &socket)])
        .start();
    assert_eq!(hipache.addresses(), [address]);
    assert_eq!(listening(address.port()), 1);
    assert_eq!(hipache.count_stderr("shares the socket of slot 0"), 2);
    for number in 0..20 {
        let target = format!("/{number}");
        assert_eq!(hipache.exchange("a.test", &target).0.text(), "here");
    }
}

#[test]
fn with_reuse_port_the_other_workers_sockets_join() {
    let (redis, _backend) = scene();
    let socket = open("127.0.0.1:0", true);
    let address = socket.local_addr().unwrap();
    let hipache = Hipache::builder()
        .redis(&redis)
        .set(&keys(3, &socket))
        .lend(&[("web", &socket)])
        .start();
    assert_eq!(listening(address.port()), 3);
    assert_eq!(hipache.count_stderr("shares the socket"), 0);
    let load = Load::connecting(address, "a.test", 4);
    load.wait_for(200);
    let outcomes = load.stop();
    assert!(outcomes.iter().all(|it| it.result == Ok(200)));
}

#[test]
fn a_restart_refuses_and_resets_nobody() {
    let (redis, _backend) = scene();
    for reuse_port in [false, true] {
        let socket = open("127.0.0.1:0", reuse_port);
        let start = || {
            Hipache::builder()
                .redis(&redis)
                .set(&keys(2, &socket))
                .lend(&[("web", &socket)])
                .start()
        };
        let mut hipache = start();
        let load = Load::connecting(hipache.address(), "a.test", 4);
        for _ in 0..3 {
            load.wait_for(50);
            hipache.stop();
            // Nobody is there, and the queue takes it all the same.
            let mut client = Client::connect(socket.local_addr().unwrap());
            client.get("a.test", "/early");
            hipache = start();
            assert_eq!(client.response().status, 200);
        }
        load.wait_for(50);
        let outcomes = load.stop();
        let mut failed = outcomes.iter().filter(|it| it.result != Ok(200));
        let first = failed.next();
        assert!(first.is_none(), "reuse port {reuse_port}: {first:?}");
    }
}

#[test]
fn each_socket_goes_to_the_address_that_is_its_own() {
    let (redis, _backend) = scene();
    let (web, admin) = (open("127.0.0.1:0", false), open("127.0.0.1:0", false));
    let port = admin.local_addr().unwrap().port();
    let hipache = Hipache::builder()
        .redis(&redis)
        .set(&keys(1, &web))
        .set(&json!({ "admin": { "bind": [{ "address": "127.0.0.1", "port": port }] } }))
        // In another order than in the configuration.
        .lend(&[("admin", &admin), ("web", &web)])
        .start();
    assert_eq!(hipache.address(), web.local_addr().unwrap());
    assert_eq!(hipache.admin(), admin.local_addr().unwrap());
    assert_eq!(hipache.ask("/healthz").status, 200);
    assert_eq!(hipache.get("a.test", "/x").text(), "here");
    assert_eq!(listening(port), 1);
}

#[test]
fn a_socket_that_nobody_would_accept_from_is_an_error() {
    let (redis, _backend) = scene();
    let (web, stray) = (open("127.0.0.1:0", false), open("127.0.0.1:0", false));
    let mut hipache = Hipache::builder()
        .redis(&redis)
        .set(&keys(1, &web))
        .lend(&[("web", &web), ("stray", &stray)])
        .launch();
    assert_eq!(hipache.wait(SOON).code(), Some(1));
    let address = stray.local_addr().unwrap();
    let told = format!("stray is on {address}: expected an address of http.bind");
    eventually("the error", SOON, || {
        (hipache.count_stderr(&told) == 1).then_some(())
    });
}

#[test]
fn what_is_no_listening_socket_is_an_error() {
    let directory = crate::harness::Directory::fresh();
    let config = json!({ "http": { "port": 0 }, "user": crate::harness::current_user(),
        "server": { "accessLog": "off" } });
    directory.write("config.json", config.to_string());
    let inner = format!(
        "LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID=$$ exec {} -c config.json 3</dev/null",
        crate::harness::binary()
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &inner])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("web (descriptor 3): "), "{told}");
    assert!(told.contains("expected a listening TCP socket"), "{told}");
    // Variables meant for another process are left alone.
    let env = [("LISTEN_FDS", "1"), ("LISTEN_PID", "1")];
    let output = run_to_end(directory.path(), &["-c", "config.json", "--dry"], &env);
    assert!(output.status.success());
}
