//! Scripted origins, and clients for them.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::{net::TcpListener, runtime::Runtime, time::Instant};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::NamedService,
    transport::{Server, ServerTlsConfig},
};
use tower::Service;
use url::Url;

use crate::{
    model::{EntryKey, Namespace},
    origin::{
        FetchRequest, Validators,
        grpc::{GrpcOptions, GrpcOrigin, resolver::Resolve},
    },
    pb::origin::v1::{
        self as wire, BatchFetchRequest, BatchFetchResponse, Value,
        fetch_response::Outcome,
        origin_service_server::{OriginService, OriginServiceServer},
        value,
    },
};

type Scripted<A> = Result<A, Status>;
type Handler<Q, A> = Arc<dyn Fn(Request<Q>) -> BoxFuture<'static, Scripted<A>> + Send + Sync>;

/// Behaviour of a server.
#[derive(Clone)]
pub(super) struct Script {
    fetch: Handler<wire::FetchRequest, wire::FetchResponse>,
    batch: Option<Handler<BatchFetchRequest, BatchFetchResponse>>,
    fetches: Arc<AtomicUsize>,
    batches: Arc<AtomicUsize>,
}

/// A server with its own runtime, so that it can be killed with all connections.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    script: Script,
    drain: CancellationToken,
    runtime: Option<Runtime>,
}

/// A resolver with a changeable result.
#[derive(Clone, Default)]
pub(super) struct ScriptedResolver(Arc<Mutex<Vec<SocketAddr>>>);

// === impl Script ===

impl Script {
    pub(super) fn new<F>(
        fetch: impl Fn(Request<wire::FetchRequest>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Scripted<wire::FetchResponse>> + Send + 'static,
    {
        let fetch: Handler<_, _> = Arc::new(move |request| fetch(request).boxed());
        Self { fetch, batch: None, fetches: Arc::default(), batches: Arc::default() }
    }

    /// The same result for each fetch.
    pub(super) fn always(result: Scripted<wire::FetchResponse>) -> Self {
        Self::new(move |_| std::future::ready(result.clone()))
    }

    pub(super) fn with_batch(
        self,
        batch: impl Fn(BatchFetchRequest) -> Scripted<BatchFetchResponse> + Send + Sync + 'static,
    ) -> Self {
        let batch: Handler<_, _> = Arc::new(move |request: Request<_>| {
            std::future::ready(batch(request.into_inner())).boxed()
        });
        Self { batch: Some(batch), ..self }
    }
}

#[async_trait]
impl OriginService for Script {
    async fn fetch(
        &self,
        request: Request<wire::FetchRequest>,
    ) -> Result<Response<wire::FetchResponse>, Status> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        (self.fetch)(request).await.map(Response::new)
    }

    async fn batch_fetch(
        &self,
        request: Request<BatchFetchRequest>,
    ) -> Result<Response<BatchFetchResponse>, Status> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        match &self.batch {
            Some(batch) => batch(request).await.map(Response::new),
            None => Err(Status::unimplemented("no batches")),
        }
    }
}

// === impl TestServer ===

impl TestServer {
    pub(super) async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0", script, None).await
    }

    pub(super) async fn start_at(
        address: &str,
        script: Script,
        tls: Option<ServerTlsConfig>,
    ) -> Self {
        let service =
            OriginServiceServer::new(script.clone()).max_encoding_message_size(usize::MAX);
        Self::start_service(address, service, script, tls).await
    }

    pub(super) async fn start_service<S>(
        address: &str,
        service: S,
        script: Script,
        tls: Option<ServerTlsConfig>,
    ) -> Self
    where
        S: Service<
                http::Request<Body>,
                Response = http::Response<Body>,
                Error = Infallible,
                Future: Send,
            >,
        S: NamedService + Clone + Send + Sync + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let drain = CancellationToken::new();
        let (address, draining) = (address.to_owned(), drain.clone());
        let (ready, bound) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            ready.send(listener.local_addr().unwrap()).unwrap();
            let mut server = Server::builder();
            if let Some(tls) = tls {
                server = server.tls_config(tls).unwrap();
            }
            let connections = TcpListenerStream::new(listener);
            server
                .add_service(service)
                .serve_with_incoming_shutdown(connections, draining.cancelled_owned())
                .await
        });
        Self { address: bound.await.unwrap(), script, drain, runtime: Some(runtime) }
    }

    pub(super) fn fetches(&self) -> usize {
        self.script.fetches.load(Ordering::SeqCst)
    }

    pub(super) fn batches(&self) -> usize {
        self.script.batches.load(Ordering::SeqCst)
    }

    /// Shuts down gracefully.
    pub(super) fn drain(&self) {
        self.drain.cancel();
    }

    /// Stops at once, and closes all connections.
    pub(super) fn kill(self) {}

    /// Starts a new server at the address of a killed one.
    pub(super) async fn restart(address: SocketAddr, script: Script) -> Self {
        let free = || async { TcpListener::bind(address).await.ok() };
        drop(eventually("the port is free", async || free().await).await);
        Self::start_at(&address.to_string(), script, None).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl ScriptedResolver ===

impl ScriptedResolver {
    pub(super) fn set(&self, servers: &[&TestServer]) {
        self.set_addresses(servers.iter().map(|server| server.address).collect());
    }

    pub(super) fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        *self.0.lock() = addresses;
    }

    pub(super) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

#[async_trait]
impl Resolve for ScriptedResolver {
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(self.0.lock().clone())
    }
}

pub(super) fn options() -> GrpcOptions {
    GrpcOptions {
        url: Url::parse("http://origin.test:50052").unwrap(),
        metadata: HeaderMap::new(),
        connect_timeout: Duration::from_secs(5),
        max_value_bytes: 1024 * 1024,
        max_batch: 10,
        resolve_interval: Duration::from_millis(500),
        ca_pem: None,
    }
}

pub(super) fn origin(servers: &[&TestServer]) -> (GrpcOrigin, ScriptedResolver) {
    origin_with(options(), servers)
}

pub(super) fn origin_with(
    options: GrpcOptions,
    servers: &[&TestServer],
) -> (GrpcOrigin, ScriptedResolver) {
    let resolver = ScriptedResolver::default();
    resolver.set(servers);
    (GrpcOrigin::with_resolver(options, Box::new(resolver.clone())).unwrap(), resolver)
}

pub(super) fn request(key: &str) -> FetchRequest {
    FetchRequest {
        key: EntryKey::new(Namespace::new("user").unwrap(), key, [].into_iter()).unwrap(),
        params: Arc::default(),
        validators: Validators::default(),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

pub(super) fn text(text: &str) -> wire::FetchResponse {
    let value = Value { kind: Some(value::Kind::Text(text.to_owned().into())) };
    wire::FetchResponse { outcome: Some(Outcome::Value(value)), ..Default::default() }
}

/// Polls until the probe returns a value.
pub(super) async fn eventually<T>(condition: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "not in time: {condition}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
