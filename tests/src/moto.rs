//! moto's server, for Application Auto Scaling, which MiniStack does not have: a process on a loopback port.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ministack::{SUPERVISOR, free_port};
use crate::python::{self, Environment};
use crate::wait::{self, DEADLINE};

/// The running server.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    supervisor: Child,
    home: TempDir,
}

impl Moto {
    /// Starts one and waits until it answers.
    ///
    /// # Panics
    /// When it does not start, with its log; when Python is missing, with what to install.
    #[must_use]
    pub fn start() -> Self {
        let home = TempDir::new().expect("a temporary directory can be created");
        let port = free_port();
        let log = File::create(home.path().join("log")).expect("the log can be created");
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(python::interpreter(Environment::Aws))
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run sh: {error}"));
        let mut moto = Self { port, supervisor, home };
        let start = Instant::now();
        wait::until("moto's server answers", 2 * DEADLINE, || {
            let ended = moto.supervisor.try_wait().expect("a child can be asked for").is_some();
            let log = || fs::read_to_string(moto.home.path().join("log")).unwrap_or_default();
            assert!(!ended && start.elapsed() < 2 * DEADLINE, "moto's server does not start:\n{}", log());
            healthy(port).then_some(())
        });
        moto
    }

    /// Its URL, for every service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // The supervisor kills its group, itself included.
        if let Err(error) = self.supervisor.wait() {
            assert!(std::thread::panicking(), "moto's server could not be stopped: {error}");
        }
    }
}

fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /moto-api/data.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
