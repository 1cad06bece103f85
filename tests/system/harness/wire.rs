//! HTTP/1 as bytes, read the same way by the client and by the backends of the tests.
//!
//! Nothing is normalised: a head is kept as it was received, and every byte is counted.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Bytes of a body that are kept; all are counted.
const KEEP: usize = 4 << 20;

/// What can be spoken over.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// How a connection ended before what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Orderly.
    Fin,
    /// By a reset.
    Reset,
    /// Not at all: the peer kept silent for longer than the read limit.
    Silent,
    /// The bytes are not HTTP.
    Nonsense,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// By closing.
    UntilClose,
}

/// A request or response head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// As received, the empty line included.
    pub(crate) raw: Vec<u8>,
    /// The first line.
    pub(crate) start: String,
    /// Names as received.
    pub(crate) fields: Vec<(String, String)>,
}

/// A body that was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    /// Its first bytes (4 MiB at most), without framing.
    pub(crate) bytes: Vec<u8>,
    /// All bytes, without framing.
    pub(crate) length: u64,
    /// The trailer section.
    pub(crate) trailers: Vec<(String, String)>,
    /// All bytes, with framing.
    pub(crate) raw_length: u64,
}

impl Head {
    /// The values of a field, line by line.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(named)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// How the body's end is told, by fields alone.
    pub(crate) fn framing(&self) -> Option<Framing> {
        if self
            .field("transfer-encoding")
            .is_some_and(|coding| coding.ends_with("chunked"))
        {
            return Some(Framing::Chunked);
        }
        let length = self.field("content-length")?;
        Some(Framing::Length(length.parse().unwrap()))
    }

    fn parse(raw: Vec<u8>) -> Option<Self> {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let start = lines.next()?.to_owned();
        let fields = lines
            .take_while(|line| !line.is_empty())
            .map(field)
            .collect::<Option<_>>()?;
        Some(Self { raw, start, fields })
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

/// A connection with what was read ahead of it.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Over plain TCP.
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        let stream = Box::new(tcp.try_clone().unwrap());
        Self {
            stream,
            tcp,
            buffer: Vec::new(),
        }
    }

    /// Over something on top of TCP.
    pub(crate) fn over(stream: Box<dyn Stream>, tcp: TcpStream) -> Self {
        Self {
            stream,
            tcp,
            buffer: Vec::new(),
        }
    }

    /// The socket below.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What was read and not yet asked for.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Writes all.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads once, into the buffer.
    pub(crate) fn fill(&mut self) -> Result<usize, Ended> {
        let mut chunk = [0; 16 << 10];
        let count = read(&mut *self.stream, &mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    /// Reads a head; stray empty lines before it count as nonsense.
    pub(crate) fn head(&mut self) -> Result<Head, Ended> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let raw = self.buffer.drain(..at + 4).collect();
                return Head::parse(raw).ok_or(Ended::Nonsense);
            }
            self.fill()?;
        }
    }

    /// Reads a body; what was read before the connection ended is in `body`.
    pub(crate) fn body(&mut self, framing: Framing, body: &mut Body) -> Result<(), Ended> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.exactly(length, body),
            Framing::Chunked => self.chunked(body),
            Framing::UntilClose => match self.exactly(u64::MAX, body) {
                Err(Ended::Fin) => Ok(()),
                other => other,
            },
        }
    }

    fn exactly(&mut self, length: u64, body: &mut Body) -> Result<(), Ended> {
        let mut left = length;
        let mut scratch = vec![0; 256 << 10];
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(scratch.len());
            let count = if self.buffer.is_empty() {
                read(&mut *self.stream, &mut scratch[..most])?
            } else {
                let count = most.min(self.buffer.len());
                scratch[..count].copy_from_slice(&self.buffer[..count]);
                self.buffer.drain(..count);
                count
            };
            let room = KEEP.saturating_sub(body.bytes.len());
            body.bytes.extend_from_slice(&scratch[..count.min(room)]);
            body.length += count as u64;
            body.raw_length += count as u64;
            left -= count as u64;
        }
        Ok(())
    }

    fn chunked(&mut self, body: &mut Body) -> Result<(), Ended> {
        loop {
            let line = self.line(body)?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| Ended::Nonsense)?;
            if size == 0 {
                return self.trailers(body);
            }
            self.exactly(size, body)?;
            if !self.line(body)?.is_empty() {
                return Err(Ended::Nonsense);
            }
        }
    }

    fn trailers(&mut self, body: &mut Body) -> Result<(), Ended> {
        loop {
            let line = self.line(body)?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.push(field(&line).ok_or(Ended::Nonsense)?);
        }
    }

    fn line(&mut self, body: &mut Body) -> Result<String, Ended> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                body.raw_length += line.len() as u64;
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.fill()?;
        }
    }
}

fn read(stream: &mut dyn Stream, into: &mut [u8]) -> Result<usize, Ended> {
    loop {
        match stream.read(into) {
            Ok(0) => return Err(Ended::Fin),
            Ok(count) => return Ok(count),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(Ended::Silent),
                ErrorKind::UnexpectedEof => return Err(Ended::Fin),
                _ => return Err(Ended::Reset),
            },
        }
    }
}
