//! Against real sockets. The backend is blocking and in the same thread, so that the order of what
//! happens on both sides is that of the lines of a test.

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http::{Request, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::vhost::{BackendHost, Scheme};

mod endings;
mod limits;
mod shared;
mod tls;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";

/// A body of a request: nothing, or four bytes that never come.
#[derive(Debug)]
enum TestBody {
    Empty,
    Stuck,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match *self {
            Self::Empty => Poll::Ready(None),
            Self::Stuck => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(if self.is_end_stream() { 0 } else { 4 })
    }
}

/// The backend's side of a connection.
struct Served(TcpStream);

impl Served {
    /// Reads one request head and answers.
    fn answer(&mut self, answer: &[u8]) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("a request head comes");
            head.push(byte[0]);
        }
        self.0.write_all(answer).expect("the answer is taken");
    }

    fn assert_closed(mut self) {
        let mut rest = Vec::new();
        // A reset is a close, too; a timeout is none.
        if let Err(error) = self.0.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}

struct Server(TcpListener);

impl Server {
    fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn backend(&self) -> Rc<Backend> {
        backend(Scheme::Http, self.address())
    }

    /// Takes a connection that is already in the queue.
    fn accept(&self) -> Served {
        self.0.set_nonblocking(true).unwrap();
        let (stream, _) = self.0.accept().expect("a connection waits");
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Served(stream)
    }

    fn assert_nobody_waits(&self) {
        self.0.set_nonblocking(true).unwrap();
        assert!(self.0.accept().is_err(), "a connection that none wanted");
    }
}

fn backend(scheme: Scheme, address: SocketAddr) -> Rc<Backend> {
    Rc::new(Backend {
        scheme,
        host: BackendHost::Ip(address.ip()),
        port: address.port(),
        url: format!("http://{address}/").into(),
    })
}

fn named(name: &str, port: u16) -> Rc<Backend> {
    Rc::new(Backend {
        scheme: Scheme::Http,
        host: BackendHost::Name(name.into()),
        port,
        url: format!("http://{name}:{port}/").into(),
    })
}

/// What a test chooses.
struct Setup {
    max_sockets: usize,
    idle: Option<Duration>,
    limit: Duration,
    patience: Patience,
    tls: Tls,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            max_sockets: 8,
            idle: Some(IDLE_LIMIT),
            limit: Duration::from_secs(5),
            patience: Patience::default(),
            tls: Tls::default(),
        }
    }
}

impl Setup {
    fn start(self) -> Rc<Upstreams<TestBody>> {
        let limits = Limits {
            claims: self.max_sockets,
            idle: self.idle,
        };
        Rc::new(Upstreams {
            pool: Pool::new(limits),
            shared: Groups::new(limits, super::shared::is_open),
            patience: self.patience,
            connector: Connector::new(Resolver::new(look_up, AGES), self.tls),
            connect_limit: Some(self.limit),
            seat: Seat::detached(),
        })
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await })
        .expect("the test takes no longer than 20 s");
    runtime.shutdown_background();
}

fn request() -> Request<()> {
    let request = Request::post("/").header("host", "a");
    request.body(()).unwrap()
}

/// Sends a request, lets the backend answer, and takes the head of the response.
async fn head(
    upstream: &mut Alone<TestBody>,
    body: TestBody,
    mut serve: impl FnMut(),
) -> http::Response<()> {
    upstream.send(&request(), None, body);
    let mut is_served = false;
    poll_fn(|cx| {
        let polled = upstream.poll_response(cx, |_| ());
        if !std::mem::replace(&mut is_served, true) {
            serve();
        }
        polled
    })
    .await
    .expect("a response")
}

/// The rest of a response.
async fn body(upstream: &mut Alone<TestBody>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| upstream.poll_frame(cx)).await {
        bytes.extend(frame.expect("a frame").into_data().expect("data"));
    }
    bytes
}

/// A whole exchange; the body is returned.
async fn exchange(upstream: &mut Alone<TestBody>, served: &mut Served, answer: &[u8]) -> Vec<u8> {
    let response = head(upstream, TestBody::Empty, || served.answer(answer)).await;
    assert_eq!(response.status(), StatusCode::OK);
    body(upstream).await
}

