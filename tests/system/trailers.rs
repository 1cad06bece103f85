//! Trailers that must not be any: left out, and what they came with arrives all the same.

use http::Request;
use serde_json::json;

use crate::backend_responses::Scene;
use crate::harness::{
    Backend, Flow, SOON, Setup, StreamBackend, block_on, eventually, read_all, speak,
};

const NAMES: [&str; 7] = [
    "connection",
    "transfer-encoding",
    "content-length",
    "te",
    "upgrade",
    "keep-alive",
    "host",
];

#[test]
fn trailers_of_a_backend_that_concern_its_connection_break_no_stream() {
    let backend = Backend::scripted(|conn, request| {
        let name = &request.target[1..];
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n");
        conn.send(format!("{name}: x\r\nX-Sum: 1\r\n\r\n"));
        Flow::Keep
    });
    let scene = Scene::start(&backend.url(), &json!({ "http": { "h2c": true } }));
    for name in NAMES {
        let target = format!("/{name}");
        let request = Request::get(format!("http://a.test{target}"));
        let (body, trailers) = block_on(async {
            let mut requests = speak(scene.hipache.address()).await;
            let request = request.body(()).unwrap();
            let (response, _) = requests.send_request(request, true).unwrap();
            read_all(response.await.unwrap().body_mut()).await.unwrap()
        });
        assert_eq!(body, b"hello", "{name}");
        assert!(trailers.unwrap().keys().eq(["x-sum"]), "{name}");
        assert_eq!(scene.told(&target).0, "200 ok", "{name}");
    }
}

#[test]
fn trailers_of_a_client_that_concern_its_connection_break_no_stream() {
    let backend = StreamBackend::start(Setup::default(), |mut call| async move {
        let (body, trailers) = read_all(call.request.body_mut()).await.unwrap();
        let names: Vec<_> = trailers
            .iter()
            .flat_map(|trailers| trailers.keys())
            .collect();
        call.answer(format!("{} {names:?}", body.len()));
    });
    let scene = Scene::start(&backend.url(), &json!({}));
    for name in NAMES {
        let target = format!("/{name}");
        let mut client = scene.hipache.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n{name}: x\r\nX-Sum: 1\r\n\r\n"
        ));
        let got = scene.answer(&mut client, "POST", &target);
        assert_eq!(got, r#"200 "5 [\"x-sum\"]" ok"#, "{name}");
    }
    eventually("all requests", SOON, || {
        (backend.heads().len() == NAMES.len()).then_some(())
    });
}
