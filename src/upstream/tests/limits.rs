//! What is waited for, for how long, and what comes of it.

use std::net::Ipv4Addr;

use super::*;

#[test]
fn beyond_max_sockets_requests_wait_in_order_for_what_is_released() {
    run(async {
        let upstreams = Setup {
            max_sockets: 1,
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

        let (order, gone) = (
            Rc::new(std::cell::RefCell::new(Vec::new())),
            ConnectNotes::default(),
        );
        let mut dropped =
            Box::pin(upstreams.acquire_alone(&backend, Want::Any, &gone, Instant::now()));
        assert!(poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_pending())).await);
        let mut waiting = Vec::new();
        for (number, want) in [(2, Want::Any), (3, Want::Fresh), (4, Want::Alive)] {
            let (upstreams, backend) = (Rc::clone(&upstreams), Rc::clone(&backend));
            let order = Rc::clone(&order);
            waiting.push(tokio::task::spawn_local(async move {
                let notes = ConnectNotes::default();
                let got = upstreams
                    .acquire_alone(&backend, want, &notes, Instant::now())
                    .await
                    .unwrap();
                assert!(notes.waited.get() > Duration::ZERO);
                order.borrow_mut().push((number, notes.is_reused.get()));
                got.release(Instant::now());
            }));
            turn().await;
        }
        drop(dropped);
        assert!(gone.waited.get() > Duration::ZERO, "noted though given up");
        assert!(order.borrow().is_empty());
        first.release(Instant::now());
        for waiting in waiting {
            waiting.await.unwrap();
        }
        assert_eq!(*order.borrow(), [(2, true), (3, false), (4, true)]);
        assert_eq!(upstreams.seat.count(Counter::UpstreamWaits), 4);
    });
}

#[test]
fn the_wait_for_a_free_connection_has_the_connect_limit() {
    run(async {
        let limit = Duration::from_millis(50);
        let upstreams = Setup {
            max_sockets: 1,
            limit,
            ..Setup::default()
        }
        .start();
        let (server, notes) = (Server::bind(), ConnectNotes::default());
        let _busy = upstreams
            .acquire_alone(&server.backend(), Want::Any, &notes, Instant::now())
            .await
            .unwrap();
        let error = upstreams
            .acquire_alone(&server.backend(), Want::Any, &notes, Instant::now())
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::LimitReached), "{error}");
        assert!(notes.waited.get() >= limit);
    });
}

#[test]
fn a_backend_that_does_not_listen_refuses() {
    run(async {
        let (server, upstreams) = (Server::bind(), Setup::default().start());
        let (backend, notes) = (server.backend(), ConnectNotes::default());
        drop(server);
        let error = upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::Refused(_)), "{error}");
        assert!(notes.connected.get().is_some());
        assert_eq!(upstreams.seat.count(Counter::UpstreamConnects), 0);
    });
}

/// Fills the queue of a listener until the kernel answers nobody any more.
async fn black_hole(address: SocketAddr) -> Vec<tokio::net::TcpStream> {
    let mut queued = Vec::new();
    let patience = Duration::from_millis(200);
    while let Ok(stream) =
        tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await
    {
        queued.push(stream.expect("queued"));
    }
    queued
}

#[test]
fn a_backend_that_never_answers_ends_with_the_connect_limit() {
    run(async {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let server = Server(socket.into());
        let _queued = black_hole(server.address()).await;

        let limit = Duration::from_millis(100);
        let upstreams = Setup {
            limit,
            ..Setup::default()
        }
        .start();
        let notes = ConnectNotes::default();
        let error = upstreams
            .acquire_alone(&server.backend(), Want::Any, &notes, Instant::now())
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::TimedOut), "{error}");
        let took = notes.connected.get().unwrap();
        assert!(took >= limit && took < limit * 10, "{took:?}");

        // Given up by the caller before that.
        let notes = ConnectNotes::default();
        let backend = server.backend();
        let hasty = upstreams.acquire_alone(&backend, Want::Any, &notes, Instant::now());
        assert!(tokio::time::timeout(limit / 5, hasty).await.is_err());
        assert!(notes.connected.get().unwrap() >= limit / 5);
        assert_eq!(notes.peer.get(), Some(server.address()));
    });
}

#[test]
fn names_are_resolved_by_the_system_and_the_next_address_is_tried() {
    run(async {
        // On IPv4 only: where `localhost` has an IPv6 address too, that is tried first.
        let (server, upstreams) = (Server::bind(), Setup::default().start());
        let backend = named("localhost", server.address().port());
        let notes = ConnectNotes::default();
        upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap();
        assert!(notes.resolved.get().is_some());
        assert_eq!(notes.peer.get(), Some(server.address()));
        let notes = ConnectNotes::default();
        upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap();
        assert!(notes.resolved.get().is_none(), "known from before");
    });
}

#[test]
fn an_unknown_name_fails() {
    run(async {
        let upstreams = Setup::default().start();
        // No name can have such a label, so that no server is asked.
        let backend = named(&"x".repeat(70), 80);
        let notes = ConnectNotes::default();
        let error = upstreams
            .acquire_alone(&backend, Want::Any, &notes, Instant::now())
            .await
            .unwrap_err();
        assert!(matches!(error, ConnectError::ResolveFailed(_)), "{error}");
        assert!(notes.resolved.get().is_some() && notes.connected.get().is_none());
    });
}