/// Lets the runtime hear of what the kernel knows.
async fn turn() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

#[test]
fn a_released_connection_is_used_again() {
    run(async {
        for answer in [OK, CHUNKED] {
            let (server, upstreams) = (Server::bind(), Setup::default().start());
            let (backend, notes) = (server.backend(), ConnectNotes::default());
            let mut first = upstreams
                .acquire_alone(&backend, Want::Any, &notes, Instant::now())
                .await
                .unwrap();
            assert!(!notes.is_reused.get());
            assert!(notes.connected.get().is_some() && notes.resolved.get().is_none());
            assert_eq!(notes.peer.get(), Some(server.address()));
            let mut served = server.accept();
            assert_eq!(exchange(&mut first, &mut served, answer).await, b"hi");
            assert_eq!(first.traffic().received, answer.len() as u64);
            assert!(first.traffic().sent > 0);
            first.release(Instant::now());

            // Another spelling of the same place.
            let backend = Rc::new(Backend {
                url: "http://127.0.0.1:/".into(),
                ..Backend::clone(&backend)
            });
            for want in [Want::Alive, Want::Any] {
                let notes = ConnectNotes::default();
                let mut again = upstreams
                    .acquire_alone(&backend, want, &notes, Instant::now())
                    .await
                    .unwrap();
                assert!(notes.is_reused.get() && notes.connected.get().is_none());
                assert_eq!(notes.peer.get(), Some(server.address()));
                assert_eq!(exchange(&mut again, &mut served, answer).await, b"hi");
                assert_eq!(again.traffic().received, answer.len() as u64);
                again.release(Instant::now());
            }
            server.assert_nobody_waits();
            assert_eq!(upstreams.seat.count(Counter::UpstreamConnects), 1);
            assert_eq!(upstreams.seat.count(Counter::UpstreamReuses), 2);
        }
    });
}

#[test]
fn a_connection_that_its_backend_wants_closed_is_not_kept() {
    run(async {
        let (server, upstreams) = (Server::bind(), Setup::default().start());
        let (backend, notes) = (server.backend(), ConnectNotes::default());
        let mut first = upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap();
        let mut served = server.accept();
        assert_eq!(exchange(&mut first, &mut served, CLOSE).await, b"hi");
        assert!(!first.is_reusable());
        first.release(Instant::now());
        served.assert_closed();
        upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap();
        assert!(!notes.is_reused.get());
        server.accept();
    });
}

#[test]
fn nothing_is_kept_without_keep_alive() {
    run(async {
        let upstreams = Setup {
            idle: None,
            ..Setup::default()
        }
        .start();
        let (server, notes) = (Server::bind(), ConnectNotes::default());
        let backend = server.backend();
        let mut first = upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap();
        let mut served = server.accept();
        exchange(&mut first, &mut served, OK).await;
        first.release(Instant::now());
        served.assert_closed();
    });
}

/// Leaves one idle connection behind.
async fn one_idle(upstreams: &Rc<Upstreams<TestBody>>, server: &Server) -> Served {
    let (backend, notes) = (server.backend(), ConnectNotes::default());
    let fresh = upstreams.acquire_alone(&backend, Want::Fresh, &notes, Instant::now());
    let mut upstream = fresh.await.unwrap();
    let mut served = server.accept();
    exchange(&mut upstream, &mut served, OK).await;
    upstream.release(Instant::now());
    served
}

