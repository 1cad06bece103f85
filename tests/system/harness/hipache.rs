//! The real binary, started in a directory of its own.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::config::{defaults, merge};
use super::etc::PrivateEtc;
use super::run::binary;
use super::{Client, Directory, Line, Log, Redis, Response, SOON, Scrape, eventually, process};

/// A proxy to be started.
pub(crate) struct Starter {
    directory: Directory,
    config: Value,
    arguments: Option<Vec<String>>,
    env: Vec<(String, String)>,
    wrapper: Vec<String>,
    has_own_binary: bool,
    lent: Vec<OwnedFd>,
    etc: Option<PrivateEtc>,
}

impl Starter {
    /// The binary, with what surrounds it: another program, or an /etc of its own.
    fn command(&self) -> Command {
        if let [program, arguments @ ..] = self.wrapper.as_slice() {
            let mut wrapped = Command::new(program);
            wrapped.args(arguments).arg(self.binary());
            return wrapped;
        }
        let with_etc = self.etc.as_ref().map(PrivateEtc::command);
        with_etc.unwrap_or_else(|| Command::new(self.binary()))
    }

    fn binary(&self) -> PathBuf {
        match self.has_own_binary {
            true => self.directory.join("hipache"),
            false => binary().into(),
        }
    }

    /// Starts a copy of the binary, in its directory, which may be replaced.
    pub(crate) fn own_binary(mut self) -> Self {
        replace(&self.directory, binary().as_ref());
        self.has_own_binary = true;
        self
    }

    /// Puts these keys over the configuration; `null` removes one.
    pub(crate) fn set(mut self, keys: &Value) -> Self {
        merge(&mut self.config, keys);
        self
    }

    /// Reads routes from this Redis.
    pub(crate) fn redis(self, redis: &Redis) -> Self {
        let url = redis.url();
        self.set(&json!({ "driver": url }))
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Limits the descriptors of each of its processes.
    pub(crate) fn descriptors(self, limit: u32) -> Self {
        self.through(&["prlimit", &format!("--nofile={limit}:{limit}")])
    }

    /// Starts it by this program, which is given the binary and its arguments.
    pub(crate) fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// Lends it listening sockets as a service manager does: one or two, under these names.
    pub(crate) fn lend(mut self, sockets: &[(&str, &TcpListener)]) -> Self {
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        let lent = sockets.iter().map(|(_, it)| it.try_clone().unwrap().into());
        self.lent = lent.collect();
        let count = sockets.len().to_string();
        // What a child inherits for sure is its standard input and output.
        let script = "exec 3<&0 4>&1 </dev/null >stdout; LISTEN_PID=$$ exec \"$0\" \"$@\"";
        self.through(&["sh", "-c", script])
            .env("LISTEN_FDS", &count)
            .env("LISTEN_FDNAMES", &names.join(":"))
    }

    /// Starts without a configuration file, with these arguments.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = Some(arguments.iter().map(ToString::to_string).collect());
        self
    }

    /// Runs it with an `/etc` of its own.
    pub(crate) fn etc(mut self, etc: PrivateEtc) -> Self {
        self.etc = Some(etc);
        self
    }

    /// The directory that it will run in.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Starts it and waits until every worker serves.
    #[track_caller]
    pub(crate) fn start(self) -> Hipache {
        let workers = match &self.arguments {
            None => self.config["server"]["workers"].as_u64().unwrap_or(1),
            Some(_) => 1,
        };
        let log = Log::at(&self.log_path());
        let mut hipache = self.spawn(log);
        hipache.wait_until_ready(usize::try_from(workers).unwrap());
        hipache
    }

    /// Starts it without waiting for more than its process.
    pub(crate) fn launch(self) -> Hipache {
        let log = Log::at(&self.log_path());
        self.spawn(log)
    }

    fn log_path(&self) -> PathBuf {
        match &self.arguments {
            Some(_) => self.directory.join("stdout"),
            None => self.config["server"]["accessLog"]
                .as_str()
                .unwrap_or("/nowhere")
                .into(),
        }
    }

