//! A loopback TCP proxy that breaks connections on command.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::wait::eventually;

/// The server behind a proxy.
#[derive(Clone)]
pub(crate) enum Upstream {
    Socket(PathBuf),
    Address(SocketAddr),
}

/// How the proxy forwards bytes.
#[derive(Clone, Copy, PartialEq)]
struct Traffic {
    requests_flow: bool,
    replies_flow: bool,
    /// Text of replies that flow nevertheless.
    lets_pass: &'static str,
    latency: Duration,
}

/// A proxy on a free port. Dropping it closes all connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    upstream: Arc<Mutex<Upstream>>,
    traffic: watch::Sender<Traffic>,
    // None while connections are refused.
    listener: Option<JoinHandle<()>>,
}

const FLOWING: Traffic =
    Traffic { requests_flow: true, replies_flow: true, lets_pass: "", latency: Duration::ZERO };

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy that forwards everything.
    pub(crate) async fn start(upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let traffic = watch::Sender::new(FLOWING);
        let upstream = Arc::new(Mutex::new(upstream));
        let task = tokio::spawn(accept(listener, upstream.clone(), traffic.subscribe()));
        Self { address, upstream, traffic, listener: Some(task) }
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Redis URL of the proxy.
    pub(crate) fn redis_url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Leads new connections to another server, as a name does after a failover. Open connections
    /// stay with the former one.
    pub(crate) fn redirect(&self, upstream: Upstream) {
        *self.upstream.lock().unwrap() = upstream;
    }

    /// Resets all connections and refuses new ones.
    pub(crate) async fn cut(&mut self) {
        if let Some(task) = self.listener.take() {
            task.abort();
            // The socket is closed when the task has ended.
            let _ = task.await;
        }
    }

    /// Accepts connections and keeps them open, but forwards nothing in either direction.
    ///
    /// As after a network partition, [`Self::restore`] delivers what was sent in between, even if
    /// the sender no longer waits.
    pub(crate) fn blackhole(&self) {
        self.traffic.send_replace(Traffic { requests_flow: false, replies_flow: false, ..FLOWING });
    }

    /// Holds back only requests.
    pub(crate) fn hold_requests(&self) {
        self.traffic.send_replace(Traffic { requests_flow: false, ..FLOWING });
    }

    /// Holds back only replies: commands are executed, but not answered.
    pub(crate) fn hold_replies(&self) {
        self.traffic.send_replace(Traffic { replies_flow: false, ..FLOWING });
    }

    /// Forwards what was held back.
    pub(crate) fn flow(&self) {
        self.traffic.send_replace(FLOWING);
    }

    /// Holds back replies, except those that contain a text, unless another one comes before on its
    /// connection.
    pub(crate) fn hold_replies_without(&self, text: &'static str) {
        self.traffic.send_replace(Traffic { replies_flow: false, lets_pass: text, ..FLOWING });
    }

    /// Delays every chunk of bytes, in both directions.
    pub(crate) fn slow_down(&self, latency: Duration) {
        self.traffic.send_replace(Traffic { latency, ..FLOWING });
    }

    /// Forwards everything again.
    pub(crate) async fn restore(&mut self) {
        self.traffic.send_replace(FLOWING);
        if self.listener.is_none() {
            let address = self.address;
            let listener =
                eventually("the proxy rebinds its port", Duration::from_secs(5), async || {
                    TcpListener::bind(address).await.ok()
                })
                .await;
            self.listener = Some(tokio::spawn(accept(
                listener,
                self.upstream.clone(),
                self.traffic.subscribe(),
            )));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(task) = &self.listener {
            task.abort();
        }
    }
}

async fn accept(
    listener: TcpListener,
    upstream: Arc<Mutex<Upstream>>,
    traffic: watch::Receiver<Traffic>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // Makes aborting the task reset the connection instead of closing it gracefully.
        let _ = client.set_zero_linger();
        let _ = client.set_nodelay(true);
        let upstream = upstream.lock().unwrap().clone();
        connections.spawn(forward(client, upstream, traffic.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(client: TcpStream, upstream: Upstream, traffic: watch::Receiver<Traffic>) {
    let (from_client, to_client) = client.into_split();
    match upstream {
        Upstream::Socket(path) => {
            let Ok(server) = UnixStream::connect(path).await else { return };
            let (from_server, to_server) = server.into_split();
            forward_both(from_client, to_client, from_server, to_server, traffic).await;
        }
        Upstream::Address(address) => {
            let Ok(server) = TcpStream::connect(address).await else { return };
            let _ = server.set_nodelay(true);
            let (from_server, to_server) = server.into_split();
            forward_both(from_client, to_client, from_server, to_server, traffic).await;
        }
    }
}

async fn forward_both(
    from_client: impl AsyncRead + Unpin,
    to_client: impl AsyncWrite + Unpin,
    from_server: impl AsyncRead + Unpin,
    to_server: impl AsyncWrite + Unpin,
    traffic: watch::Receiver<Traffic>,
) {
    let requests =
        copy(from_client, to_server, traffic.clone(), |traffic, _| traffic.requests_flow);
    let replies = copy(from_server, to_client, traffic, |traffic, reply| {
        let text = traffic.lets_pass.as_bytes();
        let passes = !text.is_empty() && reply.windows(text.len()).any(|part| part == text);
        traffic.replies_flow || passes
    });
    // Both must end: bytes that a client sent before it closed must still arrive.
    tokio::join!(requests, replies);
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut traffic: watch::Receiver<Traffic>,
    flows: impl Fn(&Traffic, &[u8]) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(size) = from.read(&mut buffer).await else { break };
        let received = Instant::now();
        let chunk = &buffer[..size];
        let flows = |traffic: &Traffic| flows(traffic, chunk);
        let Ok(latency) = traffic.wait_for(flows).await.map(|traffic| traffic.latency) else {
            break;
        };
        tokio::time::sleep(latency.saturating_sub(received.elapsed())).await;
        if size == 0 || to.write_all(chunk).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
