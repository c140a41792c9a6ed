//! A loopback TCP proxy that breaks connections on command.

use std::{
    io::{self, Cursor},
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
    /// Whether bytes are forwarded in pieces of a few.
    is_sliced: bool,
    /// Whether connections are reset.
    is_cut: bool,
}

/// A proxy on a free port. Dropping it closes all connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    upstream: Arc<Mutex<Upstream>>,
    /// The only user whose connections have the faults; none: all connections have them.
    user: Option<&'static str>,
    traffic: watch::Sender<Traffic>,
    /// The same for connections of replicas of Redis, if there is a user.
    replication: watch::Sender<Traffic>,
    // None while connections are refused.
    listener: Option<JoinHandle<()>>,
}

/// Which traffic a connection has.
#[derive(Clone)]
struct Rules {
    user: Option<&'static str>,
    traffic: watch::Receiver<Traffic>,
    replication: watch::Receiver<Traffic>,
}

const FLOWING: Traffic = Traffic {
    requests_flow: true,
    replies_flow: true,
    lets_pass: "",
    latency: Duration::ZERO,
    is_sliced: false,
    is_cut: false,
};

/// Begin of a connection of a replica of Redis, and of no client.
const OF_REPLICA: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// Sizes of the pieces of sliced bytes, one after the other.
const PIECES: [usize; 8] = [1, 7, 2, 5, 3, 1, 6, 4];
/// Pieces between two pauses.
const PIECES_AT_ONCE: usize = 32;
/// Pause of sliced bytes.
const PIECES_PAUSE: Duration = Duration::from_millis(1);

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy that forwards everything.
    pub(crate) async fn start(upstream: Upstream) -> Self {
        Self::start_with(upstream, None).await
    }

    /// Starts a proxy whose faults concern only the connections that log in as `user` at their
    /// begin. It cannot refuse those, and resets them instead.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) async fn start_for(upstream: Upstream, user: &'static str) -> Self {
        Self::start_with(upstream, Some(user)).await
    }

    async fn start_with(upstream: Upstream, user: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let traffic = watch::Sender::new(FLOWING);
        let upstream = Arc::new(Mutex::new(upstream));
        let replication = watch::Sender::new(FLOWING);
        let mut proxy = Self { address, upstream, user, traffic, replication, listener: None };
        proxy.listener = Some(proxy.accept_from(listener));
        proxy
    }

    fn accept_from(&self, listener: TcpListener) -> JoinHandle<()> {
        let rules = Rules {
            user: self.user,
            traffic: self.traffic.subscribe(),
            replication: self.replication.subscribe(),
        };
        tokio::spawn(accept(listener, self.upstream.clone(), rules))
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
        if self.user.is_some() {
            self.traffic.send_replace(Traffic { is_cut: true, ..FLOWING });
            return;
        }
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

    /// Forwards bytes in pieces of one to seven, with pauses.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn slice(&self) {
        self.traffic.send_replace(Traffic { is_sliced: true, ..FLOWING });
    }

    /// Holds back what the server sends to its replicas.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn hold_replication(&self) {
        self.replication.send_replace(Traffic { replies_flow: false, ..FLOWING });
    }

    /// Resets the connections of replicas: what was held back is lost.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn lose_replication(&self) {
        self.replication.send_replace(Traffic { is_cut: true, ..FLOWING });
    }

    /// Forwards everything again.
    pub(crate) async fn restore(&mut self) {
        self.traffic.send_replace(FLOWING);
        self.replication.send_replace(FLOWING);
        if self.listener.is_none() {
            let address = self.address;
            let listener =
                eventually("the proxy rebinds its port", Duration::from_secs(5), async || {
                    TcpListener::bind(address).await.ok()
                })
                .await;
            self.listener = Some(self.accept_from(listener));
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

async fn accept(listener: TcpListener, upstream: Arc<Mutex<Upstream>>, rules: Rules) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // Makes aborting the task reset the connection instead of closing it gracefully.
        let _ = client.set_zero_linger();
        let _ = client.set_nodelay(true);
        let upstream = upstream.lock().unwrap().clone();
        connections.spawn(forward_until_cut(client, upstream, rules.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward_until_cut(mut client: TcpStream, upstream: Upstream, rules: Rules) {
    let Rules { user, mut traffic, replication } = rules;
    let mut head = Vec::new();
    if let Some(user) = user {
        if client.read_buf(&mut head).await.is_err() {
            return;
        }
        if head.starts_with(OF_REPLICA) {
            traffic = replication;
        } else if !head.windows(user.len()).any(|part| part == user.as_bytes()) {
            traffic = watch::Sender::new(FLOWING).subscribe();
            return forward(client, head, upstream, traffic).await;
        }
    }
    let mut until = traffic.clone();
    tokio::select! {
        Ok(_) = until.wait_for(|traffic| traffic.is_cut) => {}
        () = forward(client, head, upstream, traffic) => {}
    }
}

/// Forwards a connection, of which `head` was read.
async fn forward(
    client: TcpStream,
    head: Vec<u8>,
    upstream: Upstream,
    traffic: watch::Receiver<Traffic>,
) {
    let (from_client, to_client) = client.into_split();
    let from_client = Cursor::new(head).chain(from_client);
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
        let Ok(Traffic { latency, is_sliced, .. }) =
            traffic.wait_for(flows).await.map(|traffic| *traffic)
        else {
            break;
        };
        tokio::time::sleep(latency.saturating_sub(received.elapsed())).await;
        let written =
            if is_sliced { write_sliced(&mut to, chunk).await } else { to.write_all(chunk).await };
        if size == 0 || written.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn write_sliced(to: &mut (impl AsyncWrite + Unpin), chunk: &[u8]) -> io::Result<()> {
    let mut rest = chunk;
    for (number, size) in PIECES.iter().cycle().enumerate() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*size));
        to.write_all(piece).await?;
        rest = after;
        if number % PIECES_AT_ONCE == PIECES_AT_ONCE - 1 {
            tokio::time::sleep(PIECES_PAUSE).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
