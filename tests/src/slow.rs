//! A service far away: a relay that passes everything on, later.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The running relay; it ends when this is dropped.
#[derive(Debug)]
pub struct Slow {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    relay: Option<JoinHandle<()>>,
}

impl Slow {
    /// Holds each request to this endpoint back for so long, on a runtime of its own.
    #[must_use]
    pub fn before(endpoint: &str, delay: Duration) -> Self {
        let target: SocketAddr =
            endpoint.trim_start_matches("http://").parse().expect("an emulator's endpoint is an address");
        let (stop, stopped) = oneshot::channel();
        let (started, address) = std::sync::mpsc::channel();
        let relay = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime can be built");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
                started.send(listener.local_addr().expect("a bound port has an address")).expect("the test waits");
                tokio::select! {
                    () = accept(listener, target, delay) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address: address.recv().expect("the relay starts"), stop: Some(stop), relay: Some(relay) }
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.relay.take().map(JoinHandle::join));
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, delay: Duration) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::select! {
                _ = pass(from_client, to_server, delay) => {}
                _ = pass(from_server, to_client, Duration::ZERO) => {}
            }
        });
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
) -> std::io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        tokio::time::sleep(delay).await;
        to.write_all(&chunk[..length]).await?;
    }
}
