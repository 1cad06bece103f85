//! Reaching a Redis: address, TLS, socket options, login.
//!
//! The stream is ours and not the crate's: so its driver is, too, and tells at once when the
//! connection ends; and TLS uses the one crypto provider of the process.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

use super::wire;
use crate::config::{RedisAddress, RedisServer, Secret};

/// A name is given up after this time when an earlier answer can be used in its place.
const RESOLVE_LIMIT: Duration = Duration::from_millis(200);
/// Unacknowledged data older than this ends a TCP connection.
const USER_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent TCP connection is probed after this time, and as often.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Commands that may wait to be written; the crate's own limit is 50.
const QUEUE_COMMANDS: usize = 1024;

/// A connected socket of whatever kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Moves the bytes of a connection; ends with it.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()>>>;

/// A connected socket, and the address on its other end where it has one.
pub(super) struct Socket {
    pub(super) stream: Box<dyn Stream>,
    peer: Option<SocketAddr>,
}

/// A connection that has answered a command.
pub(super) struct Dialled {
    pub(super) commands: MultiplexedConnection,
    pub(super) driver: Driver,
    pub(super) peer: Option<SocketAddr>,
}

/// One Redis server and how to get in.
pub(super) struct Server {
    /// For messages: the address, without credentials.
    pub(super) name: Box<str>,
    address: RedisAddress,
    username: Option<String>,
    password: Option<Secret>,
    database: i64,
    tls: Option<Arc<ClientConfig>>,
    /// What the name last resolved to, for when the resolver fails.
    resolved: RefCell<Vec<SocketAddr>>,
}

/// Why a Redis cannot be used.
#[derive(Debug)]
pub(super) enum DialError {
    /// The socket, the resolver or TLS.
    Io(io::Error),
    /// The name has no address.
    NoAddress,
    /// What answers speaks no Redis.
    Refused(RedisError),
    /// It answers, but not to us or not now: `WRONGPASS`, `NOAUTH`, `LOADING`.
    Unready(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("connection refused")
            }
            Self::Io(error) => error.fmt(f),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::Refused(error) => error.fmt(f),
            Self::Unready(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Refused(error) => Some(error),
            Self::NoAddress | Self::Unready(_) => None,
        }
    }
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<RedisError> for DialError {
    fn from(error: RedisError) -> Self {
        Self::Refused(error)
    }
}

impl Server {
    /// A server as configured; reads the system's certificate authorities when it speaks TLS.
    pub(super) fn new(config: &RedisServer) -> Self {
        let (name, is_tls) = match &config.address {
            RedisAddress::Tcp { host, port, tls } if host.contains(':') => {
                (format!("[{host}]:{port}"), *tls)
            }
            RedisAddress::Tcp { host, port, tls } => (format!("{host}:{port}"), *tls),
            RedisAddress::Unix(path) => (path.display().to_string(), false),
        };
        Self {
            name: name.into(),
            address: config.address.clone(),
            username: config.username.clone(),
            password: config.password.clone(),
            database: config.database,
            tls: is_tls.then(|| tls_config(system_roots())),
            resolved: RefCell::default(),
        }
    }

    /// The same server, believed by other authorities than the system's.
    #[cfg(test)]
    pub(super) fn with_roots(mut self, roots: RootCertStore) -> Self {
        self.tls = Some(tls_config(roots));
        self
    }

    /// The first commands on every connection.
    pub(super) fn hello(&self) -> Pipeline {
        let password = self.password.as_ref().map(|password| password.0.as_str());
        wire::hello(self.username.as_deref(), password, self.database)
    }

    /// A connection that has answered a command. The caller puts a limit around it.
    pub(super) async fn connect(&self) -> Result<Dialled, DialError> {
        let Socket { stream, peer } = self.open().await?;
        // The login is ours, too: the crate hides what the server says to a wrong password.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        // Limits are ours, around each request.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE_COMMANDS);
        let (mut commands, driver) =
            MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let mut driver: Driver = Box::pin(driver);
        let hello = self.hello();
        let replies = tokio::select! {
            replies = commands.send_packed_commands(&hello, 0, hello.len()) => replies?,
            () = &mut driver => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        };
        wire::welcomed(&replies).map_err(DialError::Unready)?;
        Ok(Dialled {
            commands,
            driver,
            peer,
        })
    }

    /// A socket to the server, past TLS, before any command.
    pub(super) async fn open(&self) -> Result<Socket, DialError> {
        let (host, port) = match &self.address {
            RedisAddress::Unix(path) => return open_unix(path).await,
            RedisAddress::Tcp { host, port, .. } => (host, *port),
        };
        let stream = open_tcp(&self.resolve(host, port).await?).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE))?;
        let peer = stream.peer_addr().ok();
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name, stream).await?)
            }
        };
        Ok(Socket { stream, peer })
    }

    /// The addresses of the server; the last good ones while the resolver fails or hangs.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let last: Vec<SocketAddr> = self.resolved.borrow().clone();
        let lookup = tokio::net::lookup_host((host, port));
        let found = if last.is_empty() {
            lookup.await
        } else {
            match tokio::time::timeout(RESOLVE_LIMIT, lookup).await {
                Ok(found) => found,
                Err(_) => return Ok(last),
            }
        };
        let found: Vec<SocketAddr> = match found {
            Ok(found) => found.collect(),
            Err(error) if last.is_empty() => return Err(error.into()),
            Err(_) => return Ok(last),
        };
        if found.is_empty() {
            return Err(DialError::NoAddress);
        }
        self.resolved.borrow_mut().clone_from(&found);
        Ok(found)
    }
}

async fn open_unix(path: &Path) -> Result<Socket, DialError> {
    Ok(Socket {
        stream: Box::new(UnixStream::connect(path).await?),
        peer: None,
    })
}

/// Tries the addresses in turn. One that swallows packets must not starve the others, so each but
/// the last has a limit of its own.
async fn open_tcp(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    const EACH: Duration = Duration::from_millis(150);
    let mut failure = DialError::NoAddress;
    for (index, address) in addresses.iter().enumerate() {
        let connect = TcpStream::connect(address);
        let opened = if index + 1 == addresses.len() {
            connect.await
        } else {
            match tokio::time::timeout(EACH, connect).await {
                Ok(opened) => opened,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        };
        match opened {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

/// The certificate authorities of the system; those that cannot be read are left out, and a
/// handshake that needed one fails and says so.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn tls_config(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    #[expect(
        clippy::expect_used,
        reason = "the provider named on the line above speaks every default version"
    )]
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
