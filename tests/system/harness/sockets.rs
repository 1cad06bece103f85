//! WebSockets over every protocol: clients on connections and on streams of HTTP/2, with TLS and
//! without, and a server that does as it is told.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::streams::runtime;
use super::wire::Stream;
use super::{Backend, Identity, SOON, Setup, StreamBackend};

/// A WebSocket over anything.
pub(crate) type Socket = WebSocket<Box<dyn Stream>>;

/// Bytes of a fragment of what [`serve`] sends back.
const FRAGMENT: usize = 4 << 20;

/// How a client comes.
pub(crate) enum Way {
    /// On a connection of its own.
    Http1,
    /// The same over TLS.
    Https1(Arc<ClientConfig>),
    /// On a stream, with prior knowledge.
    Http2,
    /// The same, agreed on by ALPN.
    Https2(Arc<ClientConfig>),
}

impl Way {
    /// Whether a WebSocket is answered as over HTTP/2.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Http2 | Self::Https2(_))
    }

    /// Opens a WebSocket at the target of this host.
    #[track_caller]
    pub(crate) fn open(&self, address: SocketAddr, host: &str, target: &str) -> Socket {
        match self {
            Self::Http1 => Self::shake_hands(connect(address), None, host, target),
            Self::Https1(config) => Self::shake_hands(connect(address), Some(config), host, target),
            Self::Http2 => stream(address, None, host, target),
            Self::Https2(config) => stream(address, Some(Arc::clone(config)), host, target),
        }
    }

    /// Opens a WebSocket on a connection of HTTP/1.1, over TLS or not.
    #[track_caller]
    pub(crate) fn shake_hands(
        tcp: TcpStream,
        tls: Option<&Arc<ClientConfig>>,
        host: &str,
        target: &str,
    ) -> Socket {
        let carrier: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).unwrap();
                let session = ClientConnection::new(Arc::clone(config), name).unwrap();
                Box::new(StreamOwned::new(session, tcp))
            }
        };
        let request = format!("ws://{host}{target}");
        let (socket, answer) =
            tungstenite::client::client_with_config(request, carrier, Some(without_limits()))
                .map_err(|error| error.to_string())
                .expect("the handshake succeeds");
        assert_eq!(answer.status(), 101);
        socket
    }
}

/// A connection that waits no longer than a test may.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(SOON * 2)).unwrap();
    tcp
}

fn without_limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None)
}

/// A WebSocket on a stream of HTTP/2, whose bytes a thread carries to and fro.
#[track_caller]
fn stream(address: SocketAddr, tls: Option<Arc<ClientConfig>>, host: &str, target: &str) -> Socket {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(SOON * 2)).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (host, target) = (host.to_owned(), target.to_owned());
    let (opened, is_open) = channel();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
            let open = |io| open_and_carry(io, (host.clone(), target), opened, theirs);
            match tls {
                None => open(Box::new(tcp) as Box<dyn Io>).await,
                Some(config) => {
                    let name = ServerName::try_from(host.clone()).unwrap();
                    let tls = tokio_rustls::TlsConnector::from(config);
                    open(Box::new(tls.connect(name, tcp).await.unwrap())).await;
                }
            }
        });
    });
    is_open.recv_timeout(SOON).expect("the stream is answered");
    WebSocket::from_raw_socket(Box::new(ours), Role::Client, Some(without_limits()))
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

async fn open_and_carry(
    io: Box<dyn Io>,
    (host, target): (String, String),
    opened: std::sync::mpsc::Sender<()>,
    socket: tokio::net::UnixStream,
) {
    let (requests, connection) = h2::client::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let requests = requests.ready().await.unwrap();
    let (recv, send) = extended_connect(requests, &host, &target).await;
    opened.send(()).unwrap();
    carry(recv, send, socket).await;
    let _ = connection.await;
}

/// Opens a WebSocket on a stream; the bytes that come and those that go.
pub(crate) async fn extended_connect(
    mut requests: h2::client::SendRequest<Bytes>,
    host: &str,
    target: &str,
) -> (RecvStream, SendStream<Bytes>) {
    while !requests.is_extended_connect_protocol_enabled() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://{host}{target}"))
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static("websocket"));
    let (response, send) = requests
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    (response.into_body(), send)
}

