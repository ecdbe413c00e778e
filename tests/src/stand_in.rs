//! A stand-in for a service: a small HTTP server that a test answers for.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// An answer; none, and whoever asked waits in vain.
pub type Answer = Option<Response<Full<Bytes>>>;

type Answers = Arc<dyn Fn(&Parts, &[u8]) -> Answer + Send + Sync>;

/// The running server; it ends when this is dropped.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Starts it, on a runtime of its own; `answers` is asked for each request, with its body.
    #[must_use]
    pub fn start(answers: impl Fn(&Parts, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let answers: Answers = Arc::new(answers);
        let (stop, stopped) = oneshot::channel();
        let (started, address) = mpsc::channel();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
                started.send(listener.local_addr().expect("a bound port has an address")).expect("the test waits");
                tokio::select! {
                    () = accept(listener, answers) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv().expect("the server starts"), stop: Some(stop), server: Some(server) }
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.server.take().map(JoinHandle::join));
    }
}

/// An answer with this status and body.
#[must_use]
pub fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

async fn accept(listener: TcpListener, answers: Answers) {
    while let Ok((stream, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let service = service_fn(|request| serve(request, &answers));
            // A connection that breaks is the client's to notice.
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn serve(request: Request<Incoming>, answers: &Answers) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    match answers(&parts, &body) {
        Some(answer) => Ok(answer),
        None => std::future::pending().await,
    }
}
