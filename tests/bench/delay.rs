//! A proxy that is some milliseconds away: it holds back every request for that long, and answers pass at once.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running proxy; it ends when this is dropped.
pub(crate) struct DelayingProxy {
    endpoint: String,
    accepting: JoinHandle<()>,
}

impl DelayingProxy {
    /// Stands before `endpoint` (`http://HOST:PORT`).
    pub(crate) async fn start(endpoint: &str, latency: Duration) -> Self {
        let target = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("a bound listener has an address");
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let target = target.clone();
                tokio::spawn(async move {
                    // A connection that breaks is the client's to notice.
                    let _ = serve(client, &target, latency).await;
                });
            }
        });
        Self { endpoint: format!("http://{own}"), accepting }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }
}

impl Drop for DelayingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(client: TcpStream, target: &str, latency: Duration) -> std::io::Result<()> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        // Larger than any request here, so that each is read at once and delayed once.
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let length = from_client.read(&mut buffer).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            tokio::time::sleep(latency).await;
            to_server.write_all(&buffer[..length]).await?;
        }
    };
    let answers = async {
        copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(requests, answers).map(|_| ())
}
