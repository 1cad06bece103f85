//! A Redis server of the test's own.

use std::collections::HashSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::resp::{Connection, Value};
use super::{Directory, SOON, eventually, process};

/// A port below the range that outgoing connections take, so that it can be bound again later.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap();
    let given = given.get_or_insert_default();
    loop {
        let mut random = [0; 2];
        let mut source = std::fs::File::open("/dev/urandom").unwrap();
        std::io::Read::read_exact(&mut source, &mut random).unwrap();
        let port = 10_000 + u16::from_le_bytes(random) % 22_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port) {
            return port;
        }
    }
}

/// A Redis server, killed on drop.
pub(crate) struct Redis {
    directory: Directory,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts one with no settings of its own.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts one with these further arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut redis = Self::stopped(arguments);
        redis.resume();
        redis
    }

    /// Reserves a port, starts nothing.
    pub(crate) fn stopped(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self {
            directory: Directory::fresh(),
            port: free_port(),
            arguments,
            child: None,
        }
    }

    /// Starts the server on its port; what it knew before is forgotten.
    pub(crate) fn resume(&mut self) {
        let directory = self.directory.path().display().to_string();
        let port = self.port.to_string();
        let socket = self.socket();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--dir", &directory])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--unixsocket", &socket, "--unixsocketperm", "777"])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        eventually("redis-server answers", SOON, || {
            let pong = Connection::tcp(self.port).ok()?.command(&["PING"]).ok()?;
            (!matches!(&pong, Value::Error(text) if text.starts_with("LOADING"))).then_some(())
        });
    }

    /// Kills the server: its port refuses, its connections are reset.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Stops it in its tracks: connections stay, nothing is answered.
    pub(crate) fn freeze(&self) {
        process::signal(self.child.as_ref().unwrap().id(), Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        process::signal(self.child.as_ref().unwrap().id(), Signal::SIGCONT);
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The driver URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its socket file.
    pub(crate) fn socket(&self) -> String {
        self.directory.join("redis.sock").display().to_string()
    }

    /// A connection of its own.
    pub(crate) fn connection(&self) -> Connection {
        Connection::tcp(self.port).unwrap()
    }

    /// One command on a connection of its own; errors fail the test.
    pub(crate) fn run(&self, words: &[&str]) -> Value {
        let answer = self.connection().command(words).unwrap();
        assert!(!matches!(answer, Value::Error(_)), "{words:?}: {answer:?}");
        answer
    }

    /// Writes a frontend: identifier `id-<host>`, then the backends.
    pub(crate) fn route(&self, host: &str, backends: &[&str]) {
        let (key, id) = (format!("frontend:{host}"), format!("id-{host}"));
        self.run(&["DEL", &key]);
        self.run(&[&["RPUSH", &key, &id], backends].concat());
    }

    /// The members of a host's dead set, sorted.
    pub(crate) fn dead(&self, host: &str) -> Vec<String> {
        self.run(&["SMEMBERS", &format!("dead:{host}")]).texts()
    }

    /// Listens to a channel.
    pub(crate) fn subscribe(&self, channel: &str) -> Subscriber {
        let mut connection = self.connection();
        connection.command(&["SUBSCRIBE", channel]).unwrap();
        Subscriber { connection }
    }

    /// Sees every command from now on.
    pub(crate) fn monitor(&self) -> Monitor {
        let mut connection = self.connection();
        connection.command(&["MONITOR"]).unwrap();
        Monitor { connection }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A subscription to one channel.
pub(crate) struct Subscriber {
    connection: Connection,
}

impl Subscriber {
    /// The next message; `None` when there is none within the limit.
    pub(crate) fn next(&mut self, limit: Duration) -> Option<String> {
        self.connection.set_limit(limit);
        let Ok(Value::List(items)) = self.connection.value() else {
            return None;
        };
        match items.into_iter().nth(2) {
            Some(Value::Text(text)) => Some(text),
            other => panic!("no message: {other:?}"),
        }
    }
}

/// Every command that the server gets.
pub(crate) struct Monitor {
    connection: Connection,
}

impl Monitor {
    /// The commands up to one that contains this text, that one included.
    pub(crate) fn until(&mut self, needle: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let Ok(Value::Text(line)) = self.connection.value() else {
                panic!("no command with {needle:?} in {seen:#?}");
            };
            let found = line.contains(needle);
            seen.push(line);
            if found {
                return seen;
            }
        }
    }
}

/// The server can be asked, heard, watched, frozen, killed and started again on its port.
#[test]
fn redis_of_the_harness_does_what_tests_ask_of_it() {
    let mut redis = Redis::start();
    let (mut subscriber, mut monitor) = (redis.subscribe("dead"), redis.monitor());
    redis.route("a.test", &["http://127.0.0.1:1"]);
    redis.run(&["PUBLISH", "dead", "message"]);
    assert_eq!(subscriber.next(SOON).as_deref(), Some("message"));
    assert!(
        monitor
            .until("PUBLISH")
            .iter()
            .any(|line| line.contains("frontend:a.test"))
    );
    redis.freeze();
    let mut silent = redis.connection();
    silent.set_limit(Duration::from_millis(50));
    assert!(silent.command(&["PING"]).is_err());
    redis.thaw();
    assert!(redis.dead("a.test").is_empty());
    assert!(std::path::Path::new(&redis.socket()).exists());
    let port = redis.port();
    redis.kill();
    assert!(Connection::tcp(port).is_err());
    redis.resume();
    assert_eq!(redis.run(&["EXISTS", "frontend:a.test"]).int(), 0);
}
