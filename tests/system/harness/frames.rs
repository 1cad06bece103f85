//! HTTP/2 as frames (RFC 9113 §4.1): a client that sends whatever it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::SOON;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// A head that ends both itself and its stream.
    pub(crate) fn request(stream: u32, fields: &[(&str, &str)]) -> Self {
        Self::new(HEADERS, END_HEADERS | END_STREAM, stream, block(fields))
    }

    /// A plain GET.
    pub(crate) fn get(stream: u32, host: &str, path: &str) -> Self {
        Self::request(stream, &pseudo("GET", host, path))
    }

    pub(crate) fn window(stream: u32, more: u32) -> Self {
        Self::new(WINDOW_UPDATE, 0, stream, more.to_be_bytes())
    }

    pub(crate) fn reset(stream: u32, code: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The code of a reset or of a GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The last stream that a GOAWAY names.
    pub(crate) fn last_stream(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The pseudo fields of a request.
pub(crate) fn pseudo<'a>(method: &'a str, host: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", host),
        (":path", path),
    ]
}

/// A header block that compresses nothing (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 7, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1, with nothing before the number.
fn integer(block: &mut Vec<u8>, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(u8::try_from(most).unwrap());
    let mut rest = value - most;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// A client whose other side is read by a thread, so that it may send as long as it can.
pub(crate) struct Frames {
    tcp: TcpStream,
    received: Receiver<Frame>,
}

impl Frames {
    /// A connection with both prefaces exchanged.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::with(address, &[])
    }

    /// The same with these settings.
    #[track_caller]
    pub(crate) fn with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address);
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        client.write(PREFACE).unwrap();
        client.send(&Frame::new(SETTINGS, 0, 0, payload));
        client.expect("settings", |frame| {
            frame.kind == SETTINGS && !frame.has(ACK)
        });
        client.send(&Frame::new(SETTINGS, ACK, 0, []));
        client.expect("their acknowledgement", |frame| {
            frame.kind == SETTINGS && frame.has(ACK)
        });
        client
    }

    /// A connection on which nothing was said.
    #[track_caller]
    pub(crate) fn silent(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_write_timeout(Some(SOON)).unwrap();
        let mut other = tcp.try_clone().unwrap();
        let (tell, received) = channel();
        std::thread::spawn(move || {
            while let Some(frame) = read(&mut other) {
                if tell.send(frame).is_err() {
                    return;
                }
            }
        });
        Self { tcp, received }
    }

    /// Sends a frame that must go.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: &Frame) {
        self.write(&frame.bytes()).unwrap();
    }

    /// Sends bytes, as far as the other side lets it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.tcp.write_all(bytes)
    }

    /// Sends this again and again, a number of times in each write, until the other side is gone: how
    /// often. Fails when that does not happen soon.
    #[track_caller]
    pub(crate) fn flood(&mut self, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
        let start = Instant::now();
        for number in 0.. {
            assert!(start.elapsed() < SOON, "not ended after {number} writes");
            if self.write(&next(number)).is_err() {
                return number;
            }
        }
        unreachable!("there are writes without end");
    }

    /// The next frame; `None` when the connection is over.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        match self.received.recv_timeout(SOON) {
            Ok(frame) => Some(frame),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("neither a frame nor an end within {SOON:?}"),
        }
    }

    /// The next frame that is like this; others are let go.
    #[track_caller]
    pub(crate) fn expect(&mut self, what: &str, is_it: impl Fn(&Frame) -> bool) -> Frame {
        let mut others = Vec::new();
        loop {
            let Some(frame) = self.next() else {
                panic!("the connection is over without {what}, after {others:?}");
            };
            if is_it(&frame) {
                return frame;
            }
            others.push((frame.kind, frame.flags, frame.stream));
        }
    }

    /// The code of the GOAWAY that ends the connection, which must follow at once.
    #[track_caller]
    pub(crate) fn ended_with(&mut self) -> u32 {
        let goaway = self.expect("GOAWAY", |frame| frame.kind == GOAWAY);
        while self.next().is_some() {}
        goaway.code()
    }

    /// Whether a plain GET is answered in full, whatever it says.
    #[track_caller]
    pub(crate) fn is_served(&mut self, stream: u32, host: &str, path: &str) -> bool {
        self.send(&Frame::get(stream, host, path));
        let last = self.expect("an answer", |frame| {
            frame.stream == stream && (frame.has(END_STREAM) || frame.kind == RST_STREAM)
        });
        last.kind != RST_STREAM
    }

    /// Answers a ping of the other side's.
    #[track_caller]
    pub(crate) fn pong(&mut self) {
        let ping = self.expect("PING", |frame| frame.kind == PING && !frame.has(ACK));
        self.send(&Frame::new(PING, ACK, 0, ping.payload));
    }

    /// Whether nothing at all comes for so long.
    pub(crate) fn is_quiet(&mut self, limit: Duration) -> bool {
        self.received.recv_timeout(limit) == Err(RecvTimeoutError::Timeout)
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let _ = self.tcp.shutdown(Shutdown::Both);
    }
}

fn read(tcp: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    tcp.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).ok()?];
    tcp.read_exact(&mut payload).ok()?;
    let stream = u32::from_be_bytes(head[5..].try_into().ok()?);
    Some(Frame::new(
        head[3],
        head[4],
        stream & (u32::MAX >> 1),
        payload,
    ))
}
