//! A Redis of its own for each test, killed when the test is over.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Connection, Value};
use tokio::time::{Instant, sleep};

use super::super::*;
use crate::config::{RedisAddress, RedisServer, Secret};
use crate::route::Route;

/// How long a mark of these tests lasts.
pub(super) const TTL: Terms = Terms::new(Duration::from_secs(30), None);
/// After so long a condition that did not come true fails the test.
const PATIENCE: Duration = Duration::from_secs(15);

/// A Redis server.
pub(super) struct Redis {
    child: Child,
    directory: PathBuf,
    arguments: Vec<String>,
    /// 0 when it listens on its socket alone.
    pub(super) port: u16,
}

impl Redis {
    /// A server on a socket in a directory of its own.
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::start_on(0, arguments)
    }

    /// The same, on a TCP port chosen by the system as well.
    pub(super) fn start_tcp(arguments: &[&str]) -> Self {
        Self::start_on(free_port(), arguments)
    }

    fn start_on(port: u16, arguments: &[&str]) -> Self {
        let unique = format!(
            "hipache-redis-{}-{:x}",
            std::process::id(),
            fastrand::u64(..)
        );
        let directory = std::env::temp_dir().join(unique);
        std::fs::create_dir(&directory).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let child = spawn(&directory, port, &arguments);
        let redis = Self {
            child,
            directory,
            arguments,
            port,
        };
        redis.wait();
        redis
    }

    fn wait(&self) {
        let start = std::time::Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(start.elapsed() < PATIENCE, "redis-server does not start");
            std::thread::yield_now();
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("redis.sock")
    }

    pub(super) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, empty, where it was.
    pub(super) fn restart(&mut self) {
        self.child = spawn(&self.directory, self.port, &self.arguments);
        self.wait();
    }

    /// Stops it without closing anything, as a failover or a firewall does.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// A client of the test's own.
    pub(super) fn client(&self) -> Connection {
        let url = format!("redis+unix://{}", self.socket().display());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }

    /// Runs a command, given as words.
    pub(super) fn run(&self, command: &str) -> Value {
        let mut words = command.split(' ');
        let mut run = redis::cmd(words.next().unwrap());
        for word in words {
            run.arg(word);
        }
        run.query(&mut self.client()).unwrap()
    }

    pub(super) fn server(&self) -> RedisServer {
        RedisServer {
            address: RedisAddress::Unix(self.socket()),
            username: None,
            password: None,
            database: 0,
        }
    }

    pub(super) fn tcp_server(&self) -> RedisServer {
        tcp_server(self.port)
    }

    pub(super) fn driver(&self) -> RedisDriver {
        driver(self.server())
    }

    pub(super) fn store(&self) -> RedisStore {
        RedisStore::start(&self.driver(), TTL, Seat::detached())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(directory: &std::path::Path, port: u16, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--unixsocket", "redis.sock", "--dir", "."])
        .args([
            "--save",
            "",
            "--appendonly",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ])
        .args(arguments)
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

pub(super) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(super) fn tcp_server(port: u16) -> RedisServer {
    RedisServer {
        address: RedisAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
            tls: false,
        },
        username: None,
        password: None,
        database: 0,
    }
}

pub(super) fn with_login(server: RedisServer, user: Option<&str>, password: &str) -> RedisServer {
    RedisServer {
        username: user.map(str::to_owned),
        password: Some(Secret(password.to_owned())),
        ..server
    }
}

pub(super) fn driver(read: RedisServer) -> RedisDriver {
    RedisDriver {
        read,
        write: None,
        prefix: String::new(),
    }
}

/// Runs a test as a worker runs.
pub(super) fn run<F: Future<Output = ()>>(test: F) {
    tokio::runtime::LocalRuntime::new().unwrap().block_on(test);
}

pub(super) fn host(name: &str) -> Host {
    Host::parse(name.as_bytes()).unwrap()
}

pub(super) async fn resolve(store: &RedisStore, name: &str) -> Result<Route, RouteError> {
    let asked = Cell::default();
    let host = host(name);
    let lookup = store.lookup(&host, &asked);
    match lookup {
        Lookup::Ready(answer) => answer,
        Lookup::Pending(wait) => wait.await,
    }
}

/// The identifier that answers for a host.
pub(super) async fn vhost(store: &RedisStore, name: &str) -> String {
    match resolve(store, name).await {
        Ok(route) => route.frontend.vhost.to_string(),
        Err(RouteError::NotFound) => "not found".to_owned(),
        Err(RouteError::Unavailable { cause }) => format!("unavailable: {cause}"),
    }
}

/// The URLs of the dead backends of a host.
pub(super) async fn dead(store: &RedisStore, name: &str) -> Vec<String> {
    let route = resolve(store, name).await.unwrap();
    let all = (0..route.frontend.backends.len()).filter(|id| route.dead.contains(*id));
    all.map(|id| route.frontend.backend(id).unwrap().url.to_string())
        .collect()
}

/// Marks a backend of the frontend that serves a host now.
pub(super) async fn mark(store: &RedisStore, name: &str, id: usize) -> Marked {
    let route = resolve(store, name).await.unwrap();
    let suspect = Suspect {
        id,
        backend: route.frontend.backend(id).unwrap(),
        length: route.frontend.backends.len(),
    };
    store.mark_dead(&host(name), &suspect)
}

/// Waits until something is true, and says how long it took.
pub(super) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    is_so: impl Fn() -> F,
) -> Duration {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        sleep(Duration::from_millis(2)).await;
    }
    start.elapsed()
}
