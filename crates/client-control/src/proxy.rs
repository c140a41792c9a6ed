//! A TCP proxy on the loopback that delays, cuts and blocks connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};

use crate::{command::FaultKind, wait::until};

const CLOSE_LIMIT: Duration = Duration::from_secs(5);
const REBIND_LIMIT: Duration = Duration::from_secs(5);

/// How bytes are forwarded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Flow {
    is_open: bool,
    latency: Duration,
}

const FLOWING: Flow = Flow { is_open: true, latency: Duration::ZERO };

/// Connections since the start, and those that are open.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicU64,
}

/// A proxy on a free port. Dropping it resets its connections.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    upstream: SocketAddr,
    flow: watch::Sender<Flow>,
    counts: Arc<Counts>,
    /// None while connections are refused.
    listener: Option<JoinHandle<()>>,
}

// === impl FaultProxy ===

impl FaultProxy {
    /// Starts a proxy that forwards everything.
    pub(crate) async fn start(upstream: SocketAddr) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let flow = watch::Sender::new(FLOWING);
        let mut proxy = Self { address, upstream, flow, counts: Arc::default(), listener: None };
        proxy.listen(listener);
        Ok(proxy)
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Numbers of connections since the start, and of those that are open.
    pub(crate) fn connections(&self) -> (u64, u64) {
        let Counts { accepted, open } = &*self.counts;
        (accepted.load(Ordering::Relaxed), open.load(Ordering::Relaxed))
    }

    /// Ends all connections and the fault.
    pub(crate) async fn clear(&mut self) -> Result<(), String> {
        self.set(FaultKind::Cut, Duration::ZERO).await?;
        let closed = until(CLOSE_LIMIT, async || (self.connections().1 == 0).then_some(()));
        closed.await.ok_or_else(|| "connections of the proxy stay open".to_owned())
    }

    /// Replaces the fault. Data that was held back is delivered afterwards.
    pub(crate) async fn set(&mut self, kind: FaultKind, latency: Duration) -> Result<(), String> {
        match kind {
            FaultKind::Cut | FaultKind::Refuse => {
                if let Some(task) = self.listener.take() {
                    task.abort();
                    // The socket is closed when the task has ended.
                    let _ = task.await;
                }
            }
            FaultKind::None | FaultKind::Latency | FaultKind::BlackHole => {}
        }
        let flow = match kind {
            FaultKind::Latency => Flow { latency, ..FLOWING },
            FaultKind::BlackHole => Flow { is_open: false, ..FLOWING },
            FaultKind::None | FaultKind::Cut | FaultKind::Refuse => FLOWING,
        };
        self.flow.send_replace(flow);
        if kind != FaultKind::Refuse && self.listener.is_none() {
            let address = self.address;
            let listener = until(REBIND_LIMIT, async || TcpListener::bind(address).await.ok());
            let listener = listener.await.ok_or("the port of the proxy is taken")?;
            self.listen(listener);
        }
        Ok(())
    }

    fn listen(&mut self, listener: TcpListener) {
        let (upstream, flow) = (self.upstream, self.flow.subscribe());
        self.listener = Some(tokio::spawn(accept(listener, upstream, flow, self.counts.clone())));
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(task) = &self.listener {
            task.abort();
        }
    }
}

/// Counts a connection as open until it is dropped.
struct OpenConnection(Arc<Counts>);

impl OpenConnection {
    fn begin(counts: &Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    flow: watch::Receiver<Flow>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // Aborting the task then resets the connection, as a broken network does.
        let _ = client.set_zero_linger();
        let _ = client.set_nodelay(true);
        let open = OpenConnection::begin(&counts);
        let flow = flow.clone();
        connections.spawn(async move {
            forward(client, upstream, flow).await;
            drop(open);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(client: TcpStream, upstream: SocketAddr, flow: watch::Receiver<Flow>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(copy(from_client, to_server, flow.clone()), copy(from_server, to_client, flow));
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flow: watch::Receiver<Flow>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(size) = from.read(&mut buffer).await {
        let received = Instant::now();
        let Ok(latency) = flow.wait_for(|flow| flow.is_open).await.map(|flow| flow.latency) else {
            break;
        };
        sleep(latency.saturating_sub(received.elapsed())).await;
        if size == 0 || to.write_all(&buffer[..size]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A server that returns what it receives.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn round_trip(stream: &mut TcpStream) -> std::io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_cut_resets_connections_and_admits_new_ones() {
        let mut proxy = FaultProxy::start(echo().await).await.unwrap();
        let mut first = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(&round_trip(&mut first).await.unwrap(), b"ping");
        proxy.set(FaultKind::Cut, Duration::ZERO).await.unwrap();
        assert!(round_trip(&mut first).await.is_err());
        let mut second = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(&round_trip(&mut second).await.unwrap(), b"ping");
        assert_eq!(proxy.connections(), (2, 1));
    }

    #[tokio::test]
    async fn a_black_hole_delivers_afterwards_and_refusal_ends() {
        let mut proxy = FaultProxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        proxy.set(FaultKind::BlackHole, Duration::ZERO).await.unwrap();
        let mut answer = Box::pin(round_trip(&mut stream));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut answer).await;
        assert!(early.is_err(), "a black hole answered");
        proxy.set(FaultKind::None, Duration::ZERO).await.unwrap();
        let answer = tokio::time::timeout(LIMIT, answer).await.unwrap();
        assert_eq!(&answer.unwrap(), b"ping");
        proxy.set(FaultKind::Refuse, Duration::ZERO).await.unwrap();
        assert!(TcpStream::connect(proxy.address()).await.is_err());
        proxy.set(FaultKind::None, Duration::ZERO).await.unwrap();
        assert!(TcpStream::connect(proxy.address()).await.is_ok());
    }
}
