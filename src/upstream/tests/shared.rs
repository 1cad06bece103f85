//! Shared connections, with a backend in a task beside the test.

use tokio::net::{TcpListener as Listener, TcpStream as Tcp};
use tokio::task::spawn_local;

use super::*;

/// Serves HTTP/2 on the first connection: 200 for all.
async fn serve(listener: Listener) {
    let (tcp, _) = listener.accept().await.unwrap();
    let mut connection = h2::server::handshake(tcp).await.unwrap();
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let _ = respond.send_response(http::Response::new(()), true);
    }
}

async fn listen() -> (Listener, Rc<Backend>) {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let backend = backend(Scheme::H2c, listener.local_addr().unwrap());
    (listener, backend)
}

/// A stream on which a request was sent, and its answer or error.
async fn ask(
    upstreams: &Rc<Upstreams<TestBody>>,
    backend: &Rc<Backend>,
    notes: &ConnectNotes,
) -> Result<StatusCode, h2::Error> {
    let mut stream = upstreams.acquire_shared(backend, notes).await.unwrap();
    stream.open(request(), TestBody::Empty).unwrap();
    let response = poll_fn(|cx| stream.poll_response(cx, |_| ())).await?;
    Ok(response.status())
}

#[test]
fn a_second_request_uses_the_connection_of_the_first() {
    run(async {
        let (listener, backend) = listen().await;
        spawn_local(serve(listener));
        let upstreams = Setup::default().start();
        for is_reused in [false, true] {
            let notes = ConnectNotes::default();
            let status = ask(&upstreams, &backend, &notes).await.unwrap();
            assert_eq!(status, StatusCode::OK);
            assert_eq!(notes.is_reused.get(), is_reused);
            assert_eq!(notes.connected.get().is_some(), !is_reused);
            assert!(notes.peer.get().is_some());
        }
    });
}

#[test]
fn one_that_speaks_another_protocol_is_told_so() {
    run(async {
        let (listener, backend) = listen().await;
        spawn_local(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let bytes = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            tcp.writable().await.unwrap();
            tcp.try_write(bytes).unwrap();
            turn().await;
        });
        let upstreams = Setup::default().start();
        let notes = ConnectNotes::default();
        let refused = upstreams.acquire_shared(&backend, &notes).await;
        assert!(matches!(refused, Err(ConnectError::NotHttp2(Some(_)))));
    });
}

#[test]
fn those_who_wait_for_a_connection_are_told_that_it_took_too_long() {
    run(async {
        // Accepted by the kernel, and silent.
        let (_listener, backend) = listen().await;
        let setup = Setup {
            limit: Duration::from_millis(100),
            ..Setup::default()
        };
        let upstreams = setup.start();
        let notes = [ConnectNotes::default(), ConnectNotes::default()];
        let (first, second) = tokio::join!(
            upstreams.acquire_shared(&backend, &notes[0]),
            upstreams.acquire_shared(&backend, &notes[1]),
        );
        assert!(matches!(first, Err(ConnectError::TimedOut)));
        assert!(matches!(second, Err(ConnectError::TimedOut)));
    });
}

/// A backend that answers pings, or does not; it serves nothing.
async fn keep_silent(tcp: Tcp, answers: bool) {
    if !answers {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        tcp.writable().await.unwrap();
        tcp.try_write(&settings).unwrap();
        std::future::pending::<()>().await;
    }
    let mut held = Vec::new();
    let mut connection = h2::server::handshake(tcp).await.unwrap();
    while let Some(Ok(call)) = connection.accept().await {
        held.push(call);
    }
}

#[test]
fn a_backend_that_answers_no_ping_is_given_up() {
    for answers in [true, false] {
        run(async move {
            let (listener, backend) = listen().await;
            spawn_local(async move {
                let (tcp, _) = listener.accept().await.unwrap();
                keep_silent(tcp, answers).await;
            });
            let setup = Setup {
                patience: Patience {
                    silence: Duration::from_millis(50),
                    answer: Duration::from_millis(50),
                },
                ..Setup::default()
            };
            let upstreams = setup.start();
            let notes = ConnectNotes::default();
            let asked = ask(&upstreams, &backend, &notes);
            let limit = Duration::from_millis(if answers { 500 } else { 10_000 });
            let ended = tokio::time::timeout(limit, asked).await;
            assert_eq!(ended.is_err(), answers, "{ended:?}");
        });
    }
}
