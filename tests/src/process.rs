//! The real programs as processes: a clean environment, captured output, signals, and no process left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_credential_types::Credentials;
use tempfile::TempDir;

use crate::wait;

/// The region that the tests work in; the emulators take any.
pub const REGION: &str = "us-east-1";

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// How long a program may run that is expected to end by itself.
const RUN: Duration = Duration::from_secs(120);

/// The credentials of every client in the tests; the emulators take any.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests")
}

/// The programs under test, and the environment that they run in.
///
/// They see this environment only, have an empty home of their own, and work in it.
#[derive(Debug)]
pub struct Programs {
    dynamend: PathBuf,
    worker: PathBuf,
    home: TempDir,
    environment: Vec<(String, String)>,
    runs: AtomicU64,
}

/// What a program left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its whole standard output.
    pub stdout: String,
    /// Its whole standard error.
    pub stderr: String,
}

/// A running program, which is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Programs {
    /// Test binaries pass `env!("CARGO_BIN_EXE_dynamend-under-test")` and `env!("CARGO_BIN_EXE_dynamend-worker-under-test")`.
    #[must_use]
    pub fn new(dynamend: impl Into<PathBuf>, worker: impl Into<PathBuf>) -> Self {
        let home = TempDir::new().expect("a temporary directory can be created");
        let path = home.path().to_str().expect("a temporary directory has a plain name").to_owned();
        let environment = [
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", path.clone()),
            ("TMPDIR", path),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Self { dynamend: dynamend.into(), worker: worker.into(), home, environment, runs: AtomicU64::new(0) }
    }

    /// Sets one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where they find DynamoDB and its streams.
    #[must_use]
    pub fn with_dynamodb(self, endpoint: &str) -> Self {
        self.with("AWS_ENDPOINT_URL_DYNAMODB", endpoint).with("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", endpoint)
    }

    /// Where they find SQS, S3 and STS.
    #[must_use]
    pub fn with_services(self, endpoint: &str) -> Self {
        ["SQS", "S3", "STS"]
            .iter()
            .fold(self, |programs, service| programs.with(&format!("AWS_ENDPOINT_URL_{service}"), endpoint))
    }

    /// Their home and working directory, where the default store `.dynamend` is.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs the coordinator to its end.
    #[must_use]
    pub fn dynamend(&self, arguments: &[&str]) -> Finished {
        self.spawn_dynamend(arguments).wait(RUN)
    }

    /// Starts the coordinator.
    #[must_use]
    pub fn spawn_dynamend(&self, arguments: &[&str]) -> Running {
        self.spawn_dynamend_in(&[], arguments)
    }

    /// Starts the coordinator with more variables, or others, in its environment.
    #[must_use]
    pub fn spawn_dynamend_in(&self, more: &[(String, String)], arguments: &[&str]) -> Running {
        self.spawn_named(&self.dynamend, "dynamend", more, arguments)
    }

    /// Runs a worker to its end, which it needs `--drain` for.
    #[must_use]
    pub fn worker(&self, arguments: &[&str]) -> Finished {
        self.spawn_worker(arguments).wait(RUN)
    }

    /// Starts a worker.
    #[must_use]
    pub fn spawn_worker(&self, arguments: &[&str]) -> Running {
        self.spawn_worker_in(&[], arguments)
    }

    /// Starts a worker with more variables, or others, in its environment.
    #[must_use]
    pub fn spawn_worker_in(&self, more: &[(String, String)], arguments: &[&str]) -> Running {
        self.spawn_named(&self.worker, "dynamend-worker", more, arguments)
    }

    /// Starts another program, in the same environment.
    #[must_use]
    pub fn spawn(&self, program: &Path, arguments: &[&str]) -> Running {
        let name = program.file_name().expect("a program has a name").to_string_lossy();
        self.spawn_named(program, &name, &[], arguments)
    }

    fn spawn_named(&self, program: &Path, name: &str, more: &[(String, String)], arguments: &[&str]) -> Running {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        // Files, and not pipes: they can be looked at while the program runs, and never make it wait.
        let output = |kind: &str| self.home().join(format!("{number}-{name}.{kind}"));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        let create = |path: &Path| File::create(path).expect("the output can be created");
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.environment.iter().chain(more).map(|(name, value)| (name, value)))
            .current_dir(self.home())
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", program.display()));
        Running { child, name: format!("{name} {}", arguments.join(" ")), stdout, stderr }
    }
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Whether it still runs; a stopped program does.
    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// Waits until standard error contains this text.
    pub fn wait_for_stderr(&mut self, text: &str, deadline: Duration) {
        wait::until(&format!("`{}` says `{text}`", self.name), deadline, || {
            let said = self.stderr().contains(text);
            assert!(said || self.is_running(), "`{}` ended without `{text}`:\n{}", self.name, self.stderr());
            said.then_some(())
        });
    }

    /// SIGTERM: it may end in good order.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGINT: as Ctrl-C.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// SIGSTOP: it stands still, as a machine that hangs.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// SIGKILL: it ends at once, and cannot do anything about it.
    #[must_use]
    pub fn kill(mut self) -> Finished {
        self.child.kill().expect("a child can be killed");
        self.wait(wait::DEADLINE)
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When the deadline passes first, with what it wrote.
    #[must_use]
    pub fn wait(mut self, deadline: Duration) -> Finished {
        let start = std::time::Instant::now();
        let status = wait::until(&format!("`{}` ends", self.name), 2 * deadline, || {
            let late = start.elapsed() > deadline;
            self.status().or_else(|| {
                assert!(!late, "`{}` still runs after {deadline:?}:\n{}{}", self.name, self.stdout(), self.stderr());
                None
            })
        });
        Finished { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for")
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        let sent = status.expect("the `kill` program can be run").success();
        assert!(sent, "`{}` could not be sent SIG{signal}; it may have ended:\n{}", self.name, self.stderr());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("the output can be read")).into_owned()
}
