//! The service that runs functions of AWS Lambda: it hands events to a program and takes its answers.
//!
//! Source: AWS Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes".

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc as queue, oneshot};

use crate::wait::DEADLINE;

/// The version of the interface, which begins every path.
const VERSION: &str = "/2018-06-01/runtime";

/// The id of every invocation; there is one at a time.
const REQUEST_ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

/// What a function answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// The result of an invocation.
    Response(Json),
    /// An invocation failed.
    Failed(Json),
    /// The function could not start.
    NotStarted(Json),
}

/// The running service; it ends when this is dropped.
#[derive(Debug)]
pub struct Lambda {
    address: SocketAddr,
    events: queue::UnboundedSender<Json>,
    answers: mpsc::Receiver<Answered>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

struct Shared {
    events: Mutex<queue::UnboundedReceiver<Json>>,
    answers: mpsc::Sender<Answered>,
    time: Duration,
}

impl Lambda {
    /// Starts it; each invocation may take this long.
    #[must_use]
    pub fn start(time: Duration) -> Self {
        let (events, next) = queue::unbounded_channel();
        let (answer, answers) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (started, address) = mpsc::channel();
        let shared = Arc::new(Shared { events: Mutex::new(next), answers: answer, time });
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
                started.send(listener.local_addr().expect("a bound port has an address")).expect("the test waits");
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().expect("the server starts");
        Self { address, events, answers, stop: Some(stop), server: Some(server) }
    }

    /// What it sets in the environment of a function.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_LAMBDA_RUNTIME_API", self.address.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", "stream".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("_HANDLER", "bootstrap".to_owned()),
        ]
    }

    /// Invokes the function, and waits for what it answers.
    #[must_use]
    pub fn invoke(&self, event: Json) -> Answered {
        self.events.send(event).expect("the server runs");
        self.answer()
    }

    /// What the function says next.
    #[must_use]
    pub fn answer(&self) -> Answered {
        self.answers.recv_timeout(DEADLINE).expect("the function answers")
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.server.take().map(JoinHandle::join));
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &shared));
            // A connection that breaks is the client's to notice.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let said = serde_json::from_slice(&body).unwrap_or(Json::Null);
    let path = parts.uri.path().strip_prefix(VERSION).unwrap_or_default();
    let invocation = path.strip_prefix("/invocation/");
    let told = match (parts.method, path, invocation.and_then(|path| path.split_once('/'))) {
        (Method::GET, "/invocation/next", _) => return Ok(next(shared).await),
        (Method::POST, "/init/error", _) => Answered::NotStarted(said),
        (Method::POST, _, Some((REQUEST_ID, "response"))) => Answered::Response(said),
        (Method::POST, _, Some((REQUEST_ID, "error"))) => Answered::Failed(said),
        _ => return Ok(empty(StatusCode::NOT_FOUND)),
    };
    // The test may be over.
    drop(shared.answers.send(told));
    Ok(empty(StatusCode::ACCEPTED))
}

/// The next event, whenever it comes.
async fn next(shared: &Shared) -> Response<Full<Bytes>> {
    let Some(event) = shared.events.lock().await.recv().await else { return empty(StatusCode::GONE) };
    let ends = std::time::SystemTime::now() + shared.time;
    let ends = ends.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let answer = Response::builder()
        .header("lambda-runtime-aws-request-id", REQUEST_ID)
        .header("lambda-runtime-deadline-ms", ends.as_millis().to_string())
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:stream")
        .header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700");
    answer.body(Full::new(Bytes::from(event.to_string()))).expect("the headers are plain")
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).expect("there are no headers")
}
