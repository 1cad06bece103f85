//! Both ends of HTTP/2, stream by stream: a scripted backend, and a client.

use std::future::Future;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::SOON;
use super::tls::Identity;

/// One request as the backend gets it, and the means to answer it.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    /// Which request of the backend it is, from 0.
    pub(crate) number: usize,
}

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;
type Script = dyn Fn(Call) -> Answering + Send + Sync;
type Raw = dyn Fn(TcpStream) + Send + Sync;

/// What is not always so.
#[derive(Default)]
pub(crate) struct Setup {
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`.
    pub(crate) streams: Option<u32>,
    /// `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
    pub(crate) takes_websockets: bool,
    /// TLS, with ALPN.
    pub(crate) tls: Option<Identity>,
    /// What the first connection meets instead of a server.
    pub(crate) first: Option<Box<Raw>>,
}

/// A backend in a thread of its own, ended on drop.
pub(crate) struct StreamBackend {
    address: SocketAddr,
    scheme: &'static str,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<Request<()>>>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StreamBackend {
    /// Answers each request by the script.
    pub(crate) fn start<F>(setup: Setup, script: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = match setup.tls {
            Some(_) => "h2",
            None => "h2c",
        };
        let connections = Arc::new(AtomicUsize::new(0));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = oneshot::channel();
        let serving = Serving {
            setup: Arc::new(setup),
            script: Arc::new(move |call| Box::pin(script(call))),
            connections: Arc::clone(&connections),
            heads: Arc::clone(&heads),
        };
        let thread = std::thread::spawn(move || {
            let runtime = runtime();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serving.accept(listener) => {}
                    _ = ended => {}
                }
            });
            runtime.shutdown_background();
        });
        Self {
            address,
            scheme,
            connections,
            heads,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Connections that it has taken.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<Request<()>> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for StreamBackend {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread.take().map(JoinHandle::join);
    }
}

#[derive(Clone)]
struct Serving {
    setup: Arc<Setup>,
    script: Arc<Script>,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<Request<()>>>>,
}

impl Serving {
    async fn accept(self, listener: tokio::net::TcpListener) {
        while let Ok((tcp, _)) = listener.accept().await {
            let number = self.connections.fetch_add(1, Ordering::SeqCst);
            if let (0, Some(_)) = (number, &self.setup.first) {
                let (tcp, setup) = (tcp.into_std().unwrap(), Arc::clone(&self.setup));
                tcp.set_nonblocking(false).unwrap();
                std::thread::spawn(move || setup.first.as_ref().map(|raw| raw(tcp)));
                continue;
            }
            let _ = tcp.set_nodelay(true);
            let serving = self.clone();
            tokio::spawn(async move {
                match &serving.setup.tls {
                    None => serving.serve(tcp).await,
                    Some(identity) => {
                        let acceptor = TlsAcceptor::from(identity.with_alpn(b"h2"));
                        if let Ok(tls) = acceptor.accept(tcp).await {
                            serving.serve(tls).await;
                        }
                    }
                }
            });
        }
    }

    async fn serve(&self, io: impl AsyncRead + AsyncWrite + Unpin) {
        let mut builder = Builder::new();
        if let Some(streams) = self.setup.streams {
            builder.max_concurrent_streams(streams);
        }
        if self.setup.takes_websockets {
            builder.enable_connect_protocol();
        }
        let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            let number = {
                let mut heads = self.heads.lock().unwrap();
                heads.push(head_of(&request));
                heads.len() - 1
            };
            tokio::spawn((self.script)(Call {
                request,
                respond,
                number,
            }));
        }
    }
}

fn head_of(request: &Request<RecvStream>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

impl Call {
    /// Answers with this body.
    pub(crate) fn answer(&mut self, body: impl Into<Bytes>) {
        let mut send = self.head(Response::new(()));
        let _ = send.send_data(body.into(), true);
    }

    /// Sends the head of a response that has a body.
    pub(crate) fn head(&mut self, response: Response<()>) -> SendStream<Bytes> {
        self.respond.send_response(response, false).unwrap()
    }
}

/// A whole body and its trailers, or how it broke off.
pub(crate) async fn read_all(
    body: &mut RecvStream,
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, body.trailers().await?))
}

/// Sends as much as the window allows, piece by piece, until all is sent or the stream is over; tells
/// how much went.
pub(crate) async fn send_all(send: &mut SendStream<Bytes>, total: usize, sent: &AtomicUsize) {
    let piece = Bytes::from(vec![b'x'; 16 * 1024]);
    while sent.load(Ordering::SeqCst) < total {
        let left = total - sent.load(Ordering::SeqCst);
        let piece = piece.slice(..left.min(piece.len()));
        send.reserve_capacity(piece.len());
        let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return };
        let data = piece.slice(..room.min(piece.len()));
        sent.fetch_add(data.len(), Ordering::SeqCst);
        if send.send_data(data, false).is_err() {
            return;
        }
    }
    let _ = send.send_data(Bytes::new(), true);
}

/// A client on a connection of its own that speaks HTTP/2 at once.
pub(crate) async fn speak(address: SocketAddr) -> SendRequest<Bytes> {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

/// Runs the client's side of a test, no longer than it may take.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    runtime().block_on(async {
        let limited = tokio::time::timeout(SOON * 2, test).await;
        limited.expect("the client's side of the test comes to its end")
    })
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
