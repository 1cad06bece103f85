//! The few commands of Redis that tests need, over its plain protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// `nil`.
    Nil,
    /// A number.
    Int(i64),
    /// A text, simple or bulk.
    Text(String),
    /// An error.
    Error(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// The texts of a list, sorted.
    pub(crate) fn texts(&self) -> Vec<String> {
        let Self::List(items) = self else { panic!("no list: {self:?}") };
        let text = |item: &Self| match item {
            Self::Text(text) => text.clone(),
            other => format!("{other:?}"),
        };
        let mut texts: Vec<String> = items.iter().map(text).collect();
        texts.sort();
        texts
    }

    /// The number.
    pub(crate) fn int(&self) -> i64 {
        let Self::Int(number) = self else { panic!("no number: {self:?}") };
        *number
    }
}

/// A connection to Redis.
pub(crate) struct Connection {
    reader: BufReader<Socket>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(into),
            Self::Unix(socket) => socket.read(into),
        }
    }
}

impl Connection {
    /// Over TCP.
    pub(crate) fn tcp(port: u16) -> std::io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(super::SOON))?;
        Ok(Self { reader: BufReader::new(Socket::Tcp(socket)) })
    }

    /// Over a socket file.
    pub(crate) fn unix(path: &Path) -> std::io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(super::SOON))?;
        Ok(Self { reader: BufReader::new(Socket::Unix(socket)) })
    }

    /// Bounds each read.
    pub(crate) fn set_limit(&mut self, limit: Duration) {
        match self.reader.get_ref() {
            Socket::Tcp(socket) => socket.set_read_timeout(Some(limit)).unwrap(),
            Socket::Unix(socket) => socket.set_read_timeout(Some(limit)).unwrap(),
        }
    }

    /// One command and its answer.
    pub(crate) fn command(&mut self, words: &[&str]) -> std::io::Result<Value> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        match self.reader.get_mut() {
            Socket::Tcp(socket) => socket.write_all(&bytes)?,
            Socket::Unix(socket) => socket.write_all(&bytes)?,
        }
        self.value()
    }

    /// The next answer or message.
    pub(crate) fn value(&mut self) -> std::io::Result<Value> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(line.len().min(1));
        Ok(match kind {
            "+" => Value::Text(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Int(rest.parse().unwrap()),
            "$" if rest == "-1" => Value::Nil,
            "*" if rest == "-1" => Value::Nil,
            "$" => Value::Text(self.bulk(rest.parse().unwrap())?),
            "*" => {
                let count: usize = rest.parse().unwrap();
                Value::List((0..count).map(|_| self.value()).collect::<Result<_, _>>()?)
            }
            _ => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        })
    }

    fn bulk(&mut self, length: usize) -> std::io::Result<String> {
        let mut bytes = vec![0; length + 2];
        self.reader.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