    fn spawn(self, log: Log) -> Hipache {
        let file = self.directory.write("config.json", self.config.to_string());
        let file = file.display().to_string();
        let mut command = self.command();
        let arguments = self
            .arguments
            .unwrap_or_else(|| vec!["--config".to_owned(), file]);
        let stdout = std::fs::File::create(self.directory.join("stdout")).unwrap();
        let mut lent = self.lent.into_iter();
        let mut child = command
            .args(&arguments)
            .current_dir(self.directory.path())
            .env_remove("SETTINGS_FLAVOR")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(lent.next().map_or_else(Stdio::null, Stdio::from))
            .stdout(lent.next().map_or_else(|| stdout.into(), Stdio::from))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let pipe = child.stderr.take().unwrap();
        let sink = Arc::clone(&stderr);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        let addresses = Vec::new();
        Hipache {
            directory: self.directory,
            config: self.config,
            _etc: self.etc,
            child,
            ended: None,
            stderr,
            addresses,
            log,
        }
    }
}

/// A running proxy, ended on drop.
pub(crate) struct Hipache {
    directory: Directory,
    config: Value,
    _etc: Option<PrivateEtc>,
    child: Child,
    ended: Option<ExitStatus>,
    stderr: Arc<Mutex<Vec<String>>>,
    addresses: Vec<SocketAddr>,
    log: Log,
}

impl Hipache {
    /// A proxy with one worker on 127.0.0.1, to be told where its routes are.
    pub(crate) fn builder() -> Starter {
        let directory = Directory::fresh();
        let config = defaults(directory.path());
        Starter {
            directory,
            config,
            arguments: None,
            env: Vec::new(),
            wrapper: Vec::new(),
            has_own_binary: false,
            lent: Vec::new(),
            etc: None,
        }
    }

    /// One worker with the routes of this Redis.
    #[track_caller]
    pub(crate) fn on(redis: &Redis) -> Self {
        Self::builder().redis(redis).start()
    }

    /// As `on`, with these keys over the configuration.
    #[track_caller]
    pub(crate) fn with(redis: &Redis, keys: &Value) -> Self {
        Self::builder().redis(redis).set(keys).start()
    }

    /// The first address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Every address that it listens on.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of its admin listener.
    #[track_caller]
    pub(crate) fn admin(&self) -> SocketAddr {
        let told = self.stderr();
        let line = told.iter().find(|line| line.contains("admin listens"));
        line.and_then(|line| address(line))
            .expect("admin listens address=")
    }

    /// Asks the admin listener.
    #[track_caller]
    pub(crate) fn ask(&self, path: &str) -> Response {
        let mut client = Client::connect(self.admin());
        client.get("admin", path);
        client.response()
    }

