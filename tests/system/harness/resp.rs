//! The few commands of Redis that tests need, over its plain protocol.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
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
        let Self::List(items) = self else {
            panic!("no list: {self:?}")
        };
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
        let Self::Int(number) = self else {
            panic!("no number: {self:?}")
        };
        *number
    }
}

/// A connection to Redis.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// To a server on this port.
    pub(crate) fn tcp(port: u16) -> std::io::Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(super::SOON))?;
        Ok(Self {
            reader: BufReader::new(socket),
        })
    }

    /// Bounds each read.
    pub(crate) fn set_limit(&mut self, limit: Duration) {
        self.reader.get_ref().set_read_timeout(Some(limit)).unwrap();
    }

    /// One command and its answer.
    pub(crate) fn command(&mut self, words: &[&str]) -> std::io::Result<Value> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        self.reader.get_mut().write_all(&bytes)?;
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
