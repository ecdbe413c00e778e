//! MiniStack: SQS, S3, STS, Kinesis, tables with streams, and what templates need, as a process on a loopback port, with nothing kept between runs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::python::{self, Environment};
use crate::wait::{self, DEADLINE};

/// The last two lines are those that the templates of `infra` make something of.
const SERVICES: &str = "sqs,s3,sts,kinesis,dynamodb,dynamodbstreams,\
    cloudformation,iam,cloudwatch,monitoring,logs,ecs,ec2,\
    lambda,autoscaling,sns,ecr,kms,events";

/// How often a port is looked for that no other process takes before the server has it.
const STARTS: usize = 3;

/// Runs its arguments until they end or its standard input closes, then kills its whole process group.
///
/// The input is a pipe that this process holds: however the test process ends, the emulator ends too, and its home
/// goes with it.
pub(crate) const SUPERVISOR: &str = r#"("$@" </dev/null; kill -KILL 0) & read -r _; rm -rf "$HOME"; kill -KILL 0"#;

/// The running emulator.
#[derive(Debug)]
pub struct MiniStack {
    port: u16,
    supervisor: Child,
    home: TempDir,
}

impl MiniStack {
    /// The one that all tests of this process share; each uses queues and buckets of its own ([`unique`]).
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MiniStack> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not start, with its log; when Python is missing, with what to install.
    #[must_use]
    pub fn start() -> Self {
        let interpreter = python::interpreter(Environment::Emulators);
        let mut log = String::new();
        for _ in 0..STARTS {
            let mut started = Self::spawn(&interpreter);
            if started.answers() {
                return started;
            }
            log = fs::read_to_string(started.home.path().join("log")).unwrap_or_default();
        }
        panic!("MiniStack does not start:\n{log}");
    }

    /// Its URL, for every service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn spawn(interpreter: &std::path::Path) -> Self {
        let home = TempDir::new().expect("a temporary directory can be created");
        let port = free_port();
        let log = File::create(home.path().join("log")).expect("the log can be created");
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(interpreter)
            .args(["-m", "hypercorn", "ministack.app:app", "-b", &format!("127.0.0.1:{port}")])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("SERVICES", SERVICES)
            .env("PERSIST_STATE", "0")
            .env("S3_PERSIST", "0")
            .env("LOG_LEVEL", "WARNING")
            // Its health page shows this, which tells our server from another one on the same port.
            .env("MINISTACK_EDITION", edition(port))
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run sh: {error}"));
        Self { port, supervisor, home }
    }

    /// Waits until it answers; false when it ended instead.
    fn answers(&mut self) -> bool {
        let start = Instant::now();
        wait::until("MiniStack answers", 2 * DEADLINE, || {
            let ended = self.supervisor.try_wait().expect("a child can be asked for").is_some();
            let given_up = start.elapsed() > DEADLINE;
            if ended || given_up {
                return Some(false);
            }
            healthy(self.port).then_some(true)
        })
    }
}

impl Drop for MiniStack {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // The supervisor kills its group, itself included.
        if let Err(error) = self.supervisor.wait() {
            assert!(std::thread::panicking(), "MiniStack could not be stopped: {error}");
        }
    }
}

/// A name for a queue or bucket that no other test has.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn edition(port: u16) -> String {
    format!("tests-{}-{port}", std::process::id())
}

/// A port that is free now.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    listener.local_addr().expect("a bound port has an address").port()
}

fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200") && answer.contains(&edition(port)))
}
