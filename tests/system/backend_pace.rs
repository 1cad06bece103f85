//! Bodies as fast as both ends let them: every byte through full buffers, and no work for who waits.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use socket2::SockRef;

use crate::backend_requests::{LARGE, post, upload};
use crate::backend_responses::Scene;
use crate::harness::{Authority, Backend, Directory, Flow, SOON, eventually, text};

/// Sends back the body of a request as it comes, framing included, through buffers that are always full.
fn echo(mut stream: impl Read + Write) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let head = text(&head);
    let framing = head
        .lines()
        .find(|line| line.starts_with("transfer-encoding") || line.starts_with("content-length"));
    let framing = framing.unwrap();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}\r\n\r\n"
    )
    .unwrap();
    let mut left: usize = framing
        .split(' ')
        .next_back()
        .unwrap()
        .parse()
        .unwrap_or(usize::MAX);
    let (mut piece, mut end) = (vec![0; 10_000], Vec::new());
    while left > 0 && !end.ends_with(b"\r\n0\r\n\r\n") {
        let Ok(count @ 1..) = stream.read(&mut piece) else {
            return;
        };
        if stream.write_all(&piece[..count]).is_err() {
            return;
        }
        left -= count;
        end.extend_from_slice(&piece[count.saturating_sub(7)..count]);
        end.drain(..end.len().saturating_sub(7));
    }
    stream.flush().ok();
    let _ = stream.read(&mut piece);
}

fn narrow(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.set_send_buffer_size(64 << 10).unwrap();
}

/// Sends a body in pieces of one size from a thread of its own.
fn send_in_pieces(
    mut tcp: TcpStream,
    target: String,
    body: Vec<u8>,
    (is_chunked, size): (bool, usize),
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let framing = match is_chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", body.len()),
        };
        let head = format!("POST {target} HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n");
        tcp.write_all(head.as_bytes()).unwrap();
        for piece in body.chunks(size) {
            let line = format!("{:x}\r\n", piece.len());
            let piece = match is_chunked {
                true => [line.as_bytes(), piece, b"\r\n"].concat(),
                false => piece.to_vec(),
            };
            tcp.write_all(&piece).unwrap();
        }
        if is_chunked {
            tcp.write_all(b"0\r\n\r\n").unwrap();
        }
    })
}

/// Has bodies of all sizes sent to and back.
fn check_echo(scene: &Scene) {
    for size in [
        1, 4095, 4096, 4097, 12_000, 16_370, 16_384, 16_390, 65_535, 200_001,
    ] {
        for is_chunked in [true, false] {
            let total = (size * 1000).min(1_500_000);
            let body: Vec<u8> = (0..total).map(|at| b'a' + (at % 23) as u8).collect();
            let target = format!("/{is_chunked}/{size}");
            let mut client = scene.hipache.client();
            let tcp = client.tcp();
            narrow(&tcp);
            let sender = send_in_pieces(tcp, target.clone(), body.clone(), (is_chunked, size));
            let got = client.response();
            assert!(got.body == body, "{target}: bytes differ");
            assert_eq!(scene.told(&target).0, "200 ok");
            sender.join().unwrap();
        }
    }
}

#[test]
fn bodies_pass_both_ways_at_once_through_full_buffers_in_pieces_of_any_size() {
    let backend = Backend::sockets(|tcp| {
        narrow(&tcp);
        echo(tcp);
    });
    check_echo(&Scene::start(&backend.url(), &json!({})));
}

#[test]
fn bodies_pass_both_ways_at_once_through_the_full_buffers_of_tls() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let backend = Backend::sockets(move |tcp| {
        narrow(&tcp);
        if let Some(session) = identity.shake_hands(tcp) {
            echo(session);
        }
    });
    let directory = Directory::fresh();
    let ca = directory.write("ca.pem", authority.pem());
    let keys = json!({ "server": { "backendCa": ca } });
    check_echo(&Scene::start(
        &backend.url().replace("http", "https"),
        &keys,
    ));
}

/// Ticks of the processor's time that a process has used: `utime` and `stime` of proc_pid_stat(5).
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<u64> = rest
        .split(' ')
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    fields[11] + fields[12]
}

#[test]
fn who_waits_for_either_side_is_not_busy() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
    let backend = Backend::scripted(|conn, request| {
        match request.target.as_str() {
            // Neither reads nor answers.
            "/deaf" => std::thread::sleep(Duration::from_secs(3)),
            "/half" => {
                conn.send("HTTP/1.1 200 OK\r\n\r\n");
                std::thread::sleep(Duration::from_secs(3));
            }
            "/full" => {
                conn.send(HEAD);
                while conn.send([0; 100_000]) {}
            }
            "/head" => {
                conn.send("HTTP/1.1 100 Go\r\n\r\n");
                conn.send("HTTP/1.1 200 OK\r\nContent-L");
                conn.wait_for_end(SOON);
            }
            _ => {
                conn.send(HEAD);
                conn.wait_for_end(SOON);
            }
        }
        Flow::Close
    });
    let scene = Scene::start(&backend.url(), &json!({}));
    let worker = scene.hipache.workers()[0];
    for target in ["/deaf", "/half", "/full", "/head", "/starved"] {
        let client = scene.hipache.client();
        let bytes = if target == "/starved" { 1 << 20 } else { LARGE };
        let sender = upload(&client, &post(target, LARGE), bytes);
        eventually("the request", SOON, || {
            backend
                .requests()
                .iter()
                .any(|request| request.target == target)
                .then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        let before = ticks(worker);
        std::thread::sleep(Duration::from_millis(1000));
        let used = ticks(worker) - before;
        assert!(used < 20, "{target}: {used} ticks in a second");
        client.tcp().shutdown(Shutdown::Both).ok();
        sender.join().unwrap();
    }
}
