//! A client that sends literal bytes and keeps the exact bytes that came back.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::wire::{Body, Ended, Framing, Head, Wire};
use super::{SOON, text};

/// One connection to the proxy.
pub(crate) struct Client {
    wire: Wire,
}

/// A response as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Interim responses that came before.
    pub(crate) interim: Vec<Head>,
    /// The final head.
    pub(crate) head: Head,
    /// Status code.
    pub(crate) status: u16,
    /// Body without framing.
    pub(crate) body: Vec<u8>,
    /// Length of the body without framing; `body` keeps its first bytes only.
    pub(crate) length: u64,
    /// The trailer section.
    pub(crate) trailers: Vec<(String, String)>,
    /// All bytes received for it, interim responses and framing included.
    pub(crate) raw_length: u64,
}

/// A response that broke off.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// How.
    pub(crate) how: Ended,
    /// The head, if it was complete.
    pub(crate) status: Option<u16>,
    /// What came of the body.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// Connects, or tells why not.
    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&address, SOON)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(SOON))?;
        tcp.set_write_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self {
            wire: Wire::plain(tcp),
        })
    }

    /// Bounds each read.
    pub(crate) fn set_limit(&mut self, limit: Duration) {
        self.wire.tcp().set_read_timeout(Some(limit)).unwrap();
    }

    /// Sends literal bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes.as_ref()).unwrap();
    }

    /// Sends literal bytes, or tells why not.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.wire.send(bytes.as_ref())
    }

    /// Sends a `GET` without a body on a connection that is to be kept.
    pub(crate) fn get(&mut self, host: &str, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }

    /// Sends a `POST` with a sized body.
    pub(crate) fn post(&mut self, host: &str, target: &str, body: &[u8]) {
        let length = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        self.send([head.as_bytes(), body].concat());
    }

    /// Reads the response to anything but `HEAD`; fails the test when there is none.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        match self.try_response("GET") {
            Ok(response) => response,
            Err(broken) => panic!("no whole response: {broken:?}"),
        }
    }

    /// Reads the response to `HEAD`.
    #[track_caller]
    pub(crate) fn response_to_head(&mut self) -> Response {
        match self.try_response("HEAD") {
            Ok(response) => response,
            Err(broken) => panic!("no whole response: {broken:?}"),
        }
    }

    /// Reads one response, or tells how it broke off.
    pub(crate) fn try_response(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.head()?;
            let status = status_of(&head);
            if status >= 200 || status == 101 {
                break head;
            }
            interim.push(head);
        };
        let status = status_of(&head);
        let mut body = Body::default();
        let read = self.wire.body(framing(&head, method, status), &mut body);
        if let Err(how) = read {
            return Err(Broken {
                how,
                status: Some(status),
                body: body.bytes,
            });
        }
        let heads: usize = interim.iter().map(|head| head.raw.len()).sum();
        let raw_length = (heads + head.raw.len()) as u64 + body.raw_length;
        let Body {
            bytes,
            length,
            trailers,
            ..
        } = body;
        Ok(Response {
            interim,
            head,
            status,
            body: bytes,
            length,
            trailers,
            raw_length,
        })
    }

    /// Reads one head, interim ones included.
    pub(crate) fn head(&mut self) -> Result<Head, Broken> {
        let head = self.wire.head();
        head.map_err(|how| Broken {
            how,
            status: None,
            body: self.wire.buffered().to_vec(),
        })
    }

    /// Reads until this many bytes that are not yet taken are there.
    pub(crate) fn bytes(&mut self, count: u64) -> Vec<u8> {
        let mut body = Body::default();
        let read = self.wire.body(Framing::Length(count), &mut body);
        assert_eq!(read, Ok(()), "after {:?}", text(&body.bytes));
        body.bytes
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&mut self) {
        self.wire.tcp().shutdown(Shutdown::Write).unwrap();
    }

    /// Leaves with a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(self.wire.tcp());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits for the end of the connection and says how it came; fails on further bytes.
    #[track_caller]
    pub(crate) fn end(&mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        self.set_limit(limit);
        match self.wire.fill() {
            Ok(_) => panic!(
                "expected the end of the connection within {:?}, got {:?}",
                start.elapsed(),
                text(self.wire.buffered())
            ),
            Err(ended) => ended,
        }
    }

    /// The socket, for who sends while a response is read.
    pub(crate) fn tcp(&self) -> TcpStream {
        self.wire.tcp().try_clone().unwrap()
    }

    /// The socket, for other protocols; nothing may have been read ahead.
    pub(crate) fn into_tcp(self) -> TcpStream {
        assert!(self.wire.buffered().is_empty());
        self.wire.tcp().try_clone().unwrap()
    }
}

fn status_of(head: &Head) -> u16 {
    let code = head
        .start
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no status line: {:?}", head.start))
}

fn framing(head: &Head, method: &str, status: u16) -> Framing {
    let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
    match head.framing() {
        _ if bodiless => Framing::None,
        Some(framing) => framing,
        None => Framing::UntilClose,
    }
}

/// Client and backend of the harness understand each other without a proxy between them.
#[test]
fn the_harness_agrees_with_itself() {
    use super::{Backend, Reply, ok};
    let backend = Backend::answering(|request| match request.target.as_str() {
        "/chunked" => {
            let bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n";
            Reply::Keep(bytes.into())
        }
        "/reset" => Reply::Reset(Vec::new()),
        "/close" => Reply::Close(b"HTTP/1.1 200 OK\r\n\r\nrest".to_vec()),
        _ => ok(&text(&request.body)),
    });
    let address = backend.url().trim_start_matches("http://").parse().unwrap();
    let mut client = Client::connect(address);
    client.post("a.test", "/x", b"hello");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    client.get("a.test", "/chunked");
    let response = client.response();
    assert_eq!(
        (response.text().as_str(), response.trailers.len()),
        ("abc", 1)
    );
    assert_eq!(response.raw_length, response.head.raw.len() as u64 + 21);
    client.get("a.test", "/close");
    assert_eq!(client.response().text(), "rest");
    assert_eq!(client.end(SOON), Ended::Fin);
    let mut client = Client::connect(address);
    client.get("a.test", "/reset");
    assert_eq!(client.try_response("GET").unwrap_err().how, Ended::Reset);
    assert_eq!((backend.count(), backend.connections()), (4, 2));
    backend.wait_for(4);
}
