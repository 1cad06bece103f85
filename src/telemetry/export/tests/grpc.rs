//! Over gRPC, to hyper's HTTP/2 server: one request, its framing and its headers.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::*;

/// An answer: an empty message, and trailers that say how it went.
pub(super) struct Answer(Vec<Frame<Bytes>>);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(self.0.pop().map(Ok))
    }
}

/// What the server got: head, path and message.
pub(super) type Got = (HeaderMap, String, Vec<u8>);

/// Reads a request and answers with this status.
pub(super) async fn answer(
    request: Request<Incoming>,
    status: &str,
    tell: &Sender<Got>,
) -> Response<Answer> {
    let (head, mut body) = request.into_parts();
    let mut message = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        message.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    let got = (head.headers, head.uri.path().to_owned(), message);
    tell.send(got).unwrap();
    let trailers = [("grpc-status".parse().unwrap(), status.parse().unwrap())];
    let trailers: HeaderMap = trailers.into_iter().collect();
    let empty = Frame::data(Bytes::from_static(&[0; 5]));
    Response::new(Answer(vec![Frame::trailers(trailers), empty]))
}

/// Serves one connection.
async fn serve_one(listener: std::net::TcpListener, status: &'static str, tell: Sender<Got>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let service = service_fn(move |request| {
        let tell = tell.clone();
        async move { Ok::<_, Infallible>(answer(request, status, &tell).await) }
    });
    let server = http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(tcp), service).await;
}

/// A server on a thread of its own, which answers with this status.
fn serve(status: &'static str) -> (SocketAddr, Receiver<Got>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::LocalRuntime::new().unwrap();
        runtime.block_on(serve_one(listener, status, tell));
    });
    (address, told)
}

#[test]
fn metrics_have_a_service_of_their_own() {
    let (address, told) = serve("0");
    let mut exporter = traces(1, 1).exporter;
    exporter.signal = Signal::Metrics;
    exporter.url = Url::parse(&format!("http://{address}")).unwrap();
    exporter.is_grpc = true;
    let (_ending, is_ending) = watch::channel(false);
    let mut delivery = Delivery::new(&exporter, Duration::from_secs(10), is_ending);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let sent = runtime.unwrap().block_on(delivery.deliver(vec![1, 2, 3]));
    assert_eq!(sent, Ok((0, String::new())));
    let (headers, path, _) = told.recv_timeout(Duration::from_secs(10)).unwrap();
    let expected = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert_eq!(path, expected);
    assert_eq!(headers["grpc-encoding"], "gzip");
}

#[test]
fn a_collector_takes_or_refuses_spans_over_grpc() {
    for (status, taken, failed) in [("0", 1, 0), ("3", 0, 1)] {
        let seat = Seat::detached();
        let (address, told) = serve(status);
        let mut traces = traces(100, 100);
        traces.exporter.url = Url::parse(&format!("http://{address}")).unwrap();
        traces.exporter.is_grpc = true;
        traces.exporter.is_gzip = false;
        let export = Rc::new(Export::start(&traces, Envelope::new(&[], b"i", 7), seat).unwrap());
        export.append(|bytes| {
            // An entry of `ScopeSpans.spans` with the name `x`.
            bytes.extend_from_slice(&[0x12, 3, 0x2a, 1, b'x']);
            1
        });
        export.shutdown(Duration::from_secs(10));
        let (headers, path, message) = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            path,
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        );
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["te"], "trailers");
        let (flag, rest) = message.split_first().unwrap();
        let (length, body) = rest.split_at(4);
        assert_eq!(
            (*flag, length),
            (0, &u32::try_from(body.len()).unwrap().to_be_bytes()[..])
        );
        let decoded = ExportTraceServiceRequest::decode(body).unwrap();
        let span = &decoded.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!(span.name, "x");
        let counts = [Counter::SpansExported, Counter::SpansFailed];
        assert_eq!(counts.map(|counter| seat.count(counter)), [taken, failed]);
    }
}
