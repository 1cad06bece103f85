//! A scripted backend: every request is recorded and answered by a closure.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::tls::Identity;
use super::wire::{Body, Ended, Framing, Head, Wire};
use super::{SOON, eventually, text};

/// A request as the backend got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The head, byte for byte.
    pub(crate) head: Head,
    /// Method.
    pub(crate) method: String,
    /// Target.
    pub(crate) target: String,
    /// The body; empty as long as the script has not read it.
    pub(crate) body: Vec<u8>,
    /// The trailer section.
    pub(crate) trailers: Vec<(String, String)>,
    /// Number of the request on its connection, from 0.
    pub(crate) number: usize,
    /// When its head was complete.
    pub(crate) at: Instant,
}

impl Request {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

/// What is answered once the whole request was read.
pub(crate) enum Reply {
    /// These bytes; the connection stays.
    Keep(Vec<u8>),
    /// These bytes, then the end of the connection.
    Close(Vec<u8>),
    /// These bytes, then a reset.
    Reset(Vec<u8>),
    /// Nothing, until the peer gives up.
    Silence,
}

/// What becomes of the connection after a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next request is read.
    Keep,
    /// It is closed.
    Close,
}

/// A `200` with this body.
pub(crate) fn ok(body: &str) -> Reply {
    Reply::Keep(response(200, "", body))
}

/// A sized response; `fields` are whole lines.
pub(crate) fn response(status: u16, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Status\r\n{fields}Content-Length: {length}\r\n\r\n{body}").into()
}

type Script<'a> = dyn Fn(&mut Conn, &mut Request) -> Flow + Send + Sync + 'a;
type Serve = dyn Fn(TcpStream, &Arc<Shared>) + Send + Sync;

/// What threads of a backend and its test share.
#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    sockets: Mutex<Vec<(usize, TcpStream)>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// One connection from the proxy, in the hands of a script.
pub(crate) struct Conn {
    wire: Wire,
}

impl Conn {
    /// Sends literal bytes; a peer that is gone is no failure of the backend's.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes.as_ref()).is_ok()
    }

    /// Reads the body of the request into it; `false` when it broke off.
    pub(crate) fn read_body(&mut self, request: &mut Request) -> bool {
        self.count_body(request).is_ok()
    }

    /// Reads the body of the request and says how long it was, or how it broke off.
    pub(crate) fn count_body(&mut self, request: &mut Request) -> Result<u64, Ended> {
        let mut body = Body::default();
        let framing = request.head.framing().unwrap_or(Framing::None);
        let end = self.wire.body(framing, &mut body);
        request.body = body.bytes;
        request.trailers = body.trailers;
        end.map(|()| body.length)
    }

    /// Reads this many bytes of whatever comes.
    pub(crate) fn read(&mut self, count: u64) -> Vec<u8> {
        let mut body = Body::default();
        self.wire.body(Framing::Length(count), &mut body).ok();
        body.bytes
    }

    /// Waits for the peer to end the connection; other bytes are swallowed.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> Ended {
        self.wire.tcp().set_read_timeout(Some(limit)).ok();
        loop {
            if let Err(ended) = self.wire.fill() {
                return ended;
            }
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&mut self) {
        self.wire.tcp().shutdown(Shutdown::Write).ok();
    }

    /// Makes the close to come a reset.
    pub(crate) fn reset_at_close(&mut self) {
        let socket = socket2::SockRef::from(self.wire.tcp());
        socket.set_linger(Some(Duration::ZERO)).ok();
    }

    fn reply(&mut self, reply: Reply) -> Flow {
        match reply {
            Reply::Keep(bytes) => {
                self.send(bytes);
                Flow::Keep
            }
            Reply::Close(bytes) => {
                self.send(bytes);
                Flow::Close
            }
            Reply::Reset(bytes) => {
                self.send(bytes);
                self.reset_at_close();
                Flow::Close
            }
            Reply::Silence => {
                self.wait_for_end(Duration::from_secs(60));
                Flow::Close
            }
        }
    }
}

/// A server on a port of its own, stopped on drop.
pub(crate) struct Backend {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Backend {
    /// Reads each request whole, then answers as the closure says.
    pub(crate) fn answering(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::scripted(move |conn, request| {
            if !conn.read_body(request) {
                return Flow::Close;
            }
            conn.reply(answer(request))
        })
    }

    /// Answers every request with a `200` and this body.
    pub(crate) fn saying(body: &'static str) -> Self {
        Self::answering(move |_| ok(body))
    }