#[test]
fn a_close_or_unasked_bytes_while_idle_are_noticed_at_checkout() {
    run(async {
        for unasked in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
            let (server, upstreams) = (Server::bind(), Setup::default().start());
            let older = one_idle(&upstreams, &server).await;
            let notes = ConnectNotes::default();
            let mut middle = upstreams
                .acquire_alone(&server.backend(), Want::Any, &notes, Instant::now())
                .await
                .unwrap();
            let mut younger = one_idle(&upstreams, &server).await;
            let mut older = older;
            exchange(&mut middle, &mut older, OK).await;
            younger.0.write_all(unasked).unwrap();
            drop(younger);
            middle.release(Instant::now());
            turn().await;
            let notes = ConnectNotes::default();
            let mut next = upstreams
                .acquire_alone(&server.backend(), Want::Any, &notes, Instant::now())
                .await
                .unwrap();
            assert!(notes.is_reused.get());
            exchange(&mut next, &mut older, OK).await;
            let notes = ConnectNotes::default();
            upstreams
                .acquire_alone(&server.backend(), Want::Any, &notes, Instant::now())
                .await
                .unwrap();
            assert!(!notes.is_reused.get(), "the other one is closed");
        }
    });
}

#[test]
fn alive_knows_of_a_close_before_the_runtime_does() {
    run(async {
        for (want, is_reused) in [(Want::Any, true), (Want::Alive, false)] {
            let (server, upstreams) = (Server::bind(), Setup::default().start());
            let served = one_idle(&upstreams, &server).await;
            drop(served);
            // No turn of the runtime is in between.
            let notes = ConnectNotes::default();
            let acquired = upstreams
                .acquire_alone(&server.backend(), want, &notes, Instant::now())
                .await;
            assert!(acquired.is_ok());
            assert_eq!(notes.is_reused.get(), is_reused, "{want:?}");
        }
    });
}

#[test]
fn a_close_is_noticed_by_a_task_that_has_used_up_its_budget() {
    run(async {
        let (server, upstreams) = (Server::bind(), Setup::default().start());
        drop(one_idle(&upstreams, &server).await);
        turn().await;
        let (backend, notes) = (server.backend(), ConnectNotes::default());
        let mut acquired =
            pin!(upstreams.acquire_alone(&backend, Want::Any, &notes, Instant::now()));
        let mut is_first = true;
        let acquired = poll_fn(|cx| {
            while is_first && tokio::task::coop::has_budget_remaining() {
                let _ = pin!(tokio::task::coop::consume_budget()).poll(cx);
            }
            is_first = false;
            acquired.as_mut().poll(cx)
        });
        assert!(acquired.await.is_ok());
        assert!(!notes.is_reused.get());
    });
}

#[test]
fn fresh_opens_a_new_connection_and_gives_up_an_idle_one_when_full() {
    run(async {
        for (max_sockets, idle_after) in [(2, true), (1, false)] {
            let (server, upstreams) = (
                Server::bind(),
                Setup {
                    max_sockets,
                    ..Setup::default()
                }
                .start(),
            );
            let idle = one_idle(&upstreams, &server).await;
            let notes = ConnectNotes::default();
            let fresh = upstreams
                .acquire_alone(&server.backend(), Want::Fresh, &notes, Instant::now())
                .await
                .unwrap();
            assert!(!notes.is_reused.get());
            server.accept();
            drop(fresh);
            if idle_after {
                let notes = ConnectNotes::default();
                let backend = server.backend();
                let kept = upstreams.acquire_alone(&backend, Want::Any, &notes, Instant::now());
                kept.await.unwrap();
                assert!(notes.is_reused.get());
            } else {
                idle.assert_closed();
            }
        }
    });
}

#[test]
fn the_sweeper_closes_what_is_idle_for_too_long_or_closed() {
    run(async {
        let upstreams = Setup {
            idle: Some(Duration::from_millis(30)),
            ..Setup::default()
        }
        .start();
        let server = Server::bind();
        let idle = one_idle(&upstreams, &server).await;
        upstreams.start_sweeper(Duration::from_millis(10));
        tokio::time::sleep(Duration::from_millis(80)).await;
        idle.assert_closed();
        // Nothing else keeps them alive, the sweeper included.
        let weak = Rc::downgrade(&upstreams);
        drop(upstreams);
        assert!(weak.upgrade().is_none());

        let upstreams = Setup::default().start();
        drop(one_idle(&upstreams, &server).await);
        turn().await;
        upstreams.sweep(std::time::Instant::now());
        let origin = Origin(server.backend());
        assert!(
            upstreams
                .pool
                .take(&origin, std::time::Instant::now())
                .is_none()
        );
    });
}