/// Carries bytes between a stream and a socket until both ways are over.
async fn carry(mut recv: RecvStream, mut send: SendStream<Bytes>, socket: tokio::net::UnixStream) {
    let (mut from, mut to) = socket.into_split();
    let down = async move {
        while let Some(Ok(data)) = recv.data().await {
            if to.write_all(&data).await.is_err() {
                return;
            }
            let _ = recv.flow_control().release_capacity(data.len());
        }
        let _ = to.shutdown().await;
    };
    let up = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if !send_whole(&mut send, &buffer[..count]).await {
                return;
            }
        }
        let _ = send.send_data(Bytes::new(), true);
    };
    tokio::join!(down, up);
}

async fn send_whole(send: &mut SendStream<Bytes>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else {
            return false;
        };
        let (piece, rest) = bytes.split_at(room.min(bytes.len()));
        if send
            .send_data(Bytes::copy_from_slice(piece), false)
            .is_err()
        {
            return false;
        }
        bytes = rest;
    }
    true
}

/// A backend of HTTP/1.1 with WebSockets, and its URL.
pub(crate) fn old_server(identity: Option<Identity>) -> (Backend, String) {
    let scheme = if identity.is_some() { "https" } else { "http" };
    let backend = Backend::sockets(move |tcp| {
        let breaker = tcp.try_clone().unwrap();
        let carrier: Box<dyn Stream> = match &identity {
            None => Box::new(tcp),
            Some(identity) => match identity.accept(tcp) {
                Some(secured) => secured,
                None => return,
            },
        };
        if let Ok(socket) = tungstenite::accept_with_config(carrier, Some(without_limits())) {
            serve(socket, || {
                let socket = socket2::SockRef::from(&breaker);
                socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            });
        }
    });
    let url = format!("{scheme}://127.0.0.1:{}", backend.port());
    (backend, url)
}

/// The same of HTTP/2 (RFC 8441).
pub(crate) fn new_server(identity: Option<Identity>) -> StreamBackend {
    let setup = Setup {
        takes_websockets: true,
        tls: identity,
        ..Setup::default()
    };
    StreamBackend::start(setup, |mut call| async move {
        let send = call.head(Response::new(()));
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let carrier: Box<dyn Stream> = Box::new(ours);
            let socket = WebSocket::from_raw_socket(carrier, Role::Server, Some(without_limits()));
            serve(socket, || ());
        });
        let theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
        carry(call.request.into_body(), send, theirs).await;
    })
}

/// Sends binary messages back, in fragments with a ping before each, and does what texts tell:
/// `pongs` counts those that came, `close` says goodbye, `leave` ends without a word, `reset` so that
/// the peer sees it.
fn serve(mut socket: Socket, prepare_reset: impl Fn()) {
    let mut pongs = 0;
    while let Ok(message) = socket.read() {
        let is_sent = match message {
            Message::Binary(bytes) => send_fragments(&mut socket, &bytes),
            Message::Pong(_) => {
                pongs += 1;
                true
            }
            Message::Text(word) => match word.as_str() {
                "pongs" => socket.send(Message::text(format!("{pongs}"))).is_ok(),
                "close" => socket
                    .close(Some(CloseFrame {
                        code: CloseCode::Library(4001),
                        reason: "as told".into(),
                    }))
                    .is_ok(),
                "reset" => {
                    prepare_reset();
                    return;
                }
                "leave" => return,
                other => panic!("{other} is nothing to do"),
            },
            _ => socket.flush().is_ok(),
        };
        if !is_sent {
            return;
        }
    }
}

/// Sends a binary message in fragments, with a ping before each.
pub(crate) fn send_fragments(socket: &mut Socket, bytes: &[u8]) -> bool {
    let count = bytes.len().div_ceil(FRAGMENT).max(1);
    let mut parts = bytes.chunks(FRAGMENT);
    (0..count).all(|number| {
        let part = parts.next().unwrap_or_default().to_vec();
        let kind = match number {
            0 => Data::Binary,
            _ => Data::Continue,
        };
        let frame = Frame::message(part, OpCode::Data(kind), number + 1 == count);
        let ping = Message::Ping(b"still there".as_slice().into());
        socket.send(ping).is_ok() && socket.send(Message::Frame(frame)).is_ok()
    })
}

/// Reads until a message of the given kind is complete; how many pings and pongs came before it.
#[track_caller]
pub(crate) fn read_message(socket: &mut Socket) -> (Message, usize, usize) {
    let (mut pings, mut pongs) = (0, 0);
    loop {
        match socket.read().expect("a message comes") {
            Message::Ping(_) => pings += 1,
            Message::Pong(_) => pongs += 1,
            message => return (message, pings, pongs),
        }
    }
}