    /// Hands over the connection as soon as a head was read.
    ///
    /// A request is recorded before its script starts, and again, complete, after it ended.
    pub(crate) fn scripted(
        script: impl Fn(&mut Conn, &mut Request) -> Flow + Send + Sync + 'static,
    ) -> Self {
        Self::bind("127.0.0.1:0", script)
    }

    /// As `scripted`, on this address.
    pub(crate) fn bind(
        address: &str,
        script: impl Fn(&mut Conn, &mut Request) -> Flow + Send + Sync + 'static,
    ) -> Self {
        let script: Arc<Script<'static>> = Arc::new(script);
        Self::listen(
            address,
            "http",
            Arc::new(move |tcp, shared: &Arc<Shared>| {
                converse(Wire::plain(tcp), shared, &*script);
            }),
        )
    }

    /// Speaks TLS with this certificate, then answers like `answering`.
    pub(crate) fn tls(
        identity: Identity,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(
            "127.0.0.1:0",
            "https",
            Arc::new(move |tcp, shared: &Arc<Shared>| {
                let Ok(below) = tcp.try_clone() else { return };
                let Some(stream) = identity.accept(tcp) else {
                    return;
                };
                let script = |conn: &mut Conn, request: &mut Request| {
                    conn.read_body(request);
                    conn.reply(answer(request))
                };
                converse(Wire::over(stream, below), shared, &script);
            }),
        )
    }

    /// Hands over each connection untouched.
    pub(crate) fn sockets(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", "http", Arc::new(move |tcp, _| serve(tcp)))
    }

    fn listen(address: &str, scheme: &'static str, serve: Arc<Serve>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared, &serve))
        };
        Self {
            address,
            scheme,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Its URL, without a slash at the end, as operators write it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests so far, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// The last request.
    #[track_caller]
    pub(crate) fn last(&self) -> Request {
        self.shared
            .requests
            .lock()
            .unwrap()
            .last()
            .cloned()
            .expect("a request")
    }

    /// Waits until so many requests have come.
    pub(crate) fn wait_for(&self, count: usize) {
        eventually("requests at the backend", SOON, || {
            (self.count() >= count).then_some(())
        });
    }

    /// Ends every open connection in an orderly way; further ones are served.
    pub(crate) fn close_connections(&self) {
        for (_, socket) in self.shared.sockets.lock().unwrap().drain(..) {
            socket.shutdown(Shutdown::Both).ok();
        }
    }

    /// Stops listening: the port refuses from now on. Open connections end, too.
    pub(crate) fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        TcpStream::connect_timeout(&self.address, SOON).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
        self.close_connections();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            for request in self.shared.requests.lock().unwrap().iter().take(20) {
                eprintln!("backend {} got {:?}", self.address, text(&request.head.raw));
            }
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, serve: &Arc<Serve>) {
    for tcp in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(tcp) = tcp else { continue };
        tcp.set_nodelay(true).ok();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).ok();
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        if let Ok(clone) = tcp.try_clone() {
            shared.sockets.lock().unwrap().push((number, clone));
        }
        let (shared, serve) = (Arc::clone(shared), Arc::clone(serve));
        std::thread::spawn(move || {
            serve(tcp, &shared);
            // The copy kept for `close_connections` holds the connection open until here.
            shared
                .sockets
                .lock()
                .unwrap()
                .retain(|(kept, _)| *kept != number);
        });
    }
}

fn converse(wire: Wire, shared: &Shared, script: &Script<'_>) {
    let mut conn = Conn { wire };
    for number in 0.. {
        let Ok(head) = conn.wire.head() else { break };
        let mut words = head.start.split(' ').map(str::to_owned);
        let mut request = Request {
            method: words.next().unwrap_or_default(),
            target: words.next().unwrap_or_default(),
            head,
            body: Vec::new(),
            trailers: Vec::new(),
            number,
            at: Instant::now(),
        };
        let index = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let flow = script(&mut conn, &mut request);
        shared.requests.lock().unwrap()[index] = request;
        if flow == Flow::Close {
            break;
        }
    }
}

/// A port that refuses connections and stays ours.
pub(crate) struct Refused {
    socket: socket2::Socket,
}

impl Refused {
    /// Binds a port and does not listen.
    pub(crate) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        Self { socket }
    }

    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }

    /// Its URL, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Accepts connections into its queue from now on and never takes them out.
    pub(crate) fn listen(&self) {
        self.socket.listen(128).unwrap();
    }
}
