//! Between the programs and a service: a relay that notes every call, and may answer some of them itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers, under names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// A request and the status of its answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request.
    pub request: Request,
    /// The answer's status.
    pub status: u16,
    /// The answer's headers.
    pub answered: BTreeMap<String, String>,
}

/// An answer in place of the service's.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

type Answers = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

/// The running relay; it ends when this is dropped.
pub struct Relay {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    stop: Option<oneshot::Sender<()>>,
    relay: Option<JoinHandle<()>>,
}

impl Relay {
    /// Passes everything on to this endpoint.
    #[must_use]
    pub fn before(endpoint: &str) -> Self {
        Self::answering(endpoint, |_| None)
    }

    /// Passes on what `answers` has no answer to.
    #[must_use]
    pub fn answering(endpoint: &str, answers: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let target: SocketAddr =
            endpoint.trim_start_matches("http://").parse().expect("an emulator's endpoint is an address");
        let (answers, calls): (Answers, _) = (Arc::new(answers), Arc::<Mutex<Vec<Call>>>::default());
        let (stop, stopped) = oneshot::channel();
        let (started, address) = std::sync::mpsc::channel();
        let noted = Arc::clone(&calls);
        let relay = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
                started.send(listener.local_addr().expect("a bound port has an address")).expect("the test waits");
                tokio::select! {
                    () = accept(listener, target, answers, noted) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("the relay starts");
        Self { address, calls, stop: Some(stop), relay: Some(relay) }
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was called since this was last asked.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.relay.take().map(JoinHandle::join));
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, answers: Answers, calls: Arc<Mutex<Vec<Call>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (answers, calls) = (Arc::clone(&answers), Arc::clone(&calls));
        // A connection that breaks is the client's to notice.
        tokio::spawn(async move { serve(client, target, answers, calls).await.ok() });
    }
}

async fn serve(
    client: TcpStream,
    target: SocketAddr,
    answers: Answers,
    calls: Arc<Mutex<Vec<Call>>>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut server = BufReader::new(TcpStream::connect(target).await?);
    let mut is_used = false;
    while let Some((head, first, headers)) = head(&mut client).await? {
        let body = body(&mut client, &headers, &first).await?;
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let request = Request { method, target: path, headers, body: body.clone() };
        let note = |status, answered| {
            let call = Call { request: request.clone(), status, answered };
            calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        };
        if let Some(Reply { status, content_type, body }) = answers(&request) {
            note(status, BTreeMap::new());
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} Made-up\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            client.write_all(answer.as_bytes()).await?;
            continue;
        }
        let message = [head, body].concat();
        let mut answer = ask(&mut server, &message).await;
        if is_used && !matches!(answer, Ok(Some(_))) {
            // The service closed a connection that was idle; a client of its own would have seen it.
            server = BufReader::new(TcpStream::connect(target).await?);
            answer = ask(&mut server, &message).await;
        }
        is_used = true;
        let Some((head, first, headers)) = answer? else { return Ok(()) };
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
        let body = if bodiless { Vec::new() } else { self::body(&mut server, &headers, &first).await? };
        // Noted before it is passed on: a test that has seen the effect finds the call.
        note(status, headers);
        client.write_all(&[head, body].concat()).await?;
    }
    Ok(())
}

/// Sends a request, and reads the head of its answer.
async fn ask(server: &mut BufReader<TcpStream>, message: &[u8]) -> std::io::Result<Option<Head>> {
    server.write_all(message).await?;
    head(server).await
}

type Head = (Vec<u8>, String, BTreeMap<String, String>);

/// First line and headers, as they came and as they are read; none at the end of the connection.
async fn head(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Head>> {
    let (mut head, mut first, mut headers) = (Vec::new(), None, BTreeMap::new());
    loop {
        let start = head.len();
        if from.read_until(b'\n', &mut head).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&head[start..]).trim_end().to_owned();
        match (&first, line.split_once(':')) {
            (Some(first), _) if line.is_empty() => return Ok(Some((head, String::clone(first), headers))),
            (Some(_), Some((name, value))) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            (Some(_), None) => {}
            (None, _) => first = Some(line),
        }
    }
}

/// The body as it came, its chunks included.
async fn body(
    from: &mut (impl AsyncBufRead + Unpin),
    headers: &BTreeMap<String, String>,
    first: &str,
) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            let start = body.len();
            from.read_until(b'\n', &mut body).await?;
            let size = String::from_utf8_lossy(&body[start..]).trim().to_owned();
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16).unwrap_or(0);
            from.take(size + 2).read_to_end(&mut body).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match headers.get("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => drop(from.take(length).read_to_end(&mut body).await?),
        None if first.starts_with("HTTP/") => drop(from.read_to_end(&mut body).await?),
        None => {}
    }
    Ok(body)
}
