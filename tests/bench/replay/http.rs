//! The server's side of a connection: as much HTTP/1.1 as the SDKs' clients speak, and the meter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::tables::Tables;

/// What was asked for since it was last said.
#[derive(Default)]
struct Meter {
    scans: f64,
    gets: f64,
    first: Option<Instant>,
    last: Option<Instant>,
}

struct Server {
    tables: Tables,
    latency: Duration,
    meter: Mutex<Meter>,
}

/// A request, as far as it matters.
struct Request {
    operation: String,
    body: Value,
}

/// Says its address and serves whoever comes.
pub(super) async fn serve(tables: Tables, latency: Duration) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port is free");
    println!("{}", listener.local_addr().expect("a bound port has an address"));
    let server = Arc::new(Server { tables, latency, meter: Mutex::default() });
    while let Ok((client, _)) = listener.accept().await {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            // A connection that breaks is the client's to notice.
            let _ = server.converse(client).await;
        });
    }
}

impl Server {
    async fn converse(&self, mut client: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        let (mut received, mut answer) = (Vec::new(), Vec::new());
        while let Some(request) = receive(&mut client, &mut received).await? {
            answer.clear();
            let is_table_call = !request.operation.is_empty();
            if is_table_call {
                tokio::time::sleep(self.latency).await;
                self.call(&request, &mut answer);
            } else {
                answer.extend(self.metered().to_string().bytes());
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            client.write_all(head.as_bytes()).await?;
            client.write_all(&answer).await?;
            if !is_table_call {
                return client.shutdown().await;
            }
        }
        Ok(())
    }

    fn call(&self, request: &Request, answer: &mut Vec<u8>) {
        match request.operation.as_str() {
            "DescribeTable" => self.tables.describe(&request.body, answer),
            "Scan" => {
                let units = self.tables.scan(&request.body, answer);
                let mut meter = self.meter();
                let now = Instant::now();
                meter.first.get_or_insert(now);
                meter.last = Some(now);
                meter.scans += units;
            }
            "BatchGetItem" => {
                let units = self.tables.get(&request.body, answer);
                self.meter().gets += units;
            }
            other => panic!("{other} is not for a server that only replays"),
        }
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metered(&self) -> Value {
        let Meter { scans, gets, first, last } = std::mem::take(&mut *self.meter());
        let seconds = first.zip(last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        json!({ "scans": scans, "gets": gets, "seconds": seconds })
    }
}

/// The next request of a connection, if there is one.
async fn receive(client: &mut TcpStream, received: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    loop {
        if let Some((request, length)) = parse(received) {
            received.drain(..length);
            return Ok(Some(request));
        }
        if client.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

/// The request that the bytes begin with, and its length, once it is whole.
fn parse(bytes: &[u8]) -> Option<(Request, usize)> {
    let head_ends = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_ends]).expect("a head is text");
    let header = |wanted: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let body_length: usize = header("content-length").map_or(0, |text| text.parse().expect("a length is a number"));
    let body = bytes.get(head_ends..head_ends + body_length)?;
    let operation = header("x-amz-target").and_then(|target| target.split_once('.')).map_or("", |(_, name)| name);
    let body = serde_json::from_slice(body).unwrap_or(Value::Null);
    Some((Request { operation: operation.to_owned(), body }, head_ends + body_length))
}
