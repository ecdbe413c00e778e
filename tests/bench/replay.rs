//! A DynamoDB whose tables are made up while they are read: any number of items, and next to no work for it.
//!
//! It is a process of its own, this program again, so that what it takes is not counted as what its client takes. It
//! answers DescribeTable, Scan and BatchGetItem, meters them as the service does, and can be some milliseconds away.
//! What a table holds is in its name; see [`tables`].

mod http;
pub(crate) mod tables;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use self::tables::Tables;

/// The argument that makes this program the server.
pub(crate) const CHILD: &str = "replay-server";

/// A running server; it ends when this is dropped.
pub(crate) struct Replay {
    server: Child,
    address: String,
}

/// What was asked of the server since it was last said, as the service would have metered it.
#[derive(Debug)]
pub(crate) struct Metered {
    /// Read units of all tables' scans.
    pub(crate) scans: f64,
    /// Read units of all tables' reads by key.
    pub(crate) gets: f64,
    /// From the first page of a scan to the last.
    pub(crate) seconds: f64,
}

impl Metered {
    pub(crate) fn units(&self) -> f64 {
        self.scans + self.gets
    }
}

impl Replay {
    /// Every segment of every table has this many items, or what the table's name makes of it.
    pub(crate) fn start(items_per_segment: u64, latency: Duration) -> Self {
        let program = std::env::current_exe().expect("a program knows its path");
        let mut server = Command::new(program)
            .args([CHILD, &items_per_segment.to_string(), &latency.as_millis().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let mut address = String::new();
        let said = server.stdout.as_mut().expect("its output is a pipe");
        BufReader::new(said).read_line(&mut address).expect("it says its address");
        Self { server, address: address.trim().to_owned() }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was metered since this was last asked.
    pub(crate) fn metered(&self) -> Metered {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(&self.address).expect("the server is there");
        stream.write_all(b"GET /metered HTTP/1.1\r\n\r\n").expect("it can be asked");
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        let body: Value = serde_json::from_str(body).expect("the body is JSON");
        let number = |name: &str| body[name].as_f64().expect("it says this number");
        Metered { scans: number("scans"), gets: number("gets"), seconds: number("seconds") }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// The server itself: until its standard input closes, as it does however the benchmark ends.
pub(crate) async fn serve(settings: &[&str]) {
    let numbers: Vec<u64> = settings.iter().map(|text| text.parse().expect("settings are numbers")).collect();
    let [items_per_segment, latency] = numbers.as_slice() else { panic!("two settings are expected") };
    let tables = Tables { items_per_segment: *items_per_segment };
    tokio::select! {
        () = http::serve(tables, Duration::from_millis(*latency)) => {}
        _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])) => {}
    }
}
