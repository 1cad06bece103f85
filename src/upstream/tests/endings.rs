//! Connections that end otherwise than by going back to the pool.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http1::Http1Error;
use super::*;

/// A fresh connection, with the pool that it belongs to.
async fn connected(server: &Server) -> (Rc<Upstreams<TestBody>>, Alone<TestBody>) {
    let (upstreams, notes) = (Setup::default().start(), ConnectNotes::default());
    let backend = server.backend();
    let fresh = upstreams.acquire_alone(&backend, Want::Any, &notes, Instant::now());
    let fresh = fresh.await.unwrap();
    (upstreams, fresh)
}

#[test]
fn on_a_closed_connection_nothing_is_sent() {
    run(async {
        let server = Server::bind();
        let (_upstreams, mut upstream) = connected(&server).await;
        drop(server.accept());
        turn().await;
        upstream.send(&request(), None, TestBody::Empty);
        let error = poll_fn(|cx| upstream.poll_response(cx, |_| ())).await;
        assert!(matches!(error, Err(Http1Error::Closed)), "{error:?}");
        assert_eq!(upstream.traffic().sent, 0);
        assert!(!upstream.is_reusable());
    });
}

#[test]
fn an_early_response_leaves_no_reusable_connection() {
    run(async {
        let server = Server::bind();
        let (_upstreams, mut upstream) = connected(&server).await;
        let mut served = server.accept();
        let early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
        let response = head(&mut upstream, TestBody::Stuck, || served.answer(early)).await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert!(!upstream.is_reusable());
        upstream.release(Instant::now());
        served.assert_closed();
    });
}

#[test]
fn a_half_read_response_leaves_no_reusable_connection() {
    run(async {
        let server = Server::bind();
        let (_upstreams, mut upstream) = connected(&server).await;
        let mut served = server.accept();
        let half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhi";
        head(&mut upstream, TestBody::Empty, || served.answer(half)).await;
        upstream.release(Instant::now());
        served.assert_closed();
    });
}

#[test]
fn after_a_101_the_bare_connection_is_handed_over_and_keeps_its_place() {
    run(async {
        let upstreams = Setup {
            max_sockets: 1,
            limit: Duration::from_millis(50),
            ..Setup::default()
        }
        .start();
        let (server, notes) = (Server::bind(), ConnectNotes::default());
        let backend = server.backend();
        let mut upstream = upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap();
        let mut served = server.accept();
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nearly";
        let response = head(&mut upstream, TestBody::Empty, || served.answer(switch)).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let (mut stream, early, place) = upstream.into_tunnel().expect("it has switched");
        assert_eq!(&*early, b"early");

        stream.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        served.0.read_exact(&mut bytes).unwrap();
        served.0.write_all(&bytes).unwrap();
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");

        let full = upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await;
        assert!(matches!(full, Err(ConnectError::LimitReached)));
        drop((stream, place));
        upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap();
    });
}

#[test]
fn a_connection_still_in_http_is_no_tunnel() {
    run(async {
        let server = Server::bind();
        let (_upstreams, upstream) = connected(&server).await;
        assert!(upstream.into_tunnel().is_none());
    });
}

#[test]
fn a_request_that_is_not_out_yet_leaves_no_tunnel() {
    run(async {
        let server = Server::bind();
        let (_upstreams, mut upstream) = connected(&server).await;
        let mut served = server.accept();
        let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let response = head(&mut upstream, TestBody::Stuck, || served.answer(switch)).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert!(upstream.into_tunnel().is_none());
    });
}
