//! Fuzz target of the request path: bytes of an HTTP/2 connection to a whole server on the embedded
//! store.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod frames;

use std::{
    future::Future,
    panic,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Channel;
use transport::{ConnectionStats, runtime};

use super::*;
use crate::{
    fuzzing::check,
    pb::v1::{GetRequest, cache_service_client::CacheServiceClient},
    rpc::LoadLimits,
};

/// Longest time that anything may take.
const SOON: Duration = Duration::from_secs(30);

/// Panics in threads of the server.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A server, and the connection of a well-behaved client.
struct TestServer {
    runtime: Runtime,
    address: SocketAddr,
    admission: Arc<Admission>,
    limits: Arc<LoadLimits>,
    connections: Arc<ConnectionStats>,
    client: CacheServiceClient<Channel>,
}

impl TestServer {
    fn start() -> Self {
        let mut config = Config::default();
        config.listen.set_port(0);
        config.admin_listen.set_port(0);
        config.memory.max_bytes = 8 << 20;
        config.log.level = "off".to_owned();
        let admission = Admission::new(config.limits.max_concurrent_requests);
        let runtime = runtime::build(Duration::ZERO, &admission).unwrap().runtime;
        let (server, registry) = runtime.block_on(async {
            let telemetry = Telemetry::start(&config.log, &config.telemetry).unwrap();
            let server = Server::bind(config, &telemetry, admission.clone()).await.unwrap();
            let registry = telemetry.registry().clone();
            // Ends with the process.
            std::mem::forget(telemetry);
            (server, registry)
        });
        let address = server.addresses().unwrap().grpc;
        let limits = server.services.limits.clone();
        let connections = server.services.ports.grpc.clone();
        runtime.spawn(server.run(registry, String::new(), CancellationToken::new()));
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let client = runtime.block_on(endpoint.connect()).unwrap();
        let client = CacheServiceClient::new(client);
        Self { runtime, address, admission, limits, connections, client }
    }

    /// Sends parts of a connection's bytes one after another, and reads until the server has closed
    /// the connection.
    async fn send(&self, parts: &[Vec<u8>]) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut reader, mut writer) = stream.split();
        let write = async {
            for part in parts {
                // The server may have closed it already.
                if writer.write_all(part).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = writer.shutdown().await;
        };
        let read = async {
            let mut buffer = [0; 8192];
            while reader.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        };
        tokio::join!(write, read);
    }

    async fn answers(&self) {
        let request =
            GetRequest { namespace: "ns".to_owned(), key: "k".to_owned(), ..<_>::default() };
        self.client.clone().get(request).await.expect("the server answers");
    }

    /// Nothing is left of the connection.
    async fn is_clean(&self) {
        let start = Instant::now();
        loop {
            let left = (
                self.limits.buffered_bytes(),
                self.admission.in_flight(),
                self.connections.open() - 1,
            );
            if left == (0, 0, 0) {
                return;
            }
            assert!(start.elapsed() < SOON, "bytes, requests and connections: {left:?}");
            sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn soon<F: Future<Output = ()>>(what: &str, future: F) {
    assert!(timeout(SOON, future).await.is_ok(), "{what} takes too long");
}

/// A connection with any bytes ends soon after its client has closed it. Nothing of it is left, no
/// thread has panicked, and the server answers on another connection.
#[test]
fn http2_connection() {
    let (test, report) = (thread::current().id(), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() != test {
            PANICS.fetch_add(1, SeqCst);
        }
        report(info);
    }));
    let server = TestServer::start();
    check("http2_connection", move |bytes| {
        let parts = frames::parts(bytes);
        server.runtime.block_on(async {
            soon("the connection", server.send(&parts)).await;
            soon("an answer", server.answers()).await;
            server.is_clean().await;
        });
        assert_eq!(PANICS.swap(0, SeqCst), 0, "panics of the server");
    });
}
