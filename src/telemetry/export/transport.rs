//! One connection to a collector: HTTP/1 for `http/protobuf`, HTTP/2 for gRPC.
//!
//! The message comes encoded; gRPC is its framing and a handful of headers on hyper's HTTP/2. A
//! connection is kept until it fails.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::judge::Reply;
use super::tls;
use crate::config::{Exporter, Signal};

/// Bytes of an answer that are read; the rest says nothing that counts.
const ANSWER_BYTES: usize = 64 << 10;

type Failure = Box<dyn Error + Send + Sync>;

/// The way to one collector.
pub(super) struct Transport {
    exporter: Exporter,
    tls: Option<TlsConnector>,
    connection: Option<Connection>,
}

/// A connection that takes requests; its driver is a task of the thread's runtime.
enum Connection {
    Http1(http1::SendRequest<Message>),
    Http2(http2::SendRequest<Message>),
}

impl Transport {
    /// Not connected yet.
    pub(super) fn new(exporter: &Exporter) -> Self {
        Self {
            exporter: exporter.clone(),
            tls: None,
            connection: None,
        }
    }

    /// Closes the connection: the next request gets a new one.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Sends one request and reads the answer. Dropped halfway, the connection is of no use.
    pub(super) async fn send(&mut self, body: Bytes) -> Result<Reply, Failure> {
        let request = self.request(body)?;
        let is_over = match &self.connection {
            Some(Connection::Http1(sender)) => sender.is_closed(),
            Some(Connection::Http2(sender)) => sender.is_closed(),
            None => true,
        };
        if is_over {
            self.connection = Some(self.connect().await?);
        }
        let response = match &mut self.connection {
            Some(Connection::Http1(sender)) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Some(Connection::Http2(sender)) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            None => return Err("not connected".into()),
        };
        read(response).await
    }

    fn request(&self, body: Bytes) -> Result<Request<Message>, Failure> {
        let url = &self.exporter.url;
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut builder = Request::post(match self.exporter.is_grpc {
            true => format!(
                "{}://{authority}{}",
                url.scheme(),
                method_of(self.exporter.signal)
            ),
            false => url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
        });
        let agent = concat!("hipache/", env!("CARGO_PKG_VERSION"));
        builder = builder.header(header::USER_AGENT, agent);
        builder = if self.exporter.is_grpc {
            builder
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
        } else {
            builder
                .header(header::HOST, authority)
                .header(header::CONTENT_TYPE, "application/x-protobuf")
        };
        builder = match (self.exporter.is_gzip, self.exporter.is_grpc) {
            (true, true) => builder.header("grpc-encoding", "gzip"),
            (true, false) => builder.header(header::CONTENT_ENCODING, "gzip"),
            (false, _) => builder,
        };
        for (name, value) in &self.exporter.headers {
            let mut value = HeaderValue::from_str(&value.0)?;
            value.set_sensitive(true);
            builder = builder.header(name.as_str(), value);
        }
        Ok(builder.body(Message(Some(body)))?)
    }

    async fn connect(&mut self) -> Result<Connection, Failure> {
        let url = self.exporter.url.clone();
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(4318);
        let stream = dial(host, port).await?;
        stream.set_nodelay(true)?;
        if url.scheme() != "https" {
            return self.shake_hands(stream).await;
        }
        let tls = match &self.tls {
            Some(tls) => tls.clone(),
            None => self.tls.insert(tls::connector(&self.exporter)?).clone(),
        };
        let name = ServerName::try_from(host.to_owned())?;
        self.shake_hands(tls.connect(name, stream).await?).await
    }

    /// Begins to speak HTTP. The driver ends with the connection, which ends with its sender.
    async fn shake_hands<S>(&self, stream: S) -> Result<Connection, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        if self.exporter.is_grpc {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(driver);
            return Ok(Connection::Http2(sender));
        }
        let (sender, driver) = http1::handshake(io).await?;
        tokio::spawn(driver);
        Ok(Connection::Http1(sender))
    }
}

/// The method of OTLP over gRPC.
fn method_of(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// Connects to the first address that answers.
async fn dial(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let mut last: Failure = format!("{host} has no address").into();
    for address in tokio::net::lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("connecting to {address}: {error}").into(),
        }
    }
    Err(last)
}

/// Reads an answer, whose end must come for the connection to be kept.
async fn read(response: Response<Incoming>) -> Result<Reply, Failure> {
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut reply = Reply {
        status: head.status,
        headers: head.headers,
        body: Vec::new(),
        trailers: HeaderMap::new(),
    };
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) if reply.body.len() + data.len() <= ANSWER_BYTES => {
                reply.body.extend_from_slice(&data);
            }
            Ok(_) => return Err("the collector's answer is too long".into()),
            Err(frame) => reply.trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(reply)
}

/// A request's body: one piece.
struct Message(Option<Bytes>);

impl Body for Message {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