    /// The metrics of all workers.
    #[track_caller]
    pub(crate) fn scrape(&self) -> Scrape {
        let response = self.ask("/metrics");
        assert_eq!(response.status, 200);
        Scrape::parse(response.text())
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its access log.
    pub(crate) fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// A new connection to it.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// A `GET` on a connection of its own; leaves its access-log line untouched.
    #[track_caller]
    pub(crate) fn get(&self, host: &str, target: &str) -> Response {
        let mut client = self.client();
        client.get(host, target);
        client.response()
    }

    /// A `GET` on a connection of its own, whose line is the next and agrees with the response.
    #[track_caller]
    pub(crate) fn exchange(&mut self, host: &str, target: &str) -> (Response, Line) {
        let response = self.get(host, target);
        let line = self.line_of(&format!("GET {target} HTTP/1.1"), &response);
        (response, line)
    }

    /// Takes the next line, which must be of this request and agree with the response.
    #[track_caller]
    pub(crate) fn line_of(&mut self, request: &str, response: &Response) -> Line {
        let line = self.log.next();
        let logged = (line.request.as_str(), line.status, line.bytes);
        assert_eq!(
            logged,
            (request, response.status, response.raw_length),
            "{line:?}"
        );
        line
    }

    /// Puts another program in the place of its own binary, as a package manager does.
    pub(crate) fn install(&self, program: &Path) {
        replace(&self.directory, program);
    }

    /// Puts these keys over its configuration file; `null` removes one.
    pub(crate) fn configure(&mut self, keys: &Value) {
        merge(&mut self.config, keys);
        self.directory.write("config.json", self.config.to_string());
    }

    /// Reloads, with these keys over its configuration, and waits until that is in force.
    #[track_caller]
    pub(crate) fn reload(&mut self, keys: &Value) {
        let before = self.count_stderr("reloaded");
        self.configure(keys);
        self.signal(Signal::SIGHUP);
        self.wait_for_stderr("reloaded", before + 1);
    }

    /// Sends a signal to the master.
    pub(crate) fn signal(&self, signal: Signal) {
        process::signal(self.child.id(), signal);
    }

    /// The master's process id.
    pub(crate) fn master(&self) -> u32 {
        self.child.id()
    }

    /// The workers' process ids.
    pub(crate) fn workers(&self) -> Vec<u32> {
        process::children(self.child.id())
    }

    /// Waits until there are so many workers and none of them is among the old ones.
    pub(crate) fn wait_for_workers(&self, count: usize, gone: &[u32]) -> Vec<u32> {
        eventually("the workers", SOON, || {
            let workers = self.workers();
            let fresh = !workers.iter().any(|worker| gone.contains(worker));
            (fresh && workers.len() == count).then_some(workers)
        })
    }

    /// Resident memory of a worker in bytes.
    pub(crate) fn resident(worker: u32) -> u64 {
        process::status(worker, "VmRSS")[0] * 1024
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until so many lines of standard error contain this text.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&self, needle: &str, count: usize) {
        eventually(&format!("{count} × {needle:?} on stderr"), SOON, || {
            (self.count_stderr(needle) >= count).then_some(())
        });
    }

    /// How many lines of standard error contain this text.
    pub(crate) fn count_stderr(&self, needle: &str) -> usize {
        self.stderr()
            .iter()
            .filter(|line| line.contains(needle))
            .count()
    }

    /// Waits for the master's end.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let status = eventually("the end of the proxy", limit, || {
            self.child.try_wait().unwrap()
        });
        self.ended = Some(status);
        status
    }

    /// Ends it in an orderly way; the access log is complete afterwards.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait(SOON);
        assert_eq!(status.code(), Some(0), "exit status after SIGTERM");
    }

    #[track_caller]
    fn wait_until_ready(&mut self, workers: usize) {
        let start = Instant::now();
        while self.count_stderr("worker ready") < workers {
            let ended = self.child.try_wait().unwrap();
            self.ended = ended;
            assert!(
                ended.is_none(),
                "the proxy ended with {ended:?} before it was ready"
            );
            assert!(
                start.elapsed() < SOON,
                "the proxy was not ready within {SOON:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        for line in self.stderr() {
            let listening = line
                .contains("listening")
                .then_some(())
                .and_then(|()| address(&line));
            if let Some(address) = listening.filter(|address| !self.addresses.contains(address)) {
                self.addresses.push(address);
            }
        }
        assert!(
            !self.addresses.is_empty(),
            "no `listening … address=` on stderr"
        );
    }
}

impl Drop for Hipache {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- standard error of the proxy, last lines");
            for line in self.stderr().iter().rev().take(60).rev() {
                eprintln!("{line}");
            }
            let text = std::fs::read_to_string(self.log.path()).unwrap_or_default();
            eprintln!("--- its access log, last lines");
            for line in text.lines().rev().take(40).collect::<Vec<_>>().iter().rev() {
                eprintln!("{line}");
            }
        }
        if self.ended.is_none() && !matches!(self.child.try_wait(), Ok(Some(_))) {
            let workers = self.workers();
            self.child.kill().ok();
            self.child.wait().ok();
            for worker in workers {
                process::signal(worker, Signal::SIGKILL);
            }
        }
    }
}

/// By rename: a program that runs cannot be written to.
fn replace(directory: &Directory, program: &Path) {
    let draft = directory.join("hipache.new");
    std::fs::copy(program, &draft).unwrap();
    std::fs::rename(draft, directory.join("hipache")).unwrap();
}

fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line
        .split_once("address=")
        .or_else(|| line.split_once("\"address\":"))?;
    rest.split([' ', '"', ',', '}'])
        .find(|word| !word.is_empty())?
        .parse()
        .ok()
}
